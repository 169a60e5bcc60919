/* EMR-Merging (core/merge/rules/rule_emr.h) of tasks or files: one model for each task. In a file:
 *
 *   emr.<tensor>.unified (rows, cols)
 *   emr.<tensor>.mask (experts, bytes)   a bit per entry
 *   emr.rescaler (1, experts) */
#include "sim/train/vit_rule.h"

#include <string.h>

static fc_status make_emr(const fc_vit_making *k, fc_error *err)
{
    fc_emr *e = fc_arena_alloc(k->arena, 1, sizeof *e, err);
    if (!e)
        return FC_EFAIL;
    FC_TRY(fc_emr_merge(e, k->job->in, k->arena, err));
    k->out->emr = e;
    return FC_OK;
}

static fc_status emr_expert(fc_real *w, const fc_vit_merged *m, const fc_params *w0, int s,
                            fc_error *err)
{
    return fc_emr_apply(w, w0, m->emr, s, err);
}

/* Masks count as bits of floats. */
static size_t emr_extra(const fc_vit_merged *m, const fc_vit_shape *shape)
{
    const fc_emr *x = m->emr;
    size_t n = 0, N = (size_t)x->n;
    (void)shape;
    for (int t = 0; t < x->tensors; t++)
        n += fc_tv_size(&x->shape[t]) * (32 + N) / 32;
    return n + N;
}

/* --- as a file ----------------------------------------------------------------------------------
 */

static size_t mask_bytes(const fc_tv_shape *s)
{
    return (fc_tv_size(s) + 7) / 8;
}

static fc_status write_emr_tensor(fc_expert_writer *w, const fc_emr *x, int t, fc_error *err)
{
    const fc_tv_shape *s = &x->shape[t];
    fc_arena *a = w->arena;
    size_t bytes = mask_bytes(s), n = (size_t)x->n;
    unsigned char *mask = fc_arena_alloc(a, n, bytes, err);
    if (!mask)
        return FC_EFAIL;
    for (size_t i = 0; i < n; i++)
        memcpy(mask + i * bytes, x->mask[i * (size_t)x->tensors + (size_t)t], bytes);
    FC_TRY(fc_expert_put(w, fc_arena_format(a, err, "emr.%s.unified", s->name), FC_F64, s->rows,
                         s->cols, x->unified[t], err));
    return fc_expert_put(w, fc_arena_format(a, err, "emr.%s.mask", s->name), FC_U8, x->n,
                         (int64_t)bytes, mask, err);
}

static fc_status write_emr(fc_expert_writer *w, const fc_vit_merged *m, fc_error *err)
{
    const fc_emr *x = m->emr;
    for (int t = 0; t < x->tensors; t++)
        FC_TRY(write_emr_tensor(w, x, t, err));
    return fc_expert_put(w, "emr.rescaler", FC_F64, 1, x->n, x->rescaler, err);
}

static fc_status read_mask(fc_emr *x, const fc_expert_reader *r, int t, fc_error *err)
{
    const fc_tv_shape *s = &x->shape[t];
    const fc_tensor *mask;
    size_t bytes = mask_bytes(s), n = (size_t)x->n;
    FC_TRY(fc_expert_need(&mask, r, fc_arena_format(r->arena, err, "emr.%s.mask", s->name), x->n,
                          (int64_t)bytes, err));
    if (mask->dtype != FC_U8)
        return fc_fail(err, FC_EDATA, "%s: tensor %s: expected dtype U8", r->file.path, mask->name);
    unsigned char *copy = fc_arena_alloc(r->arena, n, bytes, err);
    if (!copy)
        return FC_EFAIL;
    memcpy(copy, mask->data, n * bytes);
    for (size_t i = 0; i < n; i++)
        x->mask[i * (size_t)x->tensors + (size_t)t] = copy + i * bytes;
    return FC_OK;
}

/* Which tensors of the backbone the file has, in shape and x->tensors; unified[t] is the file's. */
static fc_status find_unified(fc_emr *x, fc_tv_shape *shape, const fc_tensor **unified,
                              const fc_expert_reader *r, fc_error *err)
{
    for (int i = 0; i < r->layout.nspec; i++) {
        const fc_spec *s = &r->layout.spec[i];
        const fc_tensor **t = &unified[x->tensors];
        const char *name = fc_arena_format(r->arena, err, "emr.%s.unified", s->name);
        shape[x->tensors] = (fc_tv_shape){s->name, s->rows, s->cols, false};
        FC_TRY(fc_expert_find(t, r, name, s->rows, s->cols, err));
        x->tensors += *t != NULL;
    }
    return FC_OK;
}

static fc_status read_emr(fc_vit_merged *m, const fc_expert_reader *r, fc_error *err)
{
    const fc_tensor *scale;
    fc_arena *a = r->arena;
    size_t most = (size_t)r->layout.nspec, n = (size_t)r->n;
    fc_emr *x = fc_arena_alloc(a, 1, sizeof *x, err);
    fc_tv_shape *shape = fc_arena_alloc(a, most, sizeof *shape, err);
    const fc_tensor **unified = fc_arena_alloc(a, most, sizeof *unified, err);
    if (!x || !shape || !unified)
        return FC_EFAIL;
    FC_TRY(find_unified(x, shape, unified, r, err));
    m->emr = x;
    x->n = r->n;
    x->shape = shape;
    x->unified = fc_arena_alloc(a, most, sizeof *x->unified, err);
    x->mask = fc_arena_alloc(a, n * most, sizeof *x->mask, err);
    x->rescaler = fc_arena_alloc(a, n, sizeof *x->rescaler, err);
    if (!x->unified || !x->mask || !x->rescaler)
        return FC_EFAIL;
    for (int t = 0; t < x->tensors; t++) {
        x->unified[t] = fc_arena_alloc(a, unified[t]->count, sizeof **x->unified, err);
        if (!x->unified[t])
            return FC_EFAIL;
        FC_TRY(fc_st_read_double(x->unified[t], &r->file, unified[t], err));
        FC_TRY(read_mask(x, r, t, err));
    }
    FC_TRY(fc_expert_need(&scale, r, "emr.rescaler", 1, r->n, err));
    return fc_st_read_double(x->rescaler, &r->file, scale, err);
}

const fc_vit_rule fc_vit_rule_emr = {
    .name = "emr",
    .make = make_emr,
    .expert = emr_expert,
    .extra = emr_extra,
    .write = write_emr,
    .read = read_emr,
};
