#include "sim/models/model_meta.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static const fc_opt lists[] = {{.key = "classes",
                                .type = FC_OPT_INTS,
                                .offset = offsetof(fc_model_meta, classes),
                                .low = 0,
                                .high = 1e6},
                               {.key = "tasks",
                                .type = FC_OPT_INTS,
                                .offset = offsetof(fc_model_meta, tasks),
                                .low = 1,
                                .high = 1e6}};

/* Options that a test depends on, but for paths. */
static bool is_kept(const char *section, const fc_opt *o)
{
    if (strcmp(section, "data") == 0)
        return o->type != FC_OPT_INPUT;
    return (strcmp(section, "backbone") == 0 && strcmp(o->key, "heads") == 0) ||
           (strcmp(section, "run") == 0 && strcmp(o->key, "precision") == 0) ||
           (strcmp(section, "seed") == 0 && strcmp(o->key, "data") == 0);
}

/* --- reading ------------------------------------------------------------------------------------
 */

static fc_status check_lists(const fc_model_meta *m, const char *path, int rows, fc_error *err)
{
    int sum = 0;
    if (rows > 0 && m->classes.n > 0 && m->classes.n != rows)
        return fc_fail(err, FC_EDATA,
                       "%s: metadata: classes: a list of %d, expected the %d rows of the head",
                       path, m->classes.n, rows);
    for (int i = 0; i < m->tasks.n && sum <= m->classes.n; i++)
        sum += m->tasks.v[i];
    if (sum != m->classes.n)
        return fc_fail(err, FC_EDATA,
                       "%s: metadata: tasks: the sizes do not add up to the %d classes", path,
                       m->classes.n);
    for (int i = 0; i < m->classes.n; i++)
        for (int k = 0; k < i; k++)
            if (m->classes.v[i] == m->classes.v[k])
                return fc_fail(err, FC_EDATA, "%s: metadata: classes: class %d is there twice",
                               path, m->classes.v[i]);
    return FC_OK;
}

fc_status fc_model_meta_read(fc_model_meta *out, fc_pairs pair, int n, const char *path, int rows,
                             fc_arena *arena, fc_error *err)
{
    *out = (fc_model_meta){.setting = fc_arena_alloc(arena, (size_t)n, sizeof *out->setting, err)};
    const char *where = fc_arena_format(arena, err, "%s: metadata", path);
    if (!out->setting || !where)
        return FC_EFAIL;
    for (int i = 0; i < n; i++) {
        const char *key = pair[i][0], *text = pair[i][1];
        fc_error why = {0};
        fc_setting s;
        for (int k = 0; k < 2; k++)
            if (strcmp(key, lists[k].key) == 0 &&
                fc_opt_set(out, &lists[k], text, key, arena, &why) != FC_OK)
                return fc_fail(err, FC_EDATA, "%s: %s", where, why.msg);
        const char *both = fc_arena_format(arena, err, "%s=%s", key, text);
        if (!both)
            return FC_EFAIL;
        if (!strchr(key, '.') || fc_setting_parse(&s, both, where, arena, &why) != FC_OK)
            continue; /* somebody else's */
        const fc_opt *o = fc_setting_option(&s);
        if (o && is_kept(s.section, o))
            out->setting[out->n_settings++] = s;
    }
    return check_lists(out, path, rows, err);
}

bool fc_model_meta_says(const fc_model_meta *m, const fc_setting *s)
{
    for (int i = 0; i < m->n_settings; i++)
        if (strcmp(m->setting[i].section, s->section) == 0 &&
            strcmp(m->setting[i].key, s->key) == 0 && strcmp(m->setting[i].text, s->text) == 0)
            return true;
    return false;
}

/* --- writing ------------------------------------------------------------------------------------
 */

static int by_key(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static fc_status add_pair(const char *(*pair)[2], int *n, const char *key, const char *value)
{
    pair[*n][0] = key;
    pair[*n][1] = value;
    (*n)++;
    return key && value ? FC_OK : FC_EFAIL;
}

fc_status fc_model_meta_pairs(fc_pairs *out, int *n, const fc_model_meta *m, fc_arena *arena,
                              fc_error *err)
{
    const char *(*pair)[2] = fc_arena_alloc(arena, (size_t)m->n_settings + 2, sizeof *pair, err);
    if (!pair)
        return FC_EFAIL;
    *n = 0;
    for (int i = 0; i < 2 && m->classes.n > 0; i++)
        FC_TRY(add_pair(pair, n, lists[i].key, fc_opt_print(m, &lists[i], arena, err)));
    for (int i = 0; i < m->n_settings; i++) {
        const fc_setting *s = &m->setting[i];
        FC_TRY(
            add_pair(pair, n, fc_arena_format(arena, err, "%s.%s", s->section, s->key), s->text));
    }
    qsort(pair, (size_t)*n, sizeof *pair, by_key);
    *out = (fc_pairs)pair;
    return FC_OK;
}

/* The option's value; what the network has in place of "as the file has it". */
static const char *value_of(const fc_config_field *f, const fc_vit_shape *s, fc_arena *arena,
                            fc_error *err)
{
    if (strcmp(f->opt->key, "image_size") == 0)
        return fc_arena_format(arena, err, "%d", s->image);
    if (strcmp(f->opt->key, "heads") == 0)
        return fc_arena_format(arena, err, "%d", s->heads);
    return fc_opt_print(f->base, f->opt, arena, err);
}

fc_status fc_model_meta_make(fc_pairs *out, int *n, fc_config *c, const fc_vit_shape *s,
                             const fc_tasks *k, int from, int to, fc_arena *arena, fc_error *err)
{
    int n_fields;
    const fc_config_field *f = fc_config_fields(c, &n_fields, err);
    if (!f)
        return FC_EFAIL;
    fc_model_meta m = {
        .classes = {.v = k->order + k->first[from], .n = k->first[to] - k->first[from]},
        .tasks = {.v = fc_arena_alloc(arena, (size_t)(to - from), sizeof(int), err),
                  .n = to - from},
        .setting = fc_arena_alloc(arena, (size_t)n_fields, sizeof *m.setting, err)};
    if (!m.tasks.v || !m.setting)
        return FC_EFAIL;
    for (int t = from; t < to; t++)
        m.tasks.v[t - from] = k->first[t + 1] - k->first[t];
    for (int i = 0; i < n_fields; i++) {
        if (!is_kept(f[i].section, f[i].opt))
            continue;
        const char *text = value_of(&f[i], s, arena, err);
        if (!text)
            return FC_EFAIL;
        m.setting[m.n_settings++] =
            (fc_setting){.section = f[i].section, .key = f[i].opt->key, .text = text};
    }
    return fc_model_meta_pairs(out, n, &m, arena, err);
}
