/* Statistics of groups of runs, from folders written by hand. */
#include "sim/report/compare.h"

#include "tests/support/tmp.h"

#include <math.h>
#include <stdlib.h>

static fc_tmp tmp;
static fc_arena arena;
static fc_result run[16];
static int n_runs;

static int set_up(void **state)
{
    (void)state;
    tmp = fc_tmp_new();
    n_runs = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < n_runs; i++)
        fc_result_free(&run[i]);
    fc_arena_free(&arena);
    fc_tmp_remove(&tmp);
    return 0;
}

static void put(const char *dir, const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    fc_tmp_put(&tmp, path, text, strlen(text));
}

/* A run of two tasks with 100 images each; `last` of the first task's and 2 acc - last of the
 * second one's are right at the end, so that FAA = acc. finished: the second task is done. */
static void add(const char *config, int acc, bool finished)
{
    char dir[32], text[512];
    snprintf(dir, sizeof dir, "run%d", n_runs);
    put(dir, "config.yaml", config);
    int n = snprintf(text, sizeof text,
                     "after_task,eval_task,correct,total,acc,acc_masked\n1,1,80,100,80,90\n");
    if (finished)
        snprintf(text + n, sizeof text - (size_t)n, "2,1,%d,100,0,60\n2,2,%d,100,0,40\n", acc - 20,
                 acc + 20);
    put(dir, "tasks.csv", text);
    snprintf(text, sizeof text,
             "task,round,bytes_up_cum,bytes_down_cum,wall_s,cpu_s,rss_mib,merge_s,merge_scale,"
             "merge_extra\n"
             "1,1,1000000,2000000,1.5,3,70,1,0.5,100\n2,1,2000000,4000000,%d,6,60,2.5,0.25,200\n",
             acc / 10);
    put(dir, "rounds.csv", text);
    assert_int_equal(fc_result_read(&run[n_runs++], fc_tmp_path(&tmp, dir), NULL), FC_OK);
}

#define CONFIG(method, seeds) "tasks: {count: 2}\nmethod: {name: " method "}\n" seeds "\n"

static fc_comparison compare(const char *metrics, int baseline)
{
    fc_comparison c;
    fc_result_group *group;
    const fc_metric **metric;
    int n_groups, n_metrics;
    assert_int_equal(fc_result_groups(&group, &n_groups, run, n_runs, &arena, NULL), FC_OK);
    assert_int_equal(fc_metric_list(&metric, &n_metrics, metrics, &arena, NULL), FC_OK);
    assert_int_equal(fc_compare(&c, group, n_groups, metric, n_metrics, baseline, &arena, NULL),
                     FC_OK);
    return c;
}

static void two_groups(void)
{
    add(CONFIG("lorm", "run: {seed: 0}"), 60, true);
    add(CONFIG("lorm", "run: {seed: 1}"), 62, true);
    add(CONFIG("fedavg_lora", "run: {seed: 5}"), 40, true);
    add(CONFIG("lorm", "run: {seed: 2}"), 67, true);
    add(CONFIG("lorm", "run: {seed: 5}"), 10, false);
    /* seed 1 spelled out: still the pair of lorm's */
    add(CONFIG("fedavg_lora", "run: {seed: 1}\nseed: {order: 1, train: 1}"), 50, true);
    add(CONFIG("fedavg_lora", "run: {seed: 2}"), 54, true);
}

/* Drawn orders are paired with the same draw. */
static void test_orders_are_paired(void **state)
{
    (void)state;
    add("tasks: {count: 2, order: \"seed:0\"}\nmethod: {name: lorm}", 60, true);
    add("tasks: {count: 2, order: \"seed:1\"}\nmethod: {name: lorm}", 70, true);
    add("tasks: {count: 2, order: \"seed:1\"}\nmethod: {name: fedavg_lora}", 40, true);
    add("tasks: {count: 2, order: \"seed:0\"}\nmethod: {name: fedavg_lora}", 35, true);
    fc_comparison c = compare("faa", 0);
    assert_int_equal(c.n_groups, 2);
    /* -25 and -30, not -20 and -35 */
    assert_true(fabs(c.difference[1].mean.mean + 27.5) < 1e-12);
    assert_true(fabs(c.difference[1].mean.sd - 2.5 * sqrt(2)) < 1e-12);
}

static void test_metrics(void **state)
{
    (void)state;
    add(CONFIG("lorm", "run: {seed: 0}"), 60, true);
    add(CONFIG("lorm", "run: {seed: 1}"), 60, false);
    static const struct {
        const char *name;
        double want;
    } m[] = {{"faa", 60},
             {"aia", 70},
             {"forgetting_max", 40},
             {"bwt", -40},
             {"bytes_up", 2e6},
             {"bytes_down", 4e6},
             {"wall_s", 6},
             {"cpu_s", 6},
             {"rss_mib", 70},
             {"acc_masked", 50},
             {"bwt_masked", -30},
             {"merge_scale", 0.25},
             {"merge_extra", 200},
             {"learning_accuracy", 80}};
    for (size_t i = 0; i < sizeof m / sizeof *m; i++) {
        const fc_metric **metric;
        int n;
        assert_int_equal(fc_metric_list(&metric, &n, m[i].name, &arena, NULL), FC_OK);
        assert_close(metric[0]->of(&run[0]), m[i].want, 0, 1e-12);
        assert_close(fc_metric_final(metric[0], &run[0]), m[i].want, 0, 1e-12);
        assert_true(isnan(fc_metric_final(metric[0], &run[1])));
    }
    const fc_metric **metric;
    int n;
    assert_int_equal(fc_metric_list(&metric, &n, "merge_s", &arena, NULL), FC_OK);
    assert_true(isnan(metric[0]->of(&run[0]))); /* the last merge is not one of tasks */
    add("tasks: {count: 2, merge: ties}\nmethod: {name: fedavg_lora}\n", 60, true);
    assert_close(metric[0]->of(&run[2]), 2.5, 0, 0);
    assert_int_equal(fc_metric_list(&metric, &n, "faa, wall_s", &arena, NULL), FC_OK);
    assert_int_equal(n, 2);
    assert_close(metric[0]->of(&run[1]), 80, 0, 0); /* so far */
    fc_error err = {0};
    assert_says(fc_metric_list(&metric, &n, "faa,wal_s", &arena, &err), &err, FC_EUSAGE, "wal_s",
                "did you mean wall_s");
    err = (fc_error){0};
    assert_says(fc_metric_list(&metric, &n, ",", &arena, &err), &err, FC_EUSAGE, "metrics", "none");
}

static void test_statistics(void **state)
{
    (void)state;
    two_groups();
    fc_comparison c = compare("faa,bytes_up", 1);
    assert_int_equal(c.n_groups, 2);
    /* lorm: 60, 62, 67; the fourth is not finished */
    assert_int_equal(c.value[0].n, 3);
    assert_close(c.value[0].mean, 63, 0, 1e-12);
    assert_close(c.value[0].sd, sqrt(13), 0, 1e-12);
    /* pairs of seeds 1 and 2: 12 and 13; t = 25 with one degree of freedom */
    assert_int_equal(c.difference[0].mean.n, 2);
    assert_close(c.difference[0].mean.mean, 12.5, 0, 1e-12);
    assert_close(c.difference[0].mean.ci95, 12.706204736 * 0.5, 0, 1e-8);
    assert_close(c.difference[0].p, 1 - 2 * atan(25) / acos(-1), 0, 1e-10);
    /* nothing differs: nothing to test; and against itself */
    assert_close(c.difference[1].mean.mean, 0, 0, 0);
    assert_true(isnan(c.difference[1].p));
    assert_int_equal(c.difference[2].mean.n, 3);
    assert_close(c.difference[2].mean.mean, 0, 0, 0);

    int g = -1;
    fc_error err = {0};
    assert_int_equal(fc_compare_find(&g, c.group, c.n_groups, "fedavg_lora", &err), FC_OK);
    assert_int_equal(g, 1);
    assert_says(fc_compare_find(&g, c.group, c.n_groups, "fedavg", &err), &err, FC_EUSAGE,
                "'fedavg'", "one of 'lorm', 'fedavg_lora'");
}

/* Only runs that draw all from the same seeds are pairs. */
static void test_pairs(void **state)
{
    (void)state;
    add(CONFIG("lorm", "run: {seed: 1}"), 60, true);
    add(CONFIG("fedavg_lora", "run: {seed: 1}\nseed: {data: 7}"), 50, true);
    add(CONFIG("fedavg_lora", "run: {seed: 1}\nseed: {order: 7}"), 50, true);
    add(CONFIG("fedavg_lora", "run: {seed: 1}\nseed: {partition: 7}"), 50, true);
    add(CONFIG("fedavg_lora", "run: {seed: 1}\nseed: {init: 7}"), 50, true);
    add(CONFIG("fedavg_lora", "run: {seed: 1}\nseed: {train: 7}"), 50, true);
    fc_comparison c = compare("faa", 0);
    assert_int_equal(c.value[1].n, 5);
    assert_int_equal(c.difference[1].mean.n, 0);
    assert_true(isnan(c.difference[1].p));
    /* the same difference twice: no spread, so no test */
    add(CONFIG("lorm", "run: {seed: 2}"), 70, true);
    add(CONFIG("fedavg_lora", "run: {seed: 1}"), 50, true);
    add(CONFIG("fedavg_lora", "run: {seed: 2}"), 60, true);
    c = compare("faa", 0);
    assert_int_equal(c.difference[1].mean.n, 2);
    assert_close(c.difference[1].mean.mean, -10, 0, 0);
    assert_true(isnan(c.difference[1].p));
}

static const char *printed(void (*print)(FILE *, const fc_table *), const fc_table *t)
{
    char *p = NULL;
    size_t n;
    FILE *f = open_memstream(&p, &n);
    print(f, t);
    fclose(f);
    const char *text = fc_arena_strdup(&arena, p, NULL);
    free(p);
    return text;
}

static void test_tables(void **state)
{
    (void)state;
    two_groups();
    fc_comparison c = compare("faa,bytes_up", 1);
    fc_table t;
    assert_int_equal(fc_compare_table(&t, &c, &arena, NULL), FC_OK);
    assert_string_equal(
        printed(fc_table_markdown, &t),
        "| runs | n | FAA (%) | up (MB) |\n|---|---:|---:|---:|\n"
        "| lorm | 3 of 4 | **63.0 \302\261 3.6** \\[54.0, 72.0\\] | 2.0 \302\261 0.0 "
        "|\n"
        "| fedavg_lora | 3 | 48.0 \302\261 7.2 \\[30.1, 65.9\\] | 2.0 \302\261 0.0 |\n");
    assert_int_equal(fc_compare_differences(&t, &c, &arena, NULL), FC_OK);
    assert_string_equal(printed(fc_table_markdown, &t),
                        "| minus fedavg_lora | pairs | FAA (%) | up (MB) |\n|---|---:|---:|---:|\n"
                        "| lorm | 2 | +12.5 \\[6.1, 18.9\\] p = 0.025 | +0.0 |\n");
    assert_int_equal(fc_compare_numbers(&t, &c, &arena, NULL), FC_OK);
    const char *csv = printed(fc_table_csv, &t);
    assert_non_null(strstr(csv, "\nlorm,faa,3,63,3.605551275,54.04"));
    assert_non_null(strstr(csv, ",fedavg_lora,2,12.5,6.146897632,18.85310237,0.02545122"));
    assert_non_null(strstr(csv, "\nfedavg_lora,faa,"));
    assert_non_null(strstr(csv, ",,,,,,\n")); /* the baseline is compared with nothing */
}

/* Less is better of costs and of forgetting, and nothing of a factor. */
static void test_best(void **state)
{
    (void)state;
    for (int i = 0; i < fc_metric_count; i++) {
        const char *name = fc_metric_table[i].name;
        bool less = strstr(name, "bytes") || strstr(name, "_s") == name + strlen(name) - 2 ||
                    strstr(name, "rss") || strstr(name, "forgetting") || strstr(name, "extra");
        int better = strstr(name, "scale") ? 0 : less ? -1 : 1;
        assert_int_equal(fc_metric_table[i].better, better);
    }
    two_groups(); /* 6 s and 4 to 5 s */
    fc_comparison c = compare("wall_s", 0);
    fc_table t;
    assert_int_equal(fc_compare_table(&t, &c, &arena, NULL), FC_OK);
    assert_false(t.cell[2].best);
    assert_true(t.cell[5].best);
}

/* One run has no spread, none has no number, and what stands alone is not the best. */
static void test_few_runs(void **state)
{
    (void)state;
    add(CONFIG("lorm", "run: {seed: 0}"), 60, true);
    add(CONFIG("fedavg_lora", "run: {seed: 0}"), 50, false);
    fc_comparison c = compare("faa", 0);
    fc_table t;
    assert_int_equal(fc_compare_table(&t, &c, &arena, NULL), FC_OK);
    assert_string_equal(printed(fc_table_markdown, &t),
                        "| runs | n | FAA (%) |\n|---|---:|---:|\n"
                        "| lorm | 1 | 60.0 |\n| fedavg_lora | 0 of 1 |  |\n");
    assert_int_equal(fc_compare_differences(&t, &c, &arena, NULL), FC_OK);
    assert_string_equal(printed(fc_table_markdown, &t),
                        "| minus lorm | pairs | FAA (%) |\n|---|---:|---:|\n"
                        "| fedavg_lora | 0 |  |\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_metrics, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_statistics, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pairs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_orders_are_paired, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tables, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_best, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_few_runs, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
