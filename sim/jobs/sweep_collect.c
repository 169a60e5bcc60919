#include "sim/jobs/sweep_collect.h"

#include "core/base/file.h"
#include "sim/io/outfile.h"
#include "sim/jobs/sweep_halving.h"
#include "sim/report/compare.h"

#include <stdio.h>
#include <string.h>

/* What is there of the plan. */
typedef struct collection {
    const fc_sweep *sweep;
    fc_sweep_view view;
    fc_result *result; /* (done) */
    int *run;          /* (done) its index in the plan */
    int done;
    const fc_metric **metric;
    int n_metrics;
    fc_result_group *group;
    int n_groups;
    int *base; /* (n_groups) the group it is compared with, itself where there is none */
    fc_arena arena;
} collection;

static fc_status read_runs(collection *c, fc_error *err)
{
    const fc_sweep *s = c->sweep;
    const char **dir = fc_arena_alloc(&c->arena, (size_t)s->n_runs, sizeof *dir, err);
    int n = 0;
    c->run = fc_arena_alloc(&c->arena, (size_t)s->n_runs, sizeof *c->run, err);
    if (!dir || !c->run)
        return FC_EFAIL;
    for (int i = 0; i < s->n_runs; i++)
        if (c->view.run[i].state == FC_RUN_DONE) {
            c->run[n] = i;
            dir[n++] = s->run[i].dir;
        }
    if (n == 0)
        return fc_fail(err, FC_EDATA, "%s: none of the %d runs of %s is done yet", s->out,
                       s->n_runs, s->path);
    FC_TRY(fc_results_read(&c->result, dir, n, err));
    c->done = n;
    return FC_OK;
}

/* --- which group is compared with which ---------------------------------------------------------
 */

static const fc_sweep_run *first_of(const collection *c, int group)
{
    return &c->sweep->run[c->run[c->group[group].run[0] - c->result]];
}

/* run.seed, or an order seed:N? */
static bool is_seed(const char *column, const char *value)
{
    return strcmp(column, "run.seed") == 0 ||
           (strncmp(column, "tasks.", 6) == 0 && fc_ints_drawn(&(fc_ints){.word = value}));
}

/* Is b the baseline of group g: the named values, and else what g has? An axis that one of them
 * does not know (an option of another method) tells nothing. */
static bool is_baseline_of(const collection *c, int b, int g)
{
    const fc_sweep *s = c->sweep;
    const fc_sweep_run *of = first_of(c, g), *base = first_of(c, b);
    bool named = false;
    for (int k = 0; k < s->n_columns; k++) {
        const char *want = s->baseline[k] ? s->baseline[k] : of->value[k];
        named = named || s->baseline[k];
        bool told = s->baseline[k] || (*want && *base->value[k]);
        if (!is_seed(s->column[k], want) && told && strcmp(base->value[k], want) != 0)
            return false;
    }
    return named;
}

static fc_status find_baselines(collection *c, fc_error *err)
{
    c->base = fc_arena_alloc(&c->arena, (size_t)c->n_groups, sizeof *c->base, err);
    if (!c->base)
        return FC_EFAIL;
    for (int g = 0; g < c->n_groups; g++) {
        c->base[g] = g;
        for (int b = 0; b < c->n_groups && c->base[g] == g; b++)
            if (is_baseline_of(c, b, g))
                c->base[g] = b;
    }
    return FC_OK;
}

/* The groups that are compared with b, b among them; n = 0 if b is nobody's baseline. */
static fc_status compare_with(fc_comparison *out, collection *c, int b, fc_error *err)
{
    int n = 0, baseline = 0;
    fc_result_group *of = fc_arena_alloc(&c->arena, (size_t)c->n_groups, sizeof *of, err);
    if (!of)
        return FC_EFAIL;
    for (int g = 0; g < c->n_groups; g++)
        if (c->base[g] == b) {
            baseline = g == b ? n : baseline;
            of[n++] = c->group[g];
        }
    *out = (fc_comparison){0};
    return n ? fc_compare(out, of, n, c->metric, c->n_metrics, baseline, &c->arena, err) : FC_OK;
}

/* --- files --------------------------------------------------------------------------------------
 */

/* The tables one below the other, atomically into <out>/<name of the sweep>/name. */
static fc_status write_file(const collection *c, const char *name,
                            void (*print)(FILE *, const fc_table *), const fc_table *const *table,
                            int n, fc_error *err)
{
    char path[FC_PATH_MAX];
    fc_draft text;
    FC_TRY(fc_out_path(path, err, "%s/%s/%s", c->sweep->out, c->sweep->name, name));
    FC_TRY(fc_draft_begin(&text, err));
    for (int i = 0; i < n; i++) {
        fputs(i ? "\n" : "", text.f);
        print(text.f, table[i]);
    }
    return fc_draft_save(&text, FC_OK, path, err);
}

static const char *state_of(const fc_run_view *v)
{
    static const char *const words[] = {[FC_RUN_WAITING] = "waiting",
                                        [FC_RUN_CLAIMED] = "running",
                                        [FC_RUN_DONE] = "done",
                                        [FC_RUN_FAILED] = "failed"};
    return v->wanted ? words[v->state] : "not chosen";
}

static fc_status write_results(collection *c, fc_error *err)
{
    enum { ID, AXES };
    const fc_sweep *s = c->sweep;
    const int state = AXES + s->n_columns, dir = state + 1, first = dir + 1;
    fc_table t;
    FC_TRY(fc_table_init(&t, s->n_runs, first + fc_metric_count, first, &c->arena, err));
    t.head[ID] = "id";
    memcpy(t.head + AXES, s->column, (size_t)s->n_columns * sizeof *s->column);
    t.head[state] = "state";
    t.head[dir] = "dir";
    for (int k = 0; k < fc_metric_count; k++)
        t.head[first + k] = fc_metric_table[k].name;
    for (int i = 0, done = 0; i < s->n_runs; i++) {
        const fc_sweep_run *run = &s->run[i];
        const fc_result *r = done < c->done && c->run[done] == i ? &c->result[done++] : NULL;
        fc_cell *cell = t.cell + (size_t)i * (size_t)t.columns;
        cell[ID].text = run->id;
        for (int k = 0; k < s->n_columns; k++)
            cell[AXES + k].text = run->value[k];
        cell[state].text = state_of(&c->view.run[i]);
        cell[dir].text = r ? run->dir : NULL;
        for (int k = 0; r && k < fc_metric_count; k++)
            FC_TRY(fc_table_number(&cell[first + k], fc_metric_final(&fc_metric_table[k], r),
                                   &c->arena, err));
    }
    const fc_table *table = &t;
    return write_file(c, "results.csv", fc_table_csv, &table, 1, err);
}

/* Rows of `more` behind those of *t, which has room for them. */
static void append_rows(fc_table *t, const fc_table *more)
{
    size_t columns = (size_t)more->columns;
    memcpy(t->cell + (size_t)t->rows * columns, more->cell,
           (size_t)more->rows * columns * sizeof *t->cell);
    t->rows += more->rows;
}

static fc_status write_tables(collection *c, fc_error *err)
{
    fc_comparison all, some;
    fc_table *t = fc_arena_alloc(&c->arena, (size_t)c->n_groups + 2, sizeof *t, err);
    const fc_table **text = fc_arena_alloc(&c->arena, (size_t)c->n_groups + 1, sizeof *text, err);
    if (!t || !text)
        return FC_EFAIL;
    int n = 1;
    fc_table *numbers = &t[c->n_groups + 1], more;
    FC_TRY(fc_compare(&all, c->group, c->n_groups, c->metric, c->n_metrics, 0, &c->arena, err));
    FC_TRY(fc_compare_table(&t[0], &all, &c->arena, err));
    text[0] = &t[0];
    FC_TRY(fc_compare_numbers(numbers, &all, &c->arena, err)); /* heads, and room for all rows */
    numbers->rows = 0;
    for (int b = 0; b < c->n_groups; b++) {
        FC_TRY(compare_with(&some, c, b, err));
        if (some.n_groups == 0)
            continue;
        FC_TRY(fc_compare_numbers(&more, &some, &c->arena, err));
        append_rows(numbers, &more);
        if (some.n_groups == 1)
            continue;
        FC_TRY(fc_compare_differences(&t[n], &some, &c->arena, err));
        text[n] = &t[n];
        n++;
    }
    const fc_table *table = numbers;
    FC_TRY(write_file(c, "table.csv", fc_table_csv, &table, 1, err));
    FC_TRY(write_file(c, "table.tex", fc_table_latex, text, n, err));
    FC_TRY(write_file(c, "table.md", fc_table_markdown, text, n, err));
    for (int i = 0; i < n; i++) {
        fputs(i ? "\n" : "", stdout);
        fc_table_markdown(stdout, text[i]);
    }
    return FC_OK;
}

static fc_status collect_results(collection *c, const char *metrics, fc_error *err)
{
    FC_TRY(fc_sweep_view_open(&c->view, c->sweep, false, err));
    fc_halving_look(&c->view);
    FC_TRY(fc_metric_list(&c->metric, &c->n_metrics, metrics, &c->arena, err));
    FC_TRY(read_runs(c, err));
    FC_TRY(fc_result_groups(&c->group, &c->n_groups, c->result, c->done, &c->arena, err));
    FC_TRY(find_baselines(c, err));
    FC_TRY(write_results(c, err));
    FC_TRY(write_tables(c, err));
    int wanted = 0;
    for (int i = 0; i < c->sweep->n_runs; i++)
        wanted += c->view.run[i].wanted;
    if (c->done < wanted)
        printf("\n%d of %d runs are done.\n", c->done, wanted);
    return FC_OK;
}

fc_status fc_sweep_collect(const fc_sweep *s, const char *metrics, fc_error *err)
{
    collection c = {.sweep = s};
    fc_status st = collect_results(&c, metrics, err);
    fc_results_free(c.result, c.done);
    fc_sweep_view_close(&c.view);
    fc_arena_free(&c.arena);
    return st;
}
