#include "sim/models/expert_file.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const fc_opt tasks_row = {.key = "experts.tasks",
                                 .type = FC_OPT_INTS,
                                 .offset = offsetof(fc_expert_file, tasks),
                                 .low = 1,
                                 .high = 1e6};

/* The rule of that name, if its experts are kept in files. */
static const fc_vit_rule *find_kept(const char *name)
{
    const fc_vit_rule *rule = fc_vit_rule_find(name);
    return rule && rule->write ? rule : NULL;
}

bool fc_expert_file_keeps(const char *rule)
{
    return find_kept(rule) != NULL;
}

/* --- writing ------------------------------------------------------------------------------------
 */

/* What the file says of its experts, then `meta`. */
static fc_status join_metadata(const char *(**out)[2], const fc_expert_writer *w,
                               const fc_expert_file *x, fc_pairs meta, int n_meta, fc_error *err)
{
    const char *tasks = fc_opt_print(x, &tasks_row, w->arena, err);
    size_t n = (size_t)(2 + w->pairs + n_meta);
    const char *(*pair)[2] = *out = fc_arena_alloc(w->arena, n, sizeof *pair, err);
    if (!tasks || !pair)
        return FC_EFAIL;
    memcpy(pair, (const char *[][2]){{"experts", w->rule}, {tasks_row.key, tasks}},
           2 * sizeof *pair);
    memcpy(pair + 2, w->pair, (size_t)w->pairs * sizeof *pair);
    if (n_meta > 0)
        memcpy(pair + 2 + w->pairs, meta, (size_t)n_meta * sizeof *pair);
    return FC_OK;
}

static fc_status write_file(const char *path, const fc_model *m, const fc_expert_file *x,
                            fc_pairs meta, int n_meta, fc_arena *arena, fc_error *err)
{
    const fc_vit_rule *rule = x->merged.rule;
    fc_expert_writer w = {.rule = rule->name, .n = x->n, .shape = m->shape, .arena = arena};
    const char *(*pair)[2];
    FC_TRY(fc_vit_layout(&w.layout, m->shape, arena, err));
    FC_TRY(rule->write(&w, &x->merged, err));
    FC_TRY(join_metadata(&pair, &w, x, meta, n_meta, err));
    const fc_vit_extra extra = {(fc_pairs)pair, 2 + w.pairs + n_meta, w.entry, w.entries};
    return fc_vit_save(path, m, &extra, err);
}

fc_status fc_expert_file_write(const char *path, const fc_model *m, const fc_expert_file *x,
                               fc_pairs meta, int n_meta, fc_error *err)
{
    fc_arena arena = {0};
    fc_status s = write_file(path, m, x, meta, n_meta, &arena, err);
    fc_arena_free(&arena);
    return s;
}

/* --- reading ------------------------------------------------------------------------------------
 */

/* "smile, wemoe or emr": the rules whose experts are kept in files. */
static void list_kept(char *out, size_t size)
{
    const char *name[2] = {0}; /* the one before the last, the last */
    size_t at = 0;
    *out = '\0';
    for (int i = 0; i < fc_vit_rule_count; i++) {
        if (!fc_vit_rule_table[i]->write)
            continue;
        if (name[0] && at < size)
            at += (size_t)snprintf(out + at, size - at, "%s, ", name[0]);
        name[0] = name[1];
        name[1] = fc_vit_rule_table[i]->name;
    }
    if (name[0] && at < size)
        at += (size_t)snprintf(out + at, size - at, "%s or ", name[0]);
    if (name[1] && at < size)
        snprintf(out + at, size - at, "%s", name[1]);
}

/* Every tensor of experts is one of this network. */
static fc_status check_all_read(const fc_expert_reader *r, fc_error *err)
{
    size_t n = strlen(r->rule);
    for (int i = 0; i < r->file.n; i++) {
        const char *name = r->file.tensor[i].name;
        if (!r->seen[i] && strncmp(name, r->rule, n) == 0 && name[n] == '.')
            return fc_fail(err, FC_EDATA, "%s: tensor %s belongs to no layer of its network",
                           r->file.path, name);
    }
    return FC_OK;
}

static fc_status read_file(fc_expert_file *x, fc_expert_reader *r, fc_error *err)
{
    r->rule = fc_st_metadata(&r->file, "experts");
    const char *tasks = fc_st_metadata(&r->file, tasks_row.key);
    char kept[256];
    fc_error why = {0};
    if (!r->rule)
        return FC_OK;
    x->merged.rule = find_kept(r->rule);
    if (!x->merged.rule) {
        list_kept(kept, sizeof kept);
        return fc_fail(err, FC_EDATA, "%s: metadata: experts: '%.60s', expected %s", r->file.path,
                       r->rule, kept);
    }
    if (fc_opt_set(x, &tasks_row, tasks ? tasks : "", "experts.tasks", r->arena, &why) != FC_OK ||
        x->tasks.n < 1)
        return fc_fail(err, FC_EDATA, "%s: metadata: experts.tasks: expected a list of numbers",
                       r->file.path);
    r->n = x->n = x->tasks.n;
    r->seen = fc_arena_alloc(r->arena, (size_t)r->file.n, sizeof *r->seen, err);
    if (!r->seen)
        return FC_EFAIL;
    FC_TRY(fc_vit_layout(&r->layout, r->shape, r->arena, err));
    FC_TRY(x->merged.rule->read(&x->merged, r, err));
    return check_all_read(r, err);
}

fc_status fc_expert_file_read(fc_expert_file *x, const char *path, const fc_vit_shape *shape,
                              fc_arena *arena, fc_error *err)
{
    fc_expert_reader r = {.shape = shape, .arena = arena};
    *x = (fc_expert_file){0};
    FC_TRY(fc_st_open(&r.file, path, err));
    fc_status s = read_file(x, &r, err);
    fc_st_close(&r.file);
    return s;
}

fc_acts_size fc_expert_file_acts(const fc_expert_file *x, const fc_vit_shape *shape)
{
    const fc_vit_rule *rule = x->merged.rule;
    return rule && rule->expert_acts ? rule->expert_acts(&x->merged, shape, x->n)
                                     : (fc_acts_size){0};
}
