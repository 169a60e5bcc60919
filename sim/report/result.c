#include "sim/report/result.h"

#include "core/base/file.h"
#include "sim/config/config.h"
#include "sim/config/config_parts.h"
#include "sim/io/outfile.h"
#include "sim/record/runlog.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- one run ------------------------------------------------------------------------------------
 */

/* NULL if the file is not there. */
static fc_status read_json(json_t **out, const char *dir, const char *name, fc_error *err)
{
    char path[FC_PATH_MAX];
    json_error_t why;
    if (!fc_out_find(path, dir, name))
        return FC_OK;
    *out = json_load_file(path, 0, &why);
    if (!json_is_object(*out))
        return fc_fail(err, FC_EDATA, "%s:%d: %s, expected a JSON object", path, why.line,
                       *out ? "something else" : why.text);
    return FC_OK;
}

/* No columns if the file is not there. */
static fc_status read_csv(fc_csv *out, fc_result *r, const char *name, fc_error *err)
{
    char path[FC_PATH_MAX];
    return fc_out_find(path, r->dir, name) ? fc_csv_read(out, path, &r->arena, err) : FC_OK;
}

/* DONE, FAILED and its reason, STOPPED. */
static fc_status read_state(fc_result *r, fc_error *err)
{
    static const struct {
        fc_run_mark mark;
        fc_result_state state;
    } state[] = {{FC_MARK_DONE, FC_RESULT_DONE},
                 {FC_MARK_STOPPED, FC_RESULT_STOPPED},
                 {FC_MARK_FAILED, FC_RESULT_FAILED}};
    char path[FC_PATH_MAX], line[1024] = "";
    r->why = "";
    r->state = r->summary ? FC_RESULT_DONE : FC_RESULT_OPEN;
    for (size_t i = 0; i < sizeof state / sizeof *state; i++)
        if (fc_out_find(path, r->dir, fc_run_mark_name[state[i].mark])) {
            r->state = state[i].state;
            break;
        }
    if (r->state != FC_RESULT_FAILED)
        return FC_OK;
    FILE *f = fopen(path, "re");
    if (f) {
        if (fgets(line, sizeof line, f))
            line[strcspn(line, "\n")] = '\0';
        fclose(f);
    }
    r->why = fc_arena_strdup(&r->arena, line, err);
    return r->why ? FC_OK : FC_EFAIL;
}

/* A whole number from `least` to `most`, else -1. */
static long count_in(const fc_csv *csv, size_t row, const char *column, long least, long most)
{
    double x = fc_csv_number(csv, row, fc_csv_column(csv, column));
    return x >= (double)least && x <= (double)most && x == floor(x) ? (long)x : -1;
}

/* The task matrix of tasks.csv, whose rows stand in its order; an unfinished last row of the matrix
 * is left out. */
static fc_status read_matrix(fc_result *r, fc_error *err)
{
    const fc_csv *csv = &r->tasks;
    fc_acc_matrix *m = &r->acc;
    size_t n = 0; /* rows of the matrix: what the file holds, not what the config promises */
    while (n * (n + 1) / 2 < csv->rows)
        n++;
    m->tasks = fc_config_tasks(&r->config);
    m->ld = (int)n;
    m->correct = fc_arena_alloc(&r->arena, n * n, sizeof(long), err);
    m->total = fc_arena_alloc(&r->arena, n * n, sizeof(long), err);
    r->masked = fc_arena_alloc(&r->arena, n * n, sizeof(long), err);
    if (!m->correct || !m->total || !r->masked)
        return FC_EFAIL;
    int after = 1, task = 1, masked = fc_csv_column(csv, "acc_masked");
    for (size_t row = 0; row < csv->rows; row++) {
        if (after > m->tasks)
            return fc_fail(err, FC_EDATA, "%s:%zu: a row too many for %d tasks", csv->path, row + 2,
                           m->tasks);
        bool in_order = count_in(csv, row, "after_task", after, after) == after &&
                        count_in(csv, row, "eval_task", task, task) == task;
        long total = count_in(csv, row, "total", 0, 1L << 40);
        long correct = count_in(csv, row, "correct", 0, total);
        double acc = total > 0 ? fc_csv_number(csv, row, masked) : 0; /* to 4 decimals */
        if (!in_order || correct < 0 || !(acc >= 0 && acc <= 100))
            return fc_fail(err, FC_EDATA,
                           "%s:%zu: expected task %d after task %d: images, how many are right, "
                           "and acc_masked in per cent",
                           csv->path, row + 2, task, after);
        size_t i = (size_t)(after - 1) * n + (size_t)(task - 1);
        m->correct[i] = correct;
        m->total[i] = total;
        r->masked[i] = lround(acc / 100 * (double)total);
        if (task++ == after) {
            m->done = after++;
            task = 1;
        }
    }
    return FC_OK;
}

static fc_status read_run_files(fc_result *r, const char *dir, fc_error *err)
{
    char path[FC_PATH_MAX];
    r->dir = fc_arena_strdup(&r->arena, dir, err);
    if (!r->dir)
        return FC_EFAIL;
    if (!fc_out_find(path, dir, "config.yaml"))
        return fc_fail(err, FC_EDATA, "%s: no config.yaml there: not the folder of a run", dir);
    FC_TRY(fc_config_load(&r->config, path, NULL, 0, err));
    FC_TRY(read_json(&r->manifest, dir, "manifest.json", err));
    FC_TRY(read_json(&r->summary, dir, "summary.json", err));
    FC_TRY(read_csv(&r->rounds, r, "rounds.csv", err));
    FC_TRY(read_csv(&r->tasks, r, "tasks.csv", err));
    FC_TRY(read_matrix(r, err));
    return read_state(r, err);
}

fc_status fc_result_read(fc_result *r, const char *dir, fc_error *err)
{
    *r = (fc_result){0};
    fc_status s = read_run_files(r, dir, err);
    if (s != FC_OK)
        fc_result_free(r);
    return s;
}

void fc_result_free(fc_result *r)
{
    json_decref(r->manifest);
    json_decref(r->summary);
    fc_config_free(&r->config);
    fc_arena_free(&r->arena);
    *r = (fc_result){0};
}

fc_status fc_results_read(fc_result **out, const char *const *dir, int n, fc_error *err)
{
    fc_status s = FC_OK;
    fc_result *r = calloc((size_t)n + 1, sizeof *r);
    if (!r)
        return fc_fail(err, FC_EFAIL, "%d runs: out of memory", n);
    for (int i = 0; i < n && s == FC_OK; i++)
        s = fc_result_read(&r[i], dir[i], err);
    if (s != FC_OK) {
        fc_results_free(r, n);
        r = NULL;
    }
    *out = r;
    return s;
}

void fc_results_free(fc_result *r, int n)
{
    for (int i = 0; r && i < n; i++)
        fc_result_free(&r[i]);
    free(r);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

fc_status fc_result_dirs(char ***dir, int *n, const char *parent, fc_arena *arena, fc_error *err)
{
    char path[FC_PATH_MAX], config[FC_PATH_MAX];
    struct dirent *e;
    size_t room = 0;
    DIR *d = opendir(parent);
    if (!d)
        return fc_fail(err, FC_EDATA, "%s: cannot read the folder: %s", parent, strerror(errno));
    while (readdir(d))
        room++;
    rewinddir(d);
    *n = 0;
    *dir = fc_arena_alloc(arena, room, sizeof **dir, err);
    fc_status s = *dir ? FC_OK : FC_EFAIL;
    while (s == FC_OK && (size_t)*n < room && (e = readdir(d))) {
        s = fc_out_path(path, err, "%s/%s", parent, e->d_name);
        if (e->d_name[0] == '.' || s != FC_OK || !fc_out_find(config, path, "config.yaml"))
            continue;
        if (!((*dir)[(*n)++] = fc_arena_strdup(arena, path, err)))
            s = FC_EFAIL;
    }
    closedir(d);
    if (s == FC_OK)
        qsort(*dir, (size_t)*n, sizeof **dir, by_name);
    return s;
}

double fc_result_masked(const fc_result *r)
{
    long right = 0, total = 0;
    for (int s = 0, t = r->acc.done - 1; s <= t; s++) {
        right += r->masked[t * r->acc.ld + s];
        total += r->acc.total[t * r->acc.ld + s];
    }
    return total ? 100.0 * (double)right / (double)total : NAN;
}

/* --- runs that belong together ------------------------------------------------------------------
 */

/* What tells experiments apart: options that change results, but no seeds; and content. */
typedef struct trait {
    const char *section, *key, *value;
} trait;
typedef struct traits {
    trait *v;
    int n;
} traits;

/* Hash of the data or weights; "" if unknown. Random weights follow from the seeds. */
static const char *content(const fc_result *r, const char *key)
{
    const json_t *input = json_object_get(r->manifest, "input");
    const char *path = json_string_value(json_object_get(input, "weights_path"));
    if (path && !*path && strcmp(key, "weights_sha256") == 0)
        return "random";
    const char *hash = json_string_value(json_object_get(input, key));
    return hash ? hash : "";
}

static bool is_drawn(const fc_config_field *f)
{
    return f->opt->type == FC_OPT_INTS &&
           fc_ints_drawn((const void *)((const char *)f->base + f->opt->offset));
}

/* The options of a run that are seeds, or those that are not. A drawn order is both: a seed, and
 * not an order that was given. */
static fc_status traits_of(traits *out, fc_result *r, bool seeds, fc_arena *arena, fc_error *err)
{
    int n;
    const fc_config_field *f = fc_config_fields(&r->config, &n, err);
    if (!f)
        return FC_EFAIL;
    out->n = 0;
    out->v = fc_arena_alloc(arena, (size_t)n + 3, sizeof *out->v, err);
    if (!out->v)
        return FC_EFAIL;
    for (int i = 0; i < n; i++) {
        bool drawn = is_drawn(&f[i]), seed = drawn || f[i].opt->type == FC_OPT_SEED;
        if (!fc_config_changes_results(&f[i]) || (seeds ? !seed : seed && !drawn))
            continue;
        const char *value =
            drawn && !seeds ? "random" : fc_opt_print(f[i].base, f[i].opt, arena, err);
        if (!value)
            return FC_EFAIL;
        out->v[out->n++] = (trait){f[i].section, f[i].opt->key, value};
    }
    if (!seeds) {
        out->v[out->n++] = (trait){"content", "data", content(r, "data_sha256")};
        out->v[out->n++] = (trait){"content", "weights", content(r, "weights_sha256")};
        out->v[out->n++] = (trait){"content", "trace", content(r, "trace_sha256")};
    }
    return FC_OK;
}

/* NULL if t has no such option. */
static const char *value_of_trait(const traits *t, const trait *like)
{
    for (int i = 0; i < t->n; i++)
        if (strcmp(t->v[i].section, like->section) == 0 && strcmp(t->v[i].key, like->key) == 0)
            return t->v[i].value;
    return NULL;
}

/* Content is unknown in folders without a manifest: it then agrees with any. */
static bool same_value(const trait *a, const char *b)
{
    bool unknown = strcmp(a->section, "content") == 0 && (!*a->value || !*b);
    return unknown || strcmp(a->value, b) == 0;
}

static bool same_traits(const traits *a, const traits *b)
{
    if (a->n != b->n)
        return false;
    for (int i = 0; i < a->n; i++) {
        const char *other = value_of_trait(b, &a->v[i]);
        if (!other || !same_value(&a->v[i], other))
            return false;
    }
    return true;
}

fc_status fc_result_same_experiment(bool *same, fc_result *a, fc_result *b, fc_arena *arena,
                                    fc_error *err)
{
    traits of_a, of_b;
    FC_TRY(traits_of(&of_a, a, false, arena, err));
    FC_TRY(traits_of(&of_b, b, false, arena, err));
    *same = same_traits(&of_a, &of_b);
    return FC_OK;
}

/* The options that name a method or rule, and the section of its own options. */
static const struct {
    const char *section, *key, *own;
} rule_names[] = {
    {"method", "name", "method"}, {"merge", "rule", "merge"}, {"tasks", "merge", "task_merge"}};
enum { RULE_NAMES = sizeof rule_names / sizeof *rule_names };

static bool names_rule(const trait *t)
{
    for (int i = 0; i < RULE_NAMES; i++)
        if (strcmp(t->section, rule_names[i].section) == 0 &&
            strcmp(t->key, rule_names[i].key) == 0)
            return true;
    return false;
}

static bool is_of_rule(const trait *t)
{
    for (int i = 0; i < RULE_NAMES; i++)
        if (strcmp(t->section, rule_names[i].own) == 0)
            return !names_rule(t);
    return false;
}

static bool same_rules(const traits *a, const traits *b)
{
    for (int i = 0; i < a->n; i++) {
        const char *other = names_rule(&a->v[i]) ? value_of_trait(b, &a->v[i]) : NULL;
        if (other && strcmp(other, a->v[i].value) != 0)
            return false;
    }
    return true;
}

/* Does t tell group g from any other? Options of a method or rule do so among groups of the same
 * one: what others take for them follows from the name of theirs. */
static bool tells_apart(const traits *of, int n, int g, const trait *t)
{
    for (int h = 0; h < n; h++) {
        const char *other = value_of_trait(&of[h], t);
        if (other && !same_value(t, other) && (!is_of_rule(t) || same_rules(&of[g], &of[h])))
            return true;
    }
    return false;
}

static bool is_method(const trait *t)
{
    return strcmp(t->section, "method") == 0 && strcmp(t->key, "name") == 0;
}

/* "lorm, beta=0.5": the method where it tells anything, then all else that tells groups apart. */
static const char *label_of_group(const traits *of, int n, int g, fc_arena *arena, fc_error *err)
{
    char text[512] = "";
    size_t used = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < of[g].n && used < sizeof text; i++) {
            const trait *t = &of[g].v[i];
            bool first = pass == 0, hash = strcmp(t->section, "content") == 0;
            if (is_method(t) != first || !(tells_apart(of, n, g, t) || (first && n == 1)))
                continue;
            used +=
                (size_t)snprintf(text + used, sizeof text - used, "%s%s%s%.*s", used ? ", " : "",
                                 first ? "" : t->key, first ? "" : "=", hash ? 8 : 200, t->value);
        }
    return fc_arena_strdup(arena, text, err);
}

/* The group of run i, whose members so far are known; a new one, or -1 if it is there already. */
static int group_of(const traits *exp, const traits *seeds, const int *group, int i, int n_groups)
{
    int found = n_groups;
    for (int j = 0; j < i; j++) {
        if (group[j] < 0 || !same_traits(&exp[i], &exp[j]))
            continue;
        if (same_traits(&seeds[i], &seeds[j]))
            return -1;
        found = group[j];
    }
    return found;
}

fc_status fc_result_groups(fc_result_group **out, int *n, fc_result *run, int n_runs,
                           fc_arena *arena, fc_error *err)
{
    size_t N = (size_t)n_runs;
    traits *exp = fc_arena_alloc(arena, N, sizeof *exp, err);
    traits *seeds = fc_arena_alloc(arena, N, sizeof *seeds, err);
    traits *first = fc_arena_alloc(arena, N, sizeof *first, err); /* of each group */
    int *group = fc_arena_alloc(arena, N, sizeof *group, err);
    fc_result_group *g = fc_arena_alloc(arena, N, sizeof *g, err);
    if (!exp || !seeds || !first || !group || !g)
        return FC_EFAIL;
    *n = 0;
    for (int i = 0; i < n_runs; i++) {
        FC_TRY(traits_of(&exp[i], &run[i], false, arena, err));
        FC_TRY(traits_of(&seeds[i], &run[i], true, arena, err));
        int k = group[i] = group_of(exp, seeds, group, i, *n);
        if (k < 0)
            continue;
        if (k == *n) {
            first[(*n)++] = exp[i];
            g[k].run = fc_arena_alloc(arena, N - (size_t)i, sizeof(fc_result *), err);
            if (!g[k].run)
                return FC_EFAIL;
        }
        g[k].run[g[k].n++] = &run[i];
    }
    for (int k = 0; k < *n; k++)
        if (!(g[k].label = label_of_group(first, *n, k, arena, err)))
            return FC_EFAIL;
    *out = g;
    return FC_OK;
}
