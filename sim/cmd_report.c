/* fcil plot and fcil report: pictures and pages of runs that are there. */
#include "core/file.h"
#include "sim/bars.h"
#include "sim/cmd.h"
#include "sim/curves.h"
#include "sim/outfile.h"
#include "sim/report.h"
#include "sim/result.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What both verbs work on. */
typedef struct runs {
    int n, n_groups;
    fc_result *run;
    fc_result_group *group;
    fc_arena arena;
} runs;

static void close_runs(runs *r)
{
    fc_results_free(r->run, r->n);
    fc_arena_free(&r->arena);
}

/* --label OLD=NEW for each that was given. A label may hold '=' itself, so OLD is what a group is
 * called. */
static fc_status rename_groups(runs *r, const fc_args *a, fc_error *err)
{
    for (int i = 0; i < a->n_label; i++) {
        bool found = false;
        for (int g = 0; g < r->n_groups; g++) {
            size_t n = strlen(r->group[g].label);
            if (strncmp(a->label[i], r->group[g].label, n) != 0 || a->label[i][n] != '=')
                continue;
            r->group[g].label = a->label[i] + n + 1;
            found = true;
        }
        if (!found)
            return fc_fail(err, FC_EUSAGE,
                           "--label %.200s: expected OLD=NEW, where OLD is the label of a line, "
                           "e.g. '%.200s'",
                           a->label[i], r->group[0].label);
    }
    return FC_OK;
}

static fc_status open_runs(runs *r, const fc_args *a, fc_error *err)
{
    *r = (runs){.n = 1 + a->n_extra};
    const char **dir = fc_arena_alloc(&r->arena, (size_t)r->n, sizeof *dir, err);
    if (!dir)
        return FC_EFAIL;
    dir[0] = a->config;
    for (int i = 0; i < a->n_extra; i++)
        dir[i + 1] = a->extra[i];
    FC_TRY(fc_results_read(&r->run, dir, r->n, err));
    FC_TRY(fc_result_groups(&r->group, &r->n_groups, r->run, r->n, &r->arena, err));
    return rename_groups(r, a, err);
}

/* Index of `word` among n words. */
static fc_status choose(int *out, const char *flag, const char *word, const char *const *of, int n,
                        fc_error *err)
{
    char all[128] = "";
    size_t used = 0;
    for (int i = 0; i < n; i++) {
        if (strcmp(of[i], word) == 0) {
            *out = i;
            return FC_OK;
        }
        used += (size_t)snprintf(all + used, sizeof all - used, "%s%s",
                                 i == 0       ? ""
                                 : i == n - 1 ? " or "
                                              : ", ",
                                 of[i]);
    }
    return fc_fail(err, FC_EUSAGE, "%s %.60s: expected %s", flag, word, all);
}

/* ---- plot ------------------------------------------------------------------------------------ */

static const char plot_usage[] =
    "usage: fcil plot RUN_DIR ... [-o FILE.svg|.png|.pdf] [options]\n\n"
    "Accuracy curves of runs, finished or not. Runs that differ in nothing but their seeds are "
    "one\n"
    "line, their mean, in a band of one standard deviation; the final value stands at its end.\n\n"
    "  -o FILE          default curves.svg, bars.svg with --bars\n"
    "  --bars METRIC    instead of curves a bar for each group of finished runs, the longest "
    "first:\n"
    "                   faa, acc_masked, wall_s, merge_extra, ... (fcil list metrics)\n"
    "  --metric NAME    acc (default): over all test images seen so far; acc_task_mean: mean over\n"
    "                   the tasks\n"
    "  --x NAME         tasks (default), rounds, bytes or time\n"
    "  --label OLD=NEW  call the line OLD by the name NEW; may be repeated\n";

static fc_status format_of(fc_plot_format *out, const char *path, fc_error *err)
{
    static const char *const endings[] = {".svg", ".png", ".pdf"};
    size_t n = strlen(path);
    for (int i = 0; i < 3; i++)
        if (n > 4 && strcmp(path + n - 4, endings[i]) == 0) {
            *out = (fc_plot_format)i;
            return FC_OK;
        }
    return fc_fail(err, FC_EUSAGE, "-o %.200s: expected a name in .svg, .png or .pdf", path);
}

/* What is drawn: bars of a metric, or (NULL) curves. */
typedef struct drawing {
    const fc_metric *bars;
    fc_curve_options curves;
    fc_plot_format format;
} drawing;

static fc_status read_drawing(drawing *d, const fc_args *a, const char *path, fc_error *err)
{
    static const char *const metrics[] = {"acc", "acc_task_mean"};
    static const char *const axes[] = {"tasks", "rounds", "bytes", "time"};
    int metric = 0, x = 0;
    *d = (drawing){0};
    FC_TRY(format_of(&d->format, path, err));
    if (a->bars && (a->metric || a->x))
        return fc_fail(err, FC_EUSAGE, "plot: %s is for curves, expected --bars METRIC alone",
                       a->metric ? "--metric" : "--x");
    if (a->bars)
        FC_TRY(fc_metric_find(&d->bars, a->bars, err));
    if (a->metric)
        FC_TRY(choose(&metric, "--metric", a->metric, metrics, 2, err));
    if (a->x)
        FC_TRY(choose(&x, "--x", a->x, axes, 4, err));
    d->curves = (fc_curve_options){.x = (fc_curve_x)x, .task_mean = metric};
    return FC_OK;
}

static fc_status draw(char **picture, size_t *size, runs *r, const drawing *d, fc_error *err)
{
    fc_plot p = {.width = 760, .height = 440, .font = 13};
    if (d->bars)
        return fc_bars_draw(picture, size, r->group, r->n_groups, d->bars, d->format, err);
    FC_TRY(fc_curves(&p, r->group, r->n_groups, &d->curves, &r->arena, err));
    return fc_plot_draw(picture, size, &p, 1, d->format, err);
}

static fc_status plot(const fc_args *a, fc_error *err)
{
    const char *path = a->output ? a->output : a->bars ? "bars.svg" : "curves.svg";
    char *picture = NULL;
    size_t size = 0;
    drawing d;
    runs r = {0};
    FC_TRY(read_drawing(&d, a, path, err));
    fc_status s = open_runs(&r, a, err);
    if (s == FC_OK)
        s = draw(&picture, &size, &r, &d, err);
    if (s == FC_OK)
        s = fc_file_write_atomic(path, picture, size, err);
    if (s == FC_OK)
        puts(path);
    free(picture);
    close_runs(&r);
    return s;
}

fc_status fc_cmd_plot(int argc, char **argv, fc_error *err)
{
    fc_args a;
    FC_TRY(fc_args_parse(&a, argc, argv, "WORDS -o --metric --x --bars --label", err));
    fc_status s = FC_OK;
    if (a.help)
        fputs(plot_usage, stdout);
    else if (!a.config)
        s = fc_fail(err, FC_EUSAGE, "plot: which runs? usage: fcil plot RUN_DIR ... [-o FILE]");
    else
        s = plot(&a, err);
    fc_args_free(&a);
    return s;
}

/* ---- report ---------------------------------------------------------------------------------- */

static const char report_usage[] =
    "usage: fcil report RUN_DIR [-o FILE]                one run; default RUN_DIR/report.html\n"
    "       fcil report RUN_DIR ... -o FILE [options]    several, compared\n\n"
    "One HTML page that needs nothing else: numbers, curves, tables to copy. Runs that differ in\n"
    "nothing but their seeds are one group: mean, standard deviation, 95 % interval.\n\n"
    "  --baseline LABEL  differences against this group instead of the first, over common seeds\n"
    "  --label OLD=NEW   call the group OLD by the name NEW; may be repeated\n";

static fc_status report_one(const fc_args *a, fc_error *warning, fc_error *err)
{
    char path[FC_PATH_MAX];
    FC_TRY(fc_out_path(path, err, a->output ? "%s" : "%s/report.html",
                       a->output ? a->output : a->config));
    return fc_report_run(a->config, path, warning, err);
}

static fc_status report_groups(const fc_args *a, fc_error *warning, fc_error *err)
{
    runs r = {0};
    int baseline = 0;
    if (!a->output)
        return fc_fail(err, FC_EUSAGE, "report: several runs: expected -o FILE, where to write");
    fc_status s = open_runs(&r, a, err);
    if (s == FC_OK && a->baseline)
        s = fc_compare_find(&baseline, r.group, r.n_groups, a->baseline, err);
    if (s == FC_OK)
        s = fc_report_groups(a->output, r.group, r.n_groups, baseline, &r.arena, warning, err);
    close_runs(&r);
    return s;
}

fc_status fc_cmd_report(int argc, char **argv, fc_error *err)
{
    fc_args a;
    fc_error warning = {0};
    FC_TRY(fc_args_parse(&a, argc, argv, "WORDS -o --baseline --label", err));
    fc_status s = FC_OK;
    if (a.help)
        fputs(report_usage, stdout);
    else if (!a.config)
        s = fc_fail(err, FC_EUSAGE, "report: which run? usage: fcil report RUN_DIR ... [-o FILE]");
    else if (a.n_extra == 0 && (a.baseline || a.n_label))
        s = fc_fail(err, FC_EUSAGE, "report: --baseline and --label are for several runs");
    else
        s = a.n_extra ? report_groups(&a, &warning, err) : report_one(&a, &warning, err);
    if (s == FC_OK && warning.msg[0])
        fprintf(stderr, "fcil: report without pictures: %s\n", warning.msg);
    fc_args_free(&a);
    return s;
}
