/* The runs of a sweep: every combination of what its file says. */
#include "sim/sweep/sweep_load.h"
#include "sim/config/config.h"

#include "core/base/file.h"
#include "sim/io/outfile.h"
#include "sim/sweep/sweep_parts.h"

#include <stdio.h>
#include <string.h>

/* --- who is used --------------------------------------------------------------------------------
 */

enum { LISTS_MAX = 5 + FC_AXES_MAX };

/* All settings that a run may use, list by list; the number of lists. */
static int lists_of(fc_setting_list out[LISTS_MAX], const fc_sweep_builder *b)
{
    int n = 0;
    out[n++] = b->name;
    out[n++] = b->set;
    for (int i = 0; i < b->n_axes; i++)
        out[n++] = (fc_setting_list){b->axis[i].value, b->axis[i].n * b->axis[i].n_keys};
    out[n++] = b->budget;
    out[n++] = b->seeds;
    out[n++] = b->args;
    return n;
}

/* Each setting is told whether a run uses it. */
static fc_status mark_settings(fc_sweep_builder *b)
{
    fc_setting_list list[LISTS_MAX];
    for (int l = 0, n = lists_of(list, b); l < n; l++) {
        bool *used = fc_arena_alloc(b->arena, (size_t)list[l].n, sizeof *used, b->err);
        if (!used)
            return FC_EFAIL;
        for (int i = 0; i < list[l].n; i++)
            list[l].v[i].used = &used[i];
    }
    return FC_OK;
}

static fc_status check_used(const fc_sweep_builder *b)
{
    fc_setting_list list[LISTS_MAX];
    for (int l = 0, n = lists_of(list, b); l < n; l++)
        for (int i = 0; i < list[l].n; i++) {
            const fc_setting *s = &list[l].v[i];
            if (!*s->used)
                return fc_fail(b->err, FC_EUSAGE,
                               "%s: %s.%s is an option of %s, but no run uses that", s->at_key,
                               s->section, s->key, fc_setting_owner(s));
        }
    return FC_OK;
}

/* --- runs ---------------------------------------------------------------------------------------
 */

/* Numbers of the values of one run. */
typedef struct place {
    int config, draw, rung, seed;
    int axis[FC_AXES_MAX];
} place;

/* Combinations of all but rungs and seeds. */
static double combinations(const fc_sweep_builder *b)
{
    double n = b->configs.n;
    n *= b->draws.count ? b->draws.count : 1;
    for (int i = 0; i < b->n_axes; i++)
        n *= b->axis[i].drawn ? 1 : b->axis[i].n;
    return n;
}

/* Combination `index` of config, axes and draw, the last one fastest. */
static place place_of(const fc_sweep_builder *b, int index)
{
    place p = {0};
    if (b->draws.count) {
        p.draw = index % b->draws.count;
        index /= b->draws.count;
    }
    for (int i = b->n_axes - 1; i >= 0; i--) {
        int n = b->axis[i].drawn ? 1 : b->axis[i].n;
        p.axis[i] = b->axis[i].drawn ? p.draw : index % n;
        index /= n;
    }
    p.config = index;
    return p;
}

/* The settings of the run at p into b->one_run; their number. */
static int settings_at(fc_sweep_builder *b, const place *p)
{
    int n = 0;
    fc_setting *to = b->one_run;
    to[n++] = b->name.v[0];
    for (int i = 0; i < b->set.n; i++)
        to[n++] = b->set.v[i];
    for (int i = 0; i < b->n_axes; i++)
        for (int k = 0; k < b->axis[i].n_keys; k++)
            to[n++] = b->axis[i].value[p->axis[i] * b->axis[i].n_keys + k];
    if (b->budget.n)
        to[n++] = b->budget.v[p->rung];
    if (b->seeds.n)
        to[n++] = b->seeds.v[p->seed];
    for (int i = 0; i < b->args.n; i++)
        to[n++] = b->args.v[i];
    return n;
}

static fc_status allowed(bool *yes, fc_config *c, fc_sweep_builder *b)
{
    const fc_yaml *y = b->where;
    *yes = true;
    if (y && y->kind == FC_YAML_LIST)
        y = y->first;
    for (bool holds; y; y = b->where->kind == FC_YAML_LIST ? y->next : NULL) {
        const char *at = fc_yaml_at(y, &c->arena, b->err);
        if (!at)
            return FC_EFAIL;
        FC_TRY(fc_where_holds(&holds, y->text, at, c, &c->arena, b->err));
        *yes = *yes && holds;
    }
    return FC_OK;
}

/* 8 hex digits: the options, and the inputs that an axis chooses, as they were written: their
 * places are none of the options' business (fc_config_hash). */
static fc_status make_id(char id[9], fc_config *c, const place *p, fc_sweep_builder *b)
{
    char hex[65];
    FC_TRY(fc_config_hash(id, c, b->err));
    const char *inputs[1 + FC_AXES_MAX];
    int n = 0;
    if (b->configs.n > 1)
        inputs[n++] = b->configs.v[p->config].text;
    for (int i = 0; i < b->n_axes; i++) {
        const fc_setting *s = &b->axis[i].value[p->axis[i] * b->axis[i].n_keys];
        for (int k = 0; k < b->axis[i].n_keys; k++)
            if (fc_setting_option(&s[k])->type == FC_OPT_INPUT && n <= FC_AXES_MAX)
                inputs[n++] = s[k].text;
    }
    for (int i = 0; i < n; i++) {
        size_t size = strlen(inputs[i]) + 16;
        char *text = fc_arena_alloc(&c->arena, size, 1, b->err);
        if (!text)
            return FC_EFAIL;
        snprintf(text, size, "%s %s", id, inputs[i]);
        fc_sha256(hex, text, strlen(text));
        snprintf(id, 9, "%.8s", hex);
    }
    return FC_OK;
}

/* The value of "section.key" in c, "" if it has no such option. */
static const char *value_of_option(fc_config *c, const char *name, fc_arena *arena, fc_error *err)
{
    int n;
    char section[64];
    const char *dot = strchr(name, '.');
    const fc_config_field *f = fc_config_fields(c, &n, err);
    if (!f)
        return NULL;
    snprintf(section, sizeof section, "%.*s", (int)(dot ? dot - name : 0), name);
    f = dot ? fc_config_find(f, n, section, dot + 1) : NULL;
    const char *text = f ? fc_opt_print(f->base, f->opt, &c->arena, err) : "";
    return text ? fc_arena_strdup(arena, text, err) : NULL;
}

/* What `fcil run` is told: the values in force of all options that the sweep sets. */
static fc_status make_overrides(fc_sweep_run *r, fc_config *c, int n, fc_sweep_builder *b)
{
    int n_fields;
    const fc_config_field *f = fc_config_fields(c, &n_fields, b->err);
    r->override = fc_arena_alloc(b->arena, (size_t)n, sizeof *r->override, b->err);
    if (!f || !r->override)
        return FC_EFAIL;
    for (int i = 0; i < n; i++) {
        const fc_setting *s = &b->one_run[i];
        bool again = false;
        for (int j = i + 1; j < n; j++)
            again = again || fc_setting_same(s, &b->one_run[j]);
        const fc_config_field *of = fc_config_find(f, n_fields, s->section, s->key);
        if (again || !of)
            continue;
        const char *value = fc_opt_print(of->base, of->opt, &c->arena, b->err);
        if (!value)
            return FC_EFAIL;
        size_t size = strlen(s->section) + strlen(s->key) + strlen(value) + 3;
        char *text = fc_arena_alloc(b->arena, size, 1, b->err);
        if (!text)
            return FC_EFAIL;
        snprintf(text, size, "%s.%s=%s", s->section, s->key, value);
        r->override[r->n_override++] = text;
    }
    return FC_OK;
}

/* The rest of a run whose id is new. */
static fc_status make_run(fc_sweep_run *r, fc_config *c, const place *p, int n, fc_sweep_builder *b)
{
    fc_sweep *s = b->s;
    char dir[FC_PATH_MAX];
    r->rung = p->rung;
    r->seed = c->run.seed;
    r->method = fc_arena_strdup(b->arena, c->method_name, b->err);
    r->config = b->config[p->config];
    r->rows = (long)fc_config_tasks(c) * (c->fed.rounds + 1);
    s->on_test_images =
        s->on_test_images || (s->halving.rungs && c->data.validation_per_class == 0);
    FC_TRY(make_overrides(r, c, n, b));
    r->value = fc_arena_alloc(b->arena, (size_t)s->n_columns, sizeof *r->value, b->err);
    if (!r->method || !r->value)
        return FC_EFAIL;
    for (int i = 0; i < s->n_columns; i++) {
        bool config = strcmp(s->column[i], "config") == 0;
        r->value[i] = config ? b->configs.v[p->config].text
                             : value_of_option(c, s->column[i], b->arena, b->err);
        if (!r->value[i])
            return FC_EFAIL;
    }
    if (!s->out) {
        s->out = fc_arena_strdup(b->arena, c->run.out, b->err);
        s->threads = c->run.threads;
    }
    FC_TRY(fc_out_path(dir, b->err, "%s/%s/%s-s%lld-%s", c->run.out, s->name, r->method,
                       (long long)r->seed, r->id));
    r->dir = fc_arena_strdup(b->arena, dir, b->err);
    return r->dir && s->out ? FC_OK : FC_EFAIL;
}

/* The run at p, unless a condition excludes it or it is there already. */
static fc_status add_run(fc_sweep_builder *b, const place *p, int *number)
{
    fc_sweep *s = b->s;
    fc_config c;
    bool yes;
    int n = settings_at(b, p);
    FC_TRY(fc_config_load_settings(&c, b->config[p->config], b->one_run, n, b->err));
    fc_sweep_run *r = &s->run[s->n_runs];
    fc_status st = allowed(&yes, &c, b);
    if (st != FC_OK || !yes) {
        s->excluded += !yes;
        goto out;
    }
    st = make_id(r->id, &c, p, b);
    const fc_sweep_run *twin = st == FC_OK ? fc_sweep_find(s, r->id) : NULL;
    if (*number < 0)
        *number = twin ? twin->setting : s->n_settings++;
    r->setting = *number;
    s->duplicates += twin != NULL;
    if (st == FC_OK && !twin) {
        st = make_run(r, &c, p, n, b);
        s->n_runs++;
    }
out:
    fc_config_free(&c);
    return st;
}

static fc_status make_runs(fc_sweep_builder *b)
{
    fc_sweep *s = b->s;
    double product = combinations(b);
    int seeds = b->seeds.n ? b->seeds.n : 1, rungs = b->budget.n ? b->budget.n : 1;
    int options = 1 + b->set.n + 2 + b->args.n;
    if (product * seeds * rungs > FC_RUNS_MAX)
        return fc_yaml_fail(b->err, b->root, "%.0f runs, expected at most %d",
                            product * seeds * rungs, FC_RUNS_MAX);
    for (int i = 0; i < b->n_axes; i++)
        options += b->axis[i].n_keys;
    size_t most = (size_t)(product * seeds * rungs);
    b->one_run = fc_arena_alloc(b->arena, (size_t)options, sizeof *b->one_run, b->err);
    b->number = fc_arena_alloc(b->arena, (size_t)product, sizeof *b->number, b->err);
    s->run = fc_arena_alloc(b->arena, most + 1, sizeof *s->run, b->err);
    if (!b->one_run || !b->number || !s->run)
        return FC_EFAIL;
    memset(b->number, -1, (size_t)product * sizeof *b->number);
    for (int rung = 0; rung < rungs; rung++)
        for (int i = 0; i < (int)product; i++)
            for (int seed = 0; seed < seeds; seed++) {
                place p = place_of(b, i);
                p.rung = rung;
                p.seed = seed;
                FC_TRY(add_run(b, &p, &b->number[i]));
            }
    for (int c = 0; c < s->n_columns; c++) {
        s->width[c] = (int)strlen(s->column[c]);
        for (int i = 0; i < s->n_runs; i++) {
            int length = (int)strlen(s->run[i].value[c]);
            s->width[c] = length > s->width[c] ? length : s->width[c];
        }
    }
    if (s->n_runs == 0)
        return fc_yaml_fail(b->err, b->where, "where: no run is left of %zu", most);
    return FC_OK;
}

static fc_status make_columns(fc_sweep_builder *b)
{
    fc_sweep *s = b->s;
    int most = 3;
    for (int i = 0; i < b->n_axes; i++)
        most += b->axis[i].n_keys;
    s->column = fc_arena_alloc(b->arena, (size_t)most, sizeof *s->column, b->err);
    s->width = fc_arena_alloc(b->arena, (size_t)most, sizeof *s->width, b->err);
    if (!s->column || !s->width)
        return FC_EFAIL;
    if (b->configs.n > 1)
        s->column[s->n_columns++] = "config";
    for (int i = 0; i < b->n_axes; i++)
        for (int k = 0; k < b->axis[i].n_keys; k++)
            s->column[s->n_columns++] = b->axis[i].key[k];
    if (b->budget.n)
        s->column[s->n_columns++] = s->halving.budget;
    if (b->seeds.n)
        s->column[s->n_columns++] = "run.seed";
    return FC_OK;
}

/* baseline: {method.name: fedavg_lora}: columns, and values that a run has. */
static fc_status read_baseline(fc_sweep_builder *b)
{
    fc_sweep *s = b->s;
    const fc_yaml *map = fc_yaml_get(b->root, "baseline");
    s->baseline = fc_arena_alloc(b->arena, (size_t)s->n_columns, sizeof *s->baseline, b->err);
    if (!s->baseline)
        return FC_EFAIL;
    if (!map)
        return FC_OK;
    FC_TRY(fc_yaml_check_keys(map, "baseline", s->column, s->n_columns, b->err));
    for (const fc_yaml *y = map->first; y; y = y->next) {
        fc_setting one;
        int c = fc_sweep_column(s, y->key);
        FC_TRY(fc_sweep_setting(&one, y->key, "", y, b->arena, b->err));
        s->baseline[c] = one.text;
        if (strcmp(y->key, "config") != 0)
            FC_TRY(fc_setting_canonical(&s->baseline[c], &one, b->arena, b->err));
        int r = 0;
        while (r < s->n_runs && strcmp(s->run[r].value[c], s->baseline[c]) != 0)
            r++;
        if (r == s->n_runs)
            return fc_yaml_fail(b->err, y, "baseline: no run has %s = %.60s", y->key, one.text);
    }
    return FC_OK;
}

static fc_status load_runs(fc_sweep_builder *b, char *const *override, int n)
{
    FC_TRY(fc_sweep_file_read(b, override, n));
    FC_TRY(make_columns(b));
    FC_TRY(mark_settings(b));
    FC_TRY(make_runs(b));
    FC_TRY(check_used(b));
    return read_baseline(b);
}

fc_status fc_sweep_load(fc_sweep *s, const char *path, char *const *override, int n, fc_error *err)
{
    *s = (fc_sweep){0};
    fc_arena scratch = {0};
    fc_sweep_builder *b = fc_arena_alloc(&scratch, 1, sizeof *b, err);
    s->path = b ? fc_arena_strdup(&s->arena, path, err) : NULL;
    fc_status st = FC_EFAIL;
    if (s->path) {
        b->s = s;
        b->arena = &s->arena;
        b->err = err;
        st = load_runs(b, override, n);
    }
    fc_arena_free(&scratch);
    if (st != FC_OK)
        fc_sweep_free(s);
    return st;
}
