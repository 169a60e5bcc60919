/* fcil verify: do recipes give the numbers that they promise? */
#include "core/base/file.h"
#include "sim/cli/args.h"
#include "sim/cli/cmd.h"
#include "sim/draw/table.h"
#include "sim/io/outfile.h"
#include "sim/jobs/sweep_run.h"
#include "sim/sweep/recipe.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct options {
    fc_args args;
    bool recorded;
    int jobs;
} options;

static const fc_flag flags[] = {
    FC_FLAG_BOOL("--recorded", options, recorded,
                 "judge the kept runs that a recipe names; run nothing"),
    FC_FLAG_OUTPUT("FILE.md", "also write the table of all recipes"),
    FC_FLAG_SETTING("--out", "DIR", "run.out",
                    "folder of the runs, instead of run.out of the recipe"),
    FC_FLAG_DATA,
    FC_FLAG_SETTING("--threads", "N", "run.threads",
                    "threads, which the jobs share; default: all cores"),
    FC_FLAG_INT("--jobs", "J", options, jobs, "1", 1, FC_JOBS_MAX, "runs at the same time"),
    FC_FLAG_QUIET,
    FC_FLAG_COLOUR,
    FC_FLAG_JSON("verdicts as JSON on stdout")};

/* A recipe and what came out. */
typedef struct receipt {
    fc_recipe recipe;
    fc_result *run; /* (n) */
    int n;          /* runs that are there */
    fc_verdict *verdict;
    bool pass;
    fc_error why; /* its runs failed */
} receipt;

/* --- runs ---------------------------------------------------------------------------------------
 */

static fc_status read_new(receipt *r, fc_error *err)
{
    const fc_sweep *s = &r->recipe.sweep;
    const char **dir = fc_arena_alloc(&r->recipe.arena, (size_t)s->n_runs, sizeof *dir, err);
    int n = 0;
    if (!dir)
        return FC_EFAIL;
    for (int i = 0; i < s->n_runs; i++)
        if (fc_file_exists(s->run[i].dir))
            dir[n++] = s->run[i].dir;
    FC_TRY(fc_results_read(&r->run, dir, n, err));
    r->n = n;
    return FC_OK;
}

/* The kept runs that are of the recipe's experiment: its config, whatever the seed. */
static fc_status read_recorded(receipt *r, fc_error *err)
{
    const fc_sweep_run *first = &r->recipe.sweep.run[0];
    fc_arena *arena = &r->recipe.arena;
    char **dir;
    int n_dirs;
    if (!*r->recipe.recorded)
        return FC_OK;
    FC_TRY(fc_result_dirs(&dir, &n_dirs, r->recipe.recorded, arena, err));
    FC_TRY(fc_results_read(&r->run, (const char *const *)dir, n_dirs, err));
    fc_result like = {0};
    fc_status s =
        fc_config_load(&like.config, first->config, first->override, first->n_override, err);
    for (int i = 0; i < n_dirs; i++) { /* those that are not are freed, the others move up */
        bool same = false;
        if (s == FC_OK)
            s = fc_result_same_experiment(&same, &like, &r->run[i], arena, err);
        if (same)
            r->run[r->n++] = r->run[i];
        else
            fc_result_free(&r->run[i]);
    }
    fc_result_free(&like);
    return s;
}

static fc_status judge_receipt(receipt *r, fc_error *err)
{
    fc_recipe *of = &r->recipe;
    double *x = fc_arena_alloc(&of->arena, (size_t)r->n + 1, sizeof *x, err);
    r->verdict = fc_arena_alloc(&of->arena, (size_t)of->n_expected, sizeof *r->verdict, err);
    if (!x || !r->verdict)
        return FC_EFAIL;
    r->pass = r->why.code == FC_OK; /* not on the seeds that are left */
    for (int k = 0; k < of->n_expected; k++) {
        for (int i = 0; i < r->n; i++)
            x[i] = fc_metric_final(of->expected[k].metric, &r->run[i]);
        r->verdict[k] = fc_recipe_judge(&of->expected[k], x, r->n);
        r->pass = r->pass && r->verdict[k].pass;
    }
    return FC_OK;
}

/* --- what is printed ----------------------------------------------------------------------------
 */

/* Of our runs, or (one number) what is expected; one digit more than tables show. */
static const char *spread_of(char buf[FC_SPREAD_TEXT_MAX], const fc_metric *m, fc_mean x)
{
    return fc_spread_text(buf, &x, m->unit, m->decimals + 1);
}

static fc_mean alone(double x)
{
    return (fc_mean){.n = 1, .mean = x};
}

static const char *z_text(char buf[32], double z)
{
    if (isnan(z))
        buf[0] = '\0';
    else
        snprintf(buf, 32, "%+.2f", z);
    return buf;
}

static void print_receipt(const receipt *r)
{
    char ours[FC_SPREAD_TEXT_MAX], expected[FC_SPREAD_TEXT_MAX], z[32];
    const fc_recipe *of = &r->recipe;
    printf("%s  %s\n", r->pass ? "PASS" : "FAIL", of->sweep.path);
    if (r->why.msg[0])
        printf("      %s\n", r->why.msg);
    for (int k = 0; k < of->n_expected; k++) {
        const fc_expected *e = &of->expected[k];
        const fc_verdict *v = &r->verdict[k];
        spread_of(expected, e->metric, alone(e->mean));
        if (v->ours.n == 0) {
            printf("      %s: no finished run, expected %s\n", e->metric->title, expected);
            continue;
        }
        printf("      %s: %s (n = %d), expected %s within %.*f", e->metric->title,
               spread_of(ours, e->metric, v->ours), v->ours.n, expected, e->metric->decimals + 1,
               e->tolerance / e->metric->unit);
        if (!isnan(v->z))
            printf(", z = %s", z_text(z, v->z));
        puts(v->pass ? "" : "  <- FAIL");
    }
}

static json_t *json_of(const receipt *r)
{
    json_t *all = json_array();
    for (int k = 0; k < r->recipe.n_expected; k++) {
        const fc_expected *e = &r->recipe.expected[k];
        const fc_verdict *v = &r->verdict[k];
        json_array_append_new(all,
                              json_pack("{s:s, s:b, s:i, s:o, s:o, s:f, s:f, s:o}", "metric",
                                        e->metric->name, "pass", v->pass, "n", v->ours.n, "mean",
                                        fc_out_json_number(v->ours.mean), "sd",
                                        fc_out_json_number(v->ours.sd), "expected", e->mean,
                                        "tolerance", e->tolerance, "z", fc_out_json_number(v->z)));
    }
    return json_pack("{s:s, s:b, s:o}", "recipe", r->recipe.sweep.path, "pass", r->pass, "metrics",
                     all);
}

/* --- the table ----------------------------------------------------------------------------------
 */

/* clang-format off */
static const char page_head[] =
    "# Reproduction\n\n"
    "Written by `fcil verify --recorded -o results/REPRODUCTION.md configs/recipes/*.yaml`: change the recipes,\n"
    "not this file. What the numbers mean, and where ours disagree with the published ones:\n"
    "[ANALYSIS.md](ANALYSIS.md).\n\n"
    "*Ours* are runs of this program, kept below `results/`: mean \302\261 standard deviation over n seeds. *Expected* is\n"
    "what the recipe asks for, and how far off it may be. *Verified* says against what: a paper, an issue of\n"
    "its repository, or earlier runs of our own, which shows that nothing broke, not that a paper was\n"
    "reproduced; *source* has the details. z: the difference in standard errors. A recipe without kept runs is\n"
    "*not run*: its config is there for whoever has the time.\n\n";
/* clang-format on */

enum { METHOD, PAPER, PUBLISHED, METRIC, OURS, EXPECTED, Z, VERIFIED, SOURCE, COMMAND, COLUMNS };
static const char *const heads[COLUMNS] = {[METHOD] = "method",
                                           [PAPER] = "paper",
                                           [PUBLISHED] = "published",
                                           [METRIC] = "metric",
                                           [OURS] = "ours (n)",
                                           [EXPECTED] = "expected",
                                           [Z] = "z",
                                           [VERIFIED] = "verified",
                                           [SOURCE] = "source",
                                           [COMMAND] = "command"};

/* "Salami et al., ICLR 2025; CIFAR-100, beta 0.5": those that are there. */
static const char *joined(const char *a, const char *b, fc_arena *arena, fc_error *err)
{
    return fc_arena_format(arena, err, "%s%s%s", a, *a && *b ? "; " : "", b);
}

static fc_status table_row(fc_cell *cell, receipt *r, int k, fc_error *err)
{
    char text[FC_SPREAD_TEXT_MAX], z[32];
    fc_recipe *of = &r->recipe;
    fc_arena *a = &of->arena;
    const fc_expected *e = &of->expected[k];
    const fc_verdict *v = &r->verdict[k];
    cell[METHOD].text = of->sweep.run[0].method;
    cell[PAPER].text = joined(of->title, of->row, a, err);
    cell[PUBLISHED].text = joined(k ? "" : of->published, k ? "" : of->setting, a, err);
    cell[METRIC].text = e->metric->title;
    spread_of(text, e->metric, v->ours);
    cell[OURS].text = v->ours.n ? fc_arena_format(a, err, "%s (%d)", text, v->ours.n) : "";
    spread_of(text, e->metric, alone(e->mean));
    cell[EXPECTED].text = fc_arena_format(a, err, "%s within %.*f", text, e->metric->decimals + 1,
                                          e->tolerance / e->metric->unit);
    cell[Z].text = fc_arena_strdup(a, z_text(z, v->z), err);
    cell[VERIFIED].text = v->ours.n
                              ? fc_arena_format(a, err, "%s (%s)", v->pass ? "yes" : "no", of->kind)
                              : "not run";
    cell[SOURCE].text = joined(of->source, k ? "" : of->note, a, err);
    cell[COMMAND].text = fc_arena_format(a, err, "fcil verify %s", of->sweep.path);
    for (int c = 0; c < COLUMNS; c++)
        if (!cell[c].text)
            return FC_EFAIL;
    return FC_OK;
}

static fc_status write_page(const char *path, receipt *r, int n, fc_error *err)
{
    fc_arena arena = {0};
    fc_table t;
    fc_draft page;
    int rows = 0, row = 0;
    for (int i = 0; i < n; i++)
        rows += r[i].recipe.n_expected;
    fc_status s = fc_table_init(&t, rows, COLUMNS, COLUMNS, &arena, err);
    if (s == FC_OK)
        memcpy(t.head, heads, sizeof heads);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < r[i].recipe.n_expected && s == FC_OK; k++)
            s = table_row(t.cell + (size_t)row++ * COLUMNS, &r[i], k, err);
    if (s == FC_OK)
        s = fc_draft_begin(&page, err);
    if (s == FC_OK) {
        fputs(page_head, page.f);
        fc_table_markdown(page.f, &t);
        s = fc_draft_save(&page, s, path, err);
    }
    fc_arena_free(&arena);
    return s;
}

/* --- the verb -----------------------------------------------------------------------------------
 */

static fc_status verify_one(receipt *r, const char *path, const options *o, fc_error *err)
{
    const fc_args *a = &o->args;
    *r = (receipt){0};
    FC_TRY(fc_recipe_load(&r->recipe, path, a->override, a->n_override, err));
    if (!o->recorded) {
        fc_worker_options worker = fc_worker_defaults(o->jobs, fc_args_console(a, FC_NORMAL));
        fc_status s = fc_sweep_work(&r->recipe.sweep, &worker, &r->why);
        if (s == FC_ESTOP) {
            *err = r->why;
            return s;
        }
    }
    FC_TRY(o->recorded ? read_recorded(r, err) : read_new(r, err));
    return judge_receipt(r, err);
}

static void receipt_free(receipt *r)
{
    fc_results_free(r->run, r->n);
    fc_recipe_free(&r->recipe);
}

static fc_status verify_all(receipt *r, int *done, const options *o, fc_error *err)
{
    const fc_args *a = &o->args;
    int failed = 0;
    json_t *all = a->json ? json_array() : NULL;
    fc_status s = FC_OK;
    for (; *done <= a->n_extra && s == FC_OK; (*done)++) {
        receipt *one = &r[*done];
        s = verify_one(one, *done ? a->extra[*done - 1] : a->config, o, err);
        if (s != FC_OK)
            continue;
        bool unknown = o->recorded && one->n == 0;
        failed += !one->pass && !unknown;
        if (all)
            json_array_append_new(all, json_of(one));
        else if (!unknown)
            print_receipt(one);
        else
            printf("----  %s: no kept runs\n", one->recipe.sweep.path);
        fflush(stdout);
    }
    if (all && s == FC_OK) {
        json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(10));
        putchar('\n');
    }
    json_decref(all);
    if (s == FC_OK && a->output)
        s = write_page(a->output, r, *done, err);
    if (s == FC_OK && failed)
        s = fc_fail(err, FC_EFAIL, "%d of %d recipes failed", failed, *done);
    return s;
}

static fc_status verify_recipes(const fc_args *a, fc_error *err)
{
    int done = 0;
    if (!a->config)
        return fc_fail(err, FC_EUSAGE, "verify: which recipe? fcil verify --help");
    receipt *r = calloc((size_t)a->n_extra + 1, sizeof *r);
    if (!r)
        return fc_fail(err, FC_EFAIL, "out of memory");
    fc_status s = verify_all(r, &done, (const options *)a, err);
    for (int i = 0; i < done; i++)
        receipt_free(&r[i]);
    free(r);
    return s;
}

fc_status fc_cmd_verify(int argc, char **argv, fc_error *err)
{
    static const fc_verb verb = {
        .name = "verify",
        .run = verify_recipes,
        .flag = flags,
        .n_flags = sizeof flags / sizeof *flags,
        .takes = FC_FLAGS_ALL,
        .usage =
            "fcil verify RECIPE ... [key=value ...] [options]\n"
            "\n"
            "Runs each recipe (a config, seeds, and the numbers that should come out) as fcil "
            "sweep run\n"
            "would, skipping finished runs, and says PASS or FAIL: our mean against the expected "
            "one.\n"
            "\n",
        .notes = "\nExit code 1 if any recipe fails.\n"};
    options o = {0};
    return fc_verb_run(&verb, &o.args, argc, argv, err);
}
