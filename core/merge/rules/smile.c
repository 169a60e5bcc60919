#include "core/merge/rules/smile.h"

#include "core/base/parallel.h"
#include "core/merge/backbone.h"
#include "core/merge/spectral.h"

/* ---- construction ------------------------------------------------------------------------- */

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

/* How many singular triplets an update can have. */
static int triplets(const fc_tv *tv, const fc_tv_shape *s)
{
    int thin = smaller(s->rows, s->cols);
    return tv->rank ? smaller(tv->rank, thin) : thin;
}

/* Is Delta kept as it is? */
static bool is_whole(const fc_tv *tv, const fc_tv_shape *s, const fc_smile_options *o)
{
    return o->k < 0 || o->k >= triplets(tv, s);
}

/* Memory for all that fill_experts() writes, and experts that need no SVD. */
static fc_status reserve_experts(fc_smile *s, const fc_smile_source *from,
                                 const fc_smile_options *o, fc_arena *arena, fc_arena *scratch,
                                 fc_error *err)
{
    const fc_tv_shape *shape = &from->in->shape[from->t];
    size_t m = (size_t)shape->rows, n = (size_t)shape->cols, k = (size_t)o->k, vectors = 0;
    int experts = from->in->n;
    if (o->gate_k < 1 || o->k == 0 || o->top_k < 1 || o->top_k > experts)
        return fc_fail(
            err, FC_EUSAGE,
            "SMILE, tensor %s: found gate_k %d, k %d, top_k %d with %d experts; expected "
            "gate_k >= 1, k >= 1 or -1, top_k from 1 to the number of experts",
            shape->name, o->gate_k, o->k, o->top_k, experts);
    *s = (fc_smile){.of = {.n = experts, .rows = shape->rows, .cols = shape->cols},
                    .top_k = o->top_k};
    s->of.expert = fc_arena_alloc(arena, (size_t)experts, sizeof *s->of.expert, err);
    s->gate = fc_arena_alloc(arena, (size_t)experts, sizeof *s->gate, err);
    if (!s->of.expert || !s->gate)
        return FC_EFAIL;
    for (int e = 0; e < experts; e++) {
        const fc_tv *tv = fc_tv_at(from->in, e, from->t);
        fc_expert *x = &s->of.expert[e];
        if (is_whole(tv, shape, o)) {
            FC_TRY(fc_backbone_expert(x, tv, shape, arena, scratch, err));
        } else {
            x->rank = o->k;
            x->B = fc_arena_alloc(arena, m * k, sizeof *x->B, err);
            x->A = fc_arena_alloc(arena, k * n, sizeof *x->A, err);
            if (!x->B || !x->A)
                return FC_EFAIL;
        }
        x->bias = from->bias ? from->bias[e] : NULL;
        s->gate[e] = smaller(o->gate_k, o->routing_use_diff ? triplets(tv, shape)
                                                            : smaller(shape->rows, shape->cols));
        vectors += (size_t)s->gate[e];
    }
    s->G = fc_arena_alloc(arena, vectors * n, sizeof *s->G, err);
    return s->G ? FC_OK : FC_EFAIL;
}

/* B = U S, A = V^T of the first x->rank triplets. */
static void set_factors(fc_expert *x, const fc_usv *d)
{
    size_t r = (size_t)x->rank, n = (size_t)d->n;
    for (size_t i = 0; i < (size_t)d->m; i++)
        for (size_t j = 0; j < r; j++)
            x->B[i * r + j] = (fc_real)(d->U[i * (size_t)d->k + j] * d->S[j]);
    for (size_t i = 0; i < r * n; i++)
        x->A[i] = (fc_real)d->Vt[i];
}

/* SVD of W_0 + Delta. */
static fc_status expert_svd(fc_usv *d, const fc_real *W0, const fc_tv *tv, const fc_tv_shape *s,
                            fc_arena *arena, fc_error *err)
{
    double *W = fc_arena_alloc(arena, fc_tv_size(s), sizeof *W, err);
    if (!W)
        return FC_EFAIL;
    for (size_t i = 0; i < fc_tv_size(s); i++)
        W[i] = (double)W0[i];
    fc_tv_add(W, 1, tv, s);
    return fc_svd(d, W, s->rows, s->cols, s->name, arena, err);
}

/* One expert's factors, unless it is kept whole, and its router, to G. */
static fc_status fill_expert(fc_smile *s, int e, fc_real *G, const fc_smile_source *from,
                             const fc_smile_options *o, fc_arena *scratch, fc_error *err)
{
    const fc_tv_shape *shape = &from->in->shape[from->t];
    const fc_tv *tv = fc_tv_at(from->in, e, from->t);
    fc_expert *x = &s->of.expert[e];
    bool whole = is_whole(tv, shape, o);
    fc_usv d;
    /* Delta = U S V^T; the expert B = U_k S_k, A = V_k^T */
    if (o->routing_use_diff || !whole)
        FC_TRY(fc_tv_svd(&d, tv, shape, scratch, err));
    if (!whole) {
        x->rank = smaller(x->rank, fc_svd_rank(&d));
        set_factors(x, &d);
    }
    /* the router's V^T: of Delta, or of W_0 + Delta = U S V^T */
    if (!o->routing_use_diff)
        FC_TRY(expert_svd(&d, from->W0, tv, shape, scratch, err));
    s->gate[e] = smaller(s->gate[e], fc_svd_rank(&d));
    for (size_t i = 0; i < (size_t)s->gate[e] * (size_t)shape->cols; i++)
        G[i] = (fc_real)d.Vt[i];
    return FC_OK;
}

static fc_status fill_experts(fc_smile *s, const fc_smile_source *from, const fc_smile_options *o,
                              fc_arena *scratch, fc_error *err)
{
    fc_real *G = s->G;
    for (int e = 0; e < s->of.n; e++) {
        fc_mark mark = fc_arena_mark(scratch);
        fc_status status = fill_expert(s, e, G, from, o, scratch, err);
        fc_arena_release(scratch, mark);
        FC_TRY(status);
        G += (size_t)s->gate[e] * (size_t)s->of.cols;
    }
    return FC_OK;
}

fc_status fc_smile_init(fc_smile *s, const fc_smile_source *from, const fc_smile_options *o,
                        fc_arena *arena, fc_arena *scratch, fc_error *err)
{
    for (int e = 0; e < from->in->n; e++) {
        const fc_tv_set one = {.n = 1,
                               .tensors = 1,
                               .shape = &from->in->shape[from->t],
                               .tv = fc_tv_at(from->in, e, from->t)};
        fc_error found = {0};
        if (fc_tv_check(&one, &found) != FC_OK)
            return fc_fail(err, found.code, "SMILE, expert %d: %s", e, found.msg);
    }
    FC_TRY(reserve_experts(s, from, o, arena, scratch, err));
    return fill_experts(s, from, o, scratch, err);
}

/* ---- a backbone --------------------------------------------------------------------------- */

typedef struct layers {
    fc_smile *out;
    fc_smile_source *from;
    const fc_smile_options *options;
} layers;

static fc_status fill_layer(void *ctx, int i, fc_arena *scratch, fc_error *err)
{
    const layers *l = ctx;
    if (l->out[i].of.n == 0)
        return FC_OK;
    return fill_experts(&l->out[i], &l->from[i], l->options, scratch, err);
}

/* The biases of tensor t, or NULL with t = -1. Numbers from arena, the list from scratch. */
static fc_status expert_biases(const fc_real *const **out, const fc_tv_set *in, int t,
                               fc_arena *arena, fc_arena *scratch, fc_error *err)
{
    *out = NULL;
    if (t < 0)
        return FC_OK;
    const fc_real **bias = fc_arena_alloc(scratch, (size_t)in->n, sizeof *bias, err);
    for (int e = 0; bias && e < in->n; e++) {
        fc_expert x;
        FC_TRY(fc_backbone_expert(&x, fc_tv_at(in, e, t), &in->shape[t], arena, scratch, err));
        bias[e] = x.dense;
    }
    *out = bias;
    return bias ? FC_OK : FC_EFAIL;
}

/* at: see fc_backbone_find; tensors that become experts are set to -1. */
static fc_status make_layers(layers *l, int *at, const fc_vit_shape *shape, const fc_real *w,
                             const fc_tv_set *in, fc_arena *arena, fc_arena *scratch, fc_error *err)
{
    int slots = fc_vit_slots(shape);
    l->from = fc_arena_alloc(scratch, (size_t)slots, sizeof *l->from, err);
    if (!l->from)
        return FC_EFAIL;
    for (int i = 0; i < slots; i++) {
        int t = fc_slot_tensor(i);
        l->out[i] = (fc_smile){0};
        if (at[t] < 0)
            continue;
        fc_smile_source *from = &l->from[i];
        *from = (fc_smile_source){.in = in, .t = at[t], .W0 = w + fc_vit_offset(shape, t)};
        FC_TRY(expert_biases(&from->bias, in, at[t + 1], arena, scratch, err));
        FC_TRY(reserve_experts(&l->out[i], from, l->options, arena, scratch, err));
        at[t] = at[t + 1] = -1;
    }
    return fc_parallel_for(slots, fill_layer, l, err);
}

static fc_status make_backbone(fc_smile *out, fc_real *w, const fc_vit_shape *shape,
                               const fc_tv_set *in, const fc_smile_options *o, fc_arena *arena,
                               fc_arena *scratch, fc_error *err)
{
    fc_params layout;
    layers l = {.out = out, .options = o};
    FC_TRY(fc_tv_check(in, err));
    FC_TRY(fc_vit_layout(&layout, shape, scratch, err));
    int *at = fc_arena_alloc(scratch, (size_t)layout.nspec, sizeof *at, err);
    if (!at)
        return FC_EFAIL;
    FC_TRY(fc_backbone_find(at, &layout, in->shape, in->tensors, err));
    FC_TRY(make_layers(&l, at, shape, w, in, arena, scratch, err));
    for (int i = 0; o->average_experts && i < layout.nspec; i++)
        if (at[i] >= 0)
            FC_TRY(
                fc_backbone_add(w + layout.spec[i].offset, 1.0 / in->n, in, at[i], scratch, err));
    return FC_OK;
}

fc_status fc_smile_backbone(fc_smile *out, fc_real *w, const fc_vit_shape *shape,
                            const fc_tv_set *in, const fc_smile_options *o, fc_arena *arena,
                            fc_error *err)
{
    fc_arena scratch = {0};
    fc_status status = make_backbone(out, w, shape, in, o, arena, &scratch, err);
    fc_arena_free(&scratch);
    return status;
}
