/* Merges that keep their inputs: see sim/merge_files.h. */
#include "sim/expert_file.h"
#include "sim/merge_files.h"

#include <stdlib.h>
#include <string.h>

static bool is_smile(const fc_merge_method *rule)
{
    return strcmp(rule->name, "smile") == 0;
}

bool fc_merge_keeps_experts(const fc_merge_method *rule)
{
    return is_smile(rule) || strcmp(rule->name, "emr") == 0;
}

/* Attention heads as the inputs say it, 0 if they do not. */
static int heads_of(const fc_merge_files *f)
{
    const fc_model_meta *m = &f->file[0].meta;
    for (int i = 0; i < m->n_settings; i++)
        if (strcmp(m->setting[i].key, "heads") == 0)
            return (int)strtol(m->setting[i].text, NULL, 10);
    return 0;
}

/* Tasks of each input. */
static fc_status tasks_of(fc_ints *out, fc_merge_files *f, fc_error *err)
{
    *out = (fc_ints){.v = fc_arena_alloc(&f->arena, (size_t)f->n, sizeof(int), err), .n = f->n};
    if (!out->v)
        return FC_EFAIL;
    for (int i = 0; i < f->n; i++)
        out->v[i] = f->file[i].meta.tasks.n > 0 ? f->file[i].meta.tasks.n : 1;
    return FC_OK;
}

static fc_real *reals(const double *x, size_t n, fc_arena *arena, fc_error *err)
{
    fc_real *y = fc_arena_alloc(arena, n, sizeof *y, err);
    for (size_t i = 0; y && i < n; i++)
        y[i] = (fc_real)x[i];
    return y;
}

fc_status fc_merge_files_save_experts(fc_merge_files *f, const fc_merge_method *rule,
                                      const void *options, const char *path, fc_error *err)
{
    fc_params w;
    fc_vit_shape shape;
    fc_emr emr;
    fc_expert_file x = {.n = f->n};
    fc_arena *a = &f->arena;
    if (f->rows == 0)
        return fc_fail(err, FC_EDATA, "%s: no head, which a model with experts needs",
                       f->file[0].path);
    FC_TRY(fc_vit_load(&w, &shape, f->base_path, 0, heads_of(f), a, err));
    FC_TRY(tasks_of(&x.tasks, f, err));
    if (is_smile(rule)) {
        x.smile = fc_arena_alloc(a, (size_t)fc_vit_slots(&shape), sizeof *x.smile, err);
        if (!x.smile)
            return FC_EFAIL;
        FC_TRY(fc_smile_backbone(x.smile, w.p, &shape, &f->set, options, a, err));
    } else {
        FC_TRY(fc_emr_merge(&emr, &f->set, a, err));
        x.emr = &emr;
    }
    size_t rows = (size_t)f->rows;
    const fc_model m = {.shape = &shape,
                        .classes = f->rows,
                        .w = w.p,
                        .head_w = reals(f->head_w, rows * (size_t)f->width, a, err),
                        .head_b = reals(f->head_b, rows, a, err)};
    return m.head_w && m.head_b
               ? fc_expert_file_write(path, &m, &x, f->metadata, f->n_metadata, err)
               : FC_EFAIL;
}
