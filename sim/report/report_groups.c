/* The page that compares groups of runs. Pictures name groups by letters, which a list explains, so
 * that names of any length fit on a phone. */
#include "core/base/file.h"
#include "sim/draw/page.h"
#include "sim/report/curves.h"
#include "sim/report/report.h"

#include <string.h>

typedef struct page {
    FILE *f;
    const fc_result_group *group;
    int n;
    fc_comparison comparison;
    fc_arena *arena;
} page;

static void put_letters(page *p)
{
    fputs("<ul class=\"key\">\n", p->f);
    for (int g = 0; g < p->n; g++) {
        fprintf(p->f, "<li><b style=\"color:var(--t%d)\">%c</b> ", g % FC_PLOT_COLOURS,
                fc_curve_letter(g));
        fc_html_text(p->f, p->group[g].label);
        fprintf(p->f, " <span class=\"soft\">(%d run%s)</span></li>\n", p->group[g].n,
                p->group[g].n == 1 ? "" : "s");
    }
    fputs("</ul>\n", p->f);
}

static fc_status put_curves(page *p, fc_error *warning, fc_error *err)
{
    static const struct {
        fc_curve_x x;
        const char *title, *caption;
    } part[] = {
        {FC_X_TASKS, "Accuracy against tasks",
         "On the test images of all classes seen so far, after each task. Mean over seeds, in a "
         "band of one standard deviation."},
        {FC_X_BYTES, "Accuracy against bytes",
         "The same against the bytes of all clients, both ways, up to then."},
        {FC_X_TIME, "Accuracy against time",
         "The same against the time taken up to then, on the machines that ran it."}};
    enum { PARTS = sizeof part / sizeof *part };
    fc_figure figure[PARTS] = {0};
    bool one_task = true;
    for (int g = 0; g < p->n; g++)
        one_task = one_task && p->group[g].run[0]->acc.tasks == 1;
    for (int i = 0; i < PARTS; i++) {
        fc_curve_options o = {.x = part[i].x, .short_label = true};
        bool by_round = o.x == FC_X_TASKS && one_task;
        if (by_round)
            o.x = FC_X_ROUNDS;
        FC_TRY(fc_curves(&figure[i].plot, p->group, p->n, &o, p->arena, err));
        figure[i].plot.y_title = "Accuracy (%)";
        figure[i].title = by_round ? "Accuracy against rounds" : part[i].title;
        figure[i].caption = part[i].caption;
    }
    fputs("<h2>Curves</h2>\n", p->f);
    fc_page_figures(p->f, figure, PARTS, warning);
    return FC_OK;
}

static fc_status put_comparison_tables(page *p, fc_error *err)
{
    fc_table t, numbers, differences;
    const fc_comparison *c = &p->comparison;
    FC_TRY(fc_compare_table(&t, c, p->arena, err));
    FC_TRY(fc_compare_numbers(&numbers, c, p->arena, err));
    t.caption = "Mean \302\261 standard deviation over seeds, below it the 95 % interval of the "
                "mean; best mean in bold";
    fputs("<h2>Results</h2>\n", p->f);
    fc_page_table(p->f, &t);
    if (p->n > 1) {
        FC_TRY(fc_compare_differences(&differences, c, p->arena, err));
        differences.caption =
            "Mean difference over common seeds, below it its 95 % interval and p of the paired "
            "t-test (two-sided, not corrected for the number of comparisons)";
        fputs("<h2>Differences</h2>\n", p->f);
        fc_page_table(p->f, &differences);
    }
    fputs("<h2>To copy</h2>\n", p->f);
    fc_page_table_copies(p->f, "Results", &t, &numbers);
    if (p->n > 1)
        fc_page_table_copies(p->f, "Differences", &differences, &numbers);
    return FC_OK;
}

static void put_runs(page *p)
{
    fputs("<h2>Runs</h2>\n<ul>\n", p->f);
    for (int g = 0; g < p->n; g++)
        for (int i = 0; i < p->group[g].n; i++) {
            fprintf(p->f, "<li>%c: <code>", fc_curve_letter(g));
            fc_html_text(p->f, p->group[g].run[i]->dir);
            fputs("</code></li>\n", p->f);
        }
    fputs("</ul>\n", p->f);
}

static fc_status put_comparison(page *p, int baseline, fc_error *warning, fc_error *err)
{
    const fc_metric **metric;
    int n;
    FC_TRY(fc_metric_list(&metric, &n, FC_METRICS_DEFAULT, p->arena, err));
    FC_TRY(fc_compare(&p->comparison, p->group, p->n, metric, n, baseline, p->arena, err));
    fc_page_begin(p->f, "Comparison of runs", 0);
    fputs("<header><h1>Comparison of runs</h1></header>\n", p->f);
    put_letters(p);
    FC_TRY(put_curves(p, warning, err));
    FC_TRY(put_comparison_tables(p, err));
    put_runs(p);
    fc_page_end(p->f);
    return FC_OK;
}

fc_status fc_report_groups(const char *path, const fc_result_group *group, int n, int baseline,
                           fc_arena *arena, fc_error *warning, fc_error *err)
{
    fc_draft html;
    FC_TRY(fc_draft_begin(&html, err));
    page p = {.f = html.f, .group = group, .n = n, .arena = arena};
    return fc_draft_save(&html, put_comparison(&p, baseline, warning, err), path, err);
}
