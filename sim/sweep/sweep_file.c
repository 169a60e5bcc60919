/* The file of a sweep, before it is multiplied out. */
#include "sim/io/outfile.h"
#include "sim/report/metric.h"
#include "sim/sweep/sweep_parts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* --- parts of the file --------------------------------------------------------------------------
 */

static fc_status make_room(fc_setting_list *list, int n, fc_sweep_builder *b)
{
    list->v = fc_arena_alloc(b->arena, (size_t)n, sizeof *list->v, b->err);
    list->n = 0;
    return list->v ? FC_OK : FC_EFAIL;
}

/* A setting of that key at the end of a list that has room for it. */
static fc_status append_setting(fc_setting_list *list, const char *key, const fc_yaml *y,
                                fc_sweep_builder *b)
{
    const char *at_key =
        y->key ? fc_yaml_key_at(y, b->arena, b->err) : fc_yaml_at(y, b->arena, b->err);
    return at_key ? fc_sweep_setting(&list->v[list->n++], key, at_key, y, b->arena, b->err)
                  : FC_EFAIL;
}

/* A list of values of one option, or one value. */
static fc_status read_values(fc_setting_list *list, const char *key, const fc_yaml *y,
                             fc_sweep_builder *b)
{
    FC_TRY(make_room(list, y->kind == FC_YAML_LIST ? y->n : 1, b));
    if (y->kind != FC_YAML_LIST)
        return append_setting(list, key, y, b);
    for (const fc_yaml *one = y->first; one; one = one->next)
        FC_TRY(append_setting(list, key, one, b));
    return FC_OK;
}

static fc_status read_whole_number(int64_t *v, const fc_yaml *y, const char *what, double low,
                                   double high, fc_error *err)
{
    const fc_opt row = {.type = FC_OPT_SEED, .low = low, .high = high};
    return fc_yaml_value(v, &row, y, what, err);
}

static fc_status read_name(fc_sweep_builder *b)
{
    const fc_yaml *y = fc_yaml_get(b->root, "name");
    if (!y)
        return fc_yaml_fail(b->err, b->root,
                            "no name, expected name: NAME, the folder of the runs");
    if (y->kind != FC_YAML_TEXT || !fc_out_is_name(y->text))
        return fc_yaml_fail(b->err, y, "name: expected the name of a folder");
    b->s->name = y->text;
    return read_values(&b->name, "run.name", y, b);
}

static fc_status read_configs(fc_sweep_builder *b)
{
    const fc_yaml *y = fc_yaml_get(b->root, "config");
    if (!y || (y->kind == FC_YAML_LIST && y->n == 0))
        return fc_yaml_fail(b->err, y ? y : b->root,
                            "no config, expected config: FILE, relative to this one");
    FC_TRY(read_values(&b->configs, "config", y, b));
    b->config = fc_arena_alloc(b->arena, (size_t)b->configs.n, sizeof *b->config, b->err);
    if (!b->config)
        return FC_EFAIL;
    for (int i = 0; i < b->configs.n; i++) {
        b->config[i] = fc_beside(b->s->path, b->configs.v[i].text, b->arena, b->err);
        if (!b->config[i])
            return FC_EFAIL;
        if (access(b->config[i], R_OK) != 0)
            return fc_fail(b->err, FC_EUSAGE, "%s: config: %.300s: %s", b->configs.v[i].at,
                           b->config[i], strerror(errno));
    }
    return FC_OK;
}

static fc_status read_set(fc_sweep_builder *b)
{
    const fc_yaml *map = fc_yaml_get(b->root, "set");
    if (!map)
        return FC_OK;
    if (map->kind != FC_YAML_MAP)
        return fc_yaml_fail(b->err, map, "set: expected `section.key: value` below it");
    FC_TRY(make_room(&b->set, map->n, b));
    for (const fc_yaml *y = map->first; y; y = y->next)
        FC_TRY(append_setting(&b->set, y->key, y, b));
    return FC_OK;
}

static fc_status read_draws(fc_sweep_builder *b)
{
    static const char *const keys[] = {"count", "seed"};
    const fc_yaml *map = fc_yaml_get(b->root, "draws");
    int64_t count, seed = 0;
    if (!map)
        return FC_OK;
    FC_TRY(fc_yaml_check_keys(map, "draws", keys, 2, b->err));
    const fc_yaml *n = fc_yaml_get(map, "count"), *s = fc_yaml_get(map, "seed");
    if (!n)
        return fc_yaml_fail(b->err, map, "draws: expected count: N, how many");
    FC_TRY(read_whole_number(&count, n, "draws: count", 1, FC_RUNS_MAX, b->err));
    if (s)
        FC_TRY(read_whole_number(&seed, s, "draws: seed", 0, 9e15, b->err));
    b->draws = (fc_draws){(int)count, seed};
    return FC_OK;
}

static fc_status read_axes(fc_sweep_builder *b)
{
    const fc_yaml *map = fc_yaml_get(b->root, "axes");
    bool drawn = false;
    if (map && map->kind != FC_YAML_MAP)
        return fc_yaml_fail(b->err, map, "axes: expected `section.key: [values]` below it");
    for (const fc_yaml *y = map ? map->first : NULL; y; y = y->next) {
        if (b->n_axes == FC_AXES_MAX)
            return fc_yaml_fail(b->err, y, "more than %d axes", FC_AXES_MAX);
        FC_TRY(fc_axis_read(&b->axis[b->n_axes], y, &b->draws, b->arena, b->err));
        drawn = drawn || b->axis[b->n_axes].drawn;
        b->n_axes++;
    }
    if (b->draws.count && !drawn)
        return fc_yaml_fail(b->err, fc_yaml_get(b->root, "draws"),
                            "draws: no axis is drawn, expected one without n: {log: [low, high]}");
    return FC_OK;
}

/* A number of seeds, or a list of them. */
static fc_status read_seeds(fc_sweep_builder *b)
{
    const fc_yaml *y = fc_yaml_get(b->root, "seeds");
    int64_t n;
    if (!y)
        return FC_OK;
    if (y->kind == FC_YAML_LIST)
        return y->n ? read_values(&b->seeds, "run.seed", y, b)
                    : fc_yaml_fail(b->err, y, "seeds: found an empty list");
    FC_TRY(read_whole_number(&n, y, "seeds", 1, FC_RUNS_MAX, b->err));
    FC_TRY(make_room(&b->seeds, (int)n, b));
    for (int i = 0; i < (int)n; i++) {
        char text[16];
        fc_yaml one = *y;
        snprintf(text, sizeof text, "%d", i);
        one.text = fc_arena_strdup(b->arena, text, b->err);
        if (!one.text)
            return FC_EFAIL;
        FC_TRY(append_setting(&b->seeds, "run.seed", &one, b));
    }
    return FC_OK;
}

static fc_status read_where(fc_sweep_builder *b)
{
    b->where = fc_yaml_get(b->root, "where");
    const fc_yaml *y = b->where;
    const fc_yaml *wrong = y && y->kind == FC_YAML_MAP ? y : NULL;
    for (const fc_yaml *one = y ? y->first : NULL; one && !wrong; one = one->next)
        wrong = one->kind != FC_YAML_TEXT ? one : NULL;
    return wrong ? fc_yaml_fail(b->err, wrong,
                                "where: expected a condition such as \"train.lr <= 1e-3\"")
                 : FC_OK;
}

/* One of summary.json of which more is better. */
static fc_status read_search_metric(const char **out, const fc_yaml *y, fc_error *err)
{
    char choices[256] = "";
    size_t used = 0;
    int index;
    for (int i = 0; i < fc_metric_count && used < sizeof choices; i++) {
        const fc_metric *m = &fc_metric_table[i];
        if (m->of_matrix && m->better > 0)
            used += (size_t)snprintf(choices + used, sizeof choices - used, "%s%s", used ? "|" : "",
                                     m->name);
    }
    const fc_opt row = {.type = FC_OPT_CHOICE, .choices = choices};
    FC_TRY(fc_yaml_value(&index, &row, y, "metric", err));
    *out = y->text;
    return FC_OK;
}

static fc_status read_halving(const fc_yaml *map, fc_sweep_builder *b)
{
    static const char *const keys[] = {"budget", "values", "keep", "metric"};
    static const fc_opt keep_row = {.type = FC_OPT_REAL, .high = 0.999999, .open_low = true};
    fc_halving *h = &b->s->halving;
    FC_TRY(fc_yaml_check_keys(map, "halving", keys, 4, b->err));
    const fc_yaml *budget = fc_yaml_get(map, "budget"), *values = fc_yaml_get(map, "values");
    const fc_yaml *keep = fc_yaml_get(map, "keep"), *metric = fc_yaml_get(map, "metric");
    if (!budget || budget->kind != FC_YAML_TEXT)
        return fc_yaml_fail(b->err, budget ? budget : map,
                            "halving: expected budget: the option that grows, such as fed.rounds");
    if (!values || values->kind != FC_YAML_LIST || values->n < 2)
        return fc_yaml_fail(b->err, values ? values : map,
                            "halving: expected values: [1, 2, 5], those of the budget");
    FC_TRY(read_values(&b->budget, budget->text, values, b));
    *h = (fc_halving){.rungs = values->n, .budget = budget->text, .keep = 0.5, .metric = "faa"};
    if (keep)
        FC_TRY(fc_yaml_value(&h->keep, &keep_row, keep, "keep", b->err));
    if (metric)
        FC_TRY(read_search_metric(&h->metric, metric, b->err));
    h->value = fc_arena_alloc(b->arena, (size_t)h->rungs, sizeof *h->value, b->err);
    for (int i = 0; h->value && i < h->rungs; i++)
        h->value[i] = b->budget.v[i].text;
    return h->value ? FC_OK : FC_EFAIL;
}

static fc_status read_search(fc_sweep_builder *b)
{
    static const char *const keys[] = {"halving"};
    const fc_yaml *search = fc_yaml_get(b->root, "search");
    if (!search)
        return FC_OK;
    FC_TRY(fc_yaml_check_keys(search, "search", keys, 1, b->err));
    const fc_yaml *halving = fc_yaml_get(search, "halving");
    return halving ? read_halving(halving, b)
                   : fc_yaml_fail(b->err, search, "search: expected halving: {budget: ...}");
}

static fc_status read_args(fc_sweep_builder *b, char *const *override, int n)
{
    FC_TRY(make_room(&b->args, n, b));
    for (int i = 0; i < n; i++) {
        char at[32];
        snprintf(at, sizeof at, "argument %d", i + 1);
        const char *place = fc_arena_strdup(b->arena, at, b->err);
        if (!place)
            return FC_EFAIL;
        FC_TRY(fc_setting_parse(&b->args.v[b->args.n], override[i], place, b->arena, b->err));
        b->args.v[b->args.n++].level = 1; /* above the file's own */
    }
    return FC_OK;
}

/* --- who sets what ------------------------------------------------------------------------------
 */

bool fc_setting_same(const fc_setting *a, const fc_setting *b)
{
    return strcmp(a->section, b->section) == 0 && strcmp(a->key, b->key) == 0;
}

/* One option, one place. */
static fc_status check_twice(const fc_setting *s, const fc_setting *old, fc_error *err)
{
    return fc_setting_same(s, old)
               ? fc_fail(err, FC_EUSAGE, "%s: %s.%s is set twice, first at %.300s", s->at_key,
                         s->section, s->key, old->at_key)
               : FC_OK;
}

/* The lists of settings, one after the other: of each, the first setting of each option. */
static int options_of(const fc_setting *out[], fc_sweep_builder *b)
{
    int n = 0;
    for (int i = 0; i < b->set.n; i++)
        out[n++] = &b->set.v[i];
    for (int i = 0; i < b->n_axes; i++)
        for (int k = 0; k < b->axis[i].n_keys; k++)
            out[n++] = &b->axis[i].value[k];
    if (b->budget.n)
        out[n++] = &b->budget.v[0];
    if (b->seeds.n)
        out[n++] = &b->seeds.v[0];
    return n;
}

static fc_status check_sweep_options(fc_sweep_builder *b)
{
    int most = b->set.n + 2;
    for (int i = 0; i < b->n_axes; i++)
        most += b->axis[i].n_keys;
    const fc_setting **option = fc_arena_alloc(b->arena, (size_t)most, sizeof *option, b->err);
    if (!option)
        return FC_EFAIL;
    int n = options_of(option, b);
    for (int i = 0; i < n; i++) {
        const fc_setting *s = option[i];
        for (int j = 0; j < i; j++)
            FC_TRY(check_twice(s, option[j], b->err));
        bool file = strcmp(s->section, "run") == 0 &&
                    (strcmp(s->key, "name") == 0 || strcmp(s->key, "out") == 0);
        if (file)
            return fc_fail(b->err, FC_EUSAGE, "%s: run.%s: expected %s instead", s->at_key, s->key,
                           s->key[0] == 'n' ? "name: at the top of the file" : "--out DIR");
        if (!b->seeds.n && i >= b->set.n && strcmp(s->section, "run") == 0 &&
            strcmp(s->key, "seed") == 0)
            return fc_fail(b->err, FC_EUSAGE,
                           "%s: run.seed: expected seeds: [...] instead, so that "
                           "results are grouped over it",
                           s->at_key);
        for (int j = 0; i >= b->set.n && j < b->args.n; j++)
            if (fc_setting_same(s, &b->args.v[j]))
                return fc_fail(b->err, FC_EUSAGE, "%s: %s.%s has several values in the sweep (%s)",
                               b->args.v[j].at, s->section, s->key, s->at_key);
    }
    for (int j = 0; j < b->args.n; j++)
        if (strcmp(b->args.v[j].section, "run") == 0 && strcmp(b->args.v[j].key, "name") == 0)
            return fc_fail(b->err, FC_EUSAGE,
                           "%s: run.name: the name of a sweep stands in its file", b->args.v[j].at);
    return FC_OK;
}

fc_status fc_sweep_file_read(fc_sweep_builder *b, char *const *override, int n)
{
    /* from expect on: what makes a sweep a recipe (sim/sweep/recipe.h) */
    static const char *const keys[] = {"name",   "config", "set",      "axes",   "draws",
                                       "seeds",  "where",  "baseline", "search", "expect",
                                       "source", "paper",  "recorded", "note"};
    fc_yaml *root;
    FC_TRY(fc_yaml_read(&root, b->s->path, "", b->arena, b->err));
    b->root = root;
    FC_TRY(fc_yaml_check_keys(root, "a sweep", keys, sizeof keys / sizeof *keys, b->err));
    FC_TRY(read_name(b));
    FC_TRY(read_configs(b));
    FC_TRY(read_set(b));
    FC_TRY(read_draws(b));
    FC_TRY(read_axes(b));
    FC_TRY(read_seeds(b));
    FC_TRY(read_where(b));
    FC_TRY(read_search(b));
    FC_TRY(read_args(b, override, n));
    return check_sweep_options(b);
}
