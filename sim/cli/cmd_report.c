/* fcil plot and fcil report: pictures and pages of runs that are there. */
#include "core/base/file.h"
#include "sim/cli/args.h"
#include "sim/cli/cmd.h"
#include "sim/io/outfile.h"
#include "sim/report/bars.h"
#include "sim/report/curves.h"
#include "sim/report/report.h"
#include "sim/report/result.h"

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
static fc_status rename_groups(runs *r, const fc_words *label, fc_error *err)
{
    for (int i = 0; i < label->n; i++) {
        bool found = false;
        for (int g = 0; g < r->n_groups; g++) {
            size_t n = strlen(r->group[g].label);
            if (strncmp(label->v[i], r->group[g].label, n) != 0 || label->v[i][n] != '=')
                continue;
            r->group[g].label = label->v[i] + n + 1;
            found = true;
        }
        if (!found)
            return fc_fail(err, FC_EUSAGE,
                           "--label %.200s: expected OLD=NEW, where OLD is the label of a line, "
                           "e.g. '%.200s'",
                           label->v[i], r->group[0].label);
    }
    return FC_OK;
}

static fc_status open_runs(runs *r, const fc_args *a, const fc_words *label, fc_error *err)
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
    return rename_groups(r, label, err);
}

/* ---- plot ------------------------------------------------------------------------------------ */

typedef struct plot_options {
    fc_args args;
    int metric, x; /* of curves */
    const char *bars;
    fc_words label;
} plot_options;

enum { OUTPUT, BARS, METRIC, X };
static const fc_flag plot_flags[] = {
    [OUTPUT] = FC_FLAG_OUTPUT("FILE", "its name ends in .svg, .png or .pdf; default curves.svg, "
                                      "bars.svg with --bars"),
    [BARS] = FC_FLAG_TEXT("--bars", "METRIC", plot_options, bars,
                          "instead of curves a bar for each group of finished runs, the longest "
                          "first: faa, acc_masked, wall_s, merge_extra, ... (fcil list metrics)"),
    [METRIC] = FC_FLAG_CHOICE("--metric", "NAME", plot_options, metric, "acc", "acc|acc_task_mean",
                              "over all test images seen so far, or mean over the tasks"),
    [X] = FC_FLAG_CHOICE("--x", "NAME", plot_options, x, "tasks", FC_CURVE_X_CHOICES,
                         "what the accuracy is drawn against"),
    FC_FLAG_WORDS("--label", "OLD=NEW", plot_options, label,
                  "call the line OLD by the name NEW; may be repeated")};

/* The format that the name of a file asks for. */
static fc_status format_of(fc_plot_format *out, const char *path, fc_error *err)
{
    static const fc_opt row = {.type = FC_OPT_CHOICE, .choices = FC_PLOT_FORMAT_CHOICES};
    const char *dot = strrchr(path, '.');
    int format;
    if (!dot || dot == path || fc_opt_set(&format, &row, dot + 1, "", NULL, NULL) != FC_OK)
        return fc_fail(err, FC_EUSAGE, "-o %.200s: expected a name in .svg, .png or .pdf", path);
    *out = (fc_plot_format)format;
    return FC_OK;
}

/* What is drawn: bars of a metric, or (NULL) curves. */
typedef struct drawing {
    const fc_metric *bars;
    fc_curve_options curves;
    fc_plot_format format;
} drawing;

static fc_status read_drawing(drawing *d, const plot_options *o, const char *path, fc_error *err)
{
    bool metric = fc_args_given(&o->args, METRIC);
    *d = (drawing){.curves = {.x = (fc_curve_x)o->x, .task_mean = o->metric}};
    FC_TRY(format_of(&d->format, path, err));
    if (o->bars && (metric || fc_args_given(&o->args, X)))
        return fc_fail(err, FC_EUSAGE, "plot: %s is for curves, expected --bars METRIC alone",
                       metric ? "--metric" : "--x");
    return o->bars ? fc_metric_find(&d->bars, o->bars, err) : FC_OK;
}

static fc_status draw_runs(char **picture, size_t *size, runs *r, const drawing *d, fc_error *err)
{
    fc_plot p = {.width = 760, .height = 440, .font = 13};
    if (d->bars)
        return fc_bars_draw(picture, size, r->group, r->n_groups, d->bars, d->format, err);
    FC_TRY(fc_curves(&p, r->group, r->n_groups, &d->curves, &r->arena, err));
    return fc_plot_draw(picture, size, &p, 1, d->format, err);
}

static fc_status plot_runs(const fc_args *a, fc_error *err)
{
    const plot_options *o = (const plot_options *)a;
    const char *path = a->output ? a->output : o->bars ? "bars.svg" : "curves.svg";
    char *picture = NULL;
    size_t size = 0;
    drawing d;
    runs r = {0};
    if (!a->config)
        return fc_fail(err, FC_EUSAGE, "plot: which runs? usage: fcil plot RUN_DIR ... [-o FILE]");
    FC_TRY(read_drawing(&d, o, path, err));
    fc_status s = open_runs(&r, a, &o->label, err);
    if (s == FC_OK)
        s = draw_runs(&picture, &size, &r, &d, err);
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
    static const fc_verb verb = {
        .name = "plot",
        .run = plot_runs,
        .flag = plot_flags,
        .n_flags = sizeof plot_flags / sizeof *plot_flags,
        .takes = FC_FLAGS_ALL,
        .words = true,
        .usage =
            "usage: fcil plot RUN_DIR ... [-o FILE.svg|.png|.pdf] [options]\n\n"
            "Accuracy curves of runs, finished or not. Runs that differ in nothing but their "
            "seeds are one\n"
            "line, their mean, in a band of one standard deviation; the final value stands at its "
            "end.\n\n"};
    plot_options o = {0};
    return fc_verb_run(&verb, &o.args, argc, argv, err);
}

/* ---- report ---------------------------------------------------------------------------------- */

typedef struct report_options {
    fc_args args;
    const char *baseline;
    fc_words label;
} report_options;

static const fc_flag report_flags[] = {
    FC_FLAG_OUTPUT("FILE", "where to write the page"),
    FC_FLAG_TEXT("--baseline", "LABEL", report_options, baseline,
                 "differences against this group instead of the first, over common seeds"),
    FC_FLAG_WORDS("--label", "OLD=NEW", report_options, label,
                  "call the group OLD by the name NEW; may be repeated")};

static fc_status report_one(const fc_args *a, fc_error *warning, fc_error *err)
{
    char path[FC_PATH_MAX];
    FC_TRY(fc_out_path(path, err, a->output ? "%s" : "%s/report.html",
                       a->output ? a->output : a->config));
    return fc_report_run(a->config, path, warning, err);
}

static fc_status report_groups(const report_options *o, fc_error *warning, fc_error *err)
{
    const char *path = o->args.output;
    runs r = {0};
    int baseline = 0;
    if (!path)
        return fc_fail(err, FC_EUSAGE, "report: several runs: expected -o FILE, where to write");
    fc_status s = open_runs(&r, &o->args, &o->label, err);
    if (s == FC_OK && o->baseline)
        s = fc_compare_find(&baseline, r.group, r.n_groups, o->baseline, err);
    if (s == FC_OK)
        s = fc_report_groups(path, r.group, r.n_groups, baseline, &r.arena, warning, err);
    close_runs(&r);
    return s;
}

static fc_status report_runs(const fc_args *a, fc_error *err)
{
    const report_options *o = (const report_options *)a;
    fc_error warning = {0};
    if (!a->config)
        return fc_fail(err, FC_EUSAGE,
                       "report: which run? usage: fcil report RUN_DIR ... [-o FILE]");
    if (a->n_extra == 0 && (o->baseline || o->label.n))
        return fc_fail(err, FC_EUSAGE, "report: --baseline and --label are for several runs");
    FC_TRY(a->n_extra ? report_groups(o, &warning, err) : report_one(a, &warning, err));
    if (warning.msg[0])
        fprintf(stderr, "fcil: report without pictures: %s\n", warning.msg);
    return FC_OK;
}

fc_status fc_cmd_report(int argc, char **argv, fc_error *err)
{
    static const fc_verb verb = {
        .name = "report",
        .run = report_runs,
        .flag = report_flags,
        .n_flags = sizeof report_flags / sizeof *report_flags,
        .takes = FC_FLAGS_ALL,
        .words = true,
        .usage =
            "usage: fcil report RUN_DIR [-o FILE]                one run; default "
            "RUN_DIR/report.html\n"
            "       fcil report RUN_DIR ... -o FILE [options]    several, compared\n\n"
            "One HTML page that needs nothing else: numbers, curves, tables to copy. Runs that "
            "differ in\n"
            "nothing but their seeds are one group: mean, standard deviation, 95 % interval.\n\n"};
    report_options o = {0};
    return fc_verb_run(&verb, &o.args, argc, argv, err);
}
