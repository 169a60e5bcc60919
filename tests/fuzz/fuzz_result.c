/* Any bytes as tasks.csv and rounds.csv of a run: read or refused; what is read gives every metric
 * and every curve. */
#include "tests/fuzz/folder.h"

#include "sim/report/compare.h"
#include "sim/report/curves.h"
#include "tests/fuzz/fuzz.h"

static void touch_cells(const fc_csv *csv)
{
    for (size_t row = 0; row < csv->rows; row++)
        for (int c = 0; c < csv->columns; c++) {
            volatile double keep = fc_csv_number(csv, row, c);
            (void)keep;
        }
}

static void use(fc_result *run)
{
    fc_arena arena = {0};
    fc_error err = {0};
    fc_result_group *group;
    int n;
    touch_cells(&run->tasks);
    touch_cells(&run->rounds);
    for (int i = 0; i < fc_metric_count; i++)
        fc_metric_table[i].of(run);
    if (fc_result_groups(&group, &n, run, 1, &arena, &err) != FC_OK || n != 1)
        abort();
    for (fc_curve_x x = FC_X_TASKS; x <= FC_X_TIME; x++) {
        fc_plot plot;
        fc_error none = {0};
        const fc_curve_options options = {.x = x};
        fc_fuzz_check(fc_curves(&plot, group, n, &options, &arena, &none), &none);
    }
    fc_arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char config[] = "tasks: {count: 10}\n";
    fc_result run;
    fc_error err = {0};
    char dir[512];
    fc_fuzz_put("config.yaml", config, sizeof config - 1);
    fc_fuzz_put("tasks.csv", data, size);
    fc_fuzz_put("rounds.csv", data, size);
    fc_status s = fc_result_read(&run, fc_fuzz_path(dir, "."), &err);
    fc_fuzz_check(s, &err);
    if (s == FC_OK)
        use(&run);
    fc_result_free(&run);
    return 0;
}
