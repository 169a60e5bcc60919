#include "core/merge/backbone.h"

const fc_spec *fc_backbone_tensor(const fc_params *layout, const fc_tv_shape *s, fc_error *err)
{
    const fc_spec *found = fc_params_find(layout, s->name);
    if (!found)
        fc_fail(err, FC_EUSAGE, "tensor %s: the backbone has none of that name", s->name);
    else if (found->rows != s->rows || found->cols != s->cols)
        fc_fail(err, FC_EUSAGE, "tensor %s: found %d x %d numbers, expected %d x %d", s->name,
                s->rows, s->cols, found->rows, found->cols);
    else
        return found;
    return NULL;
}

fc_status fc_backbone_find(int *at, const fc_params *layout, const fc_tv_shape *shape, int tensors,
                           fc_error *err)
{
    for (int i = 0; i < layout->nspec; i++)
        at[i] = -1;
    for (int t = 0; t < tensors; t++) {
        const fc_spec *s = fc_backbone_tensor(layout, &shape[t], err);
        if (!s)
            return FC_EUSAGE;
        at[s - layout->spec] = t;
    }
    return FC_OK;
}

fc_status fc_backbone_add(fc_real *w, double c, const fc_tv_set *in, int t, fc_arena *scratch,
                          fc_error *err)
{
    size_t n = fc_tv_size(&in->shape[t]);
    fc_mark mark = fc_arena_mark(scratch);
    double *sum = fc_arena_alloc(scratch, n, sizeof *sum, err);
    if (!sum)
        return FC_EFAIL;
    /* w += c sum_i tau_i */
    fc_tv_sum(sum, c, in, t);
    for (size_t e = 0; e < n; e++)
        w[e] = (fc_real)((double)w[e] + sum[e]);
    fc_arena_release(scratch, mark);
    return FC_OK;
}

fc_real *fc_backbone_reals(const double *x, size_t n, fc_arena *arena, fc_error *err)
{
    fc_real *out = fc_arena_alloc(arena, n, sizeof *out, err);
    for (size_t e = 0; out && e < n; e++)
        out[e] = (fc_real)x[e];
    return out;
}

fc_status fc_backbone_expert(fc_expert *x, const fc_tv *tv, const fc_tv_shape *s, fc_arena *arena,
                             fc_arena *scratch, fc_error *err)
{
    size_t m = (size_t)s->rows, n = (size_t)s->cols, r = (size_t)tv->rank;
    *x = (fc_expert){0};
    if (r > 0 && r * (m + n) < m * n) {
        x->rank = tv->rank;
        x->B = fc_backbone_reals(tv->B, m * r, arena, err);
        x->A = fc_backbone_reals(tv->A, r * n, arena, err);
        return x->B && x->A ? FC_OK : FC_EFAIL;
    }
    fc_mark mark = fc_arena_mark(scratch);
    double *dense = fc_arena_alloc(scratch, m * n, sizeof *dense, err);
    if (!dense)
        return FC_EFAIL;
    fc_tv_dense(dense, tv, s);
    x->dense = fc_backbone_reals(dense, m * n, arena, err);
    fc_arena_release(scratch, mark);
    return x->dense ? FC_OK : FC_EFAIL;
}
