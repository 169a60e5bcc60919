#include "core/vit.h"
#include "core/kernels.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* What backward needs of one block. R = n_max * tokens rows. Inputs of linear layers that follow a
 * LayerNorm or GELU are not kept: where a gradient needs them they are made again. */
typedef struct block_acts {
    fc_real *x;     /* (R, D) input */
    fc_real *stat1; /* (R, 2) of norm1 */
    fc_real *qkv;   /* (R, 3 D) */
    fc_real *P;     /* (n_max, heads, T, T) attention weights */
    fc_real *att;   /* (R, D) attention output */
    fc_real *mid;   /* (R, D) x + attn.proj */
    fc_real *stat2; /* (R, 2) of norm2 */
    fc_real *pre;   /* (R, hidden) fc1 output, before GELU */
    fc_real *xa[4]; /* (R, rank) x A^T of each slot */
} block_acts;

struct fc_acts {
    fc_vit_shape shape;
    int rank, classes, n_max;
    bool backward;
    fc_engine engine; /* with the scratch below */
    int n;            /* images of the last forward */
    bool cls_only;    /* its last block ran on class tokens only after the attention */

    fc_real *cols;     /* (n_max (T - 1), 3 patch^2) */
    fc_real *norm;     /* (R, D) LayerNorm output, scratch */
    fc_real *gelu;     /* (R, hidden) GELU output, scratch */
    fc_real *out;      /* (R, D) output of the last block; then its class tokens (n_max, D) */
    fc_real *stat;     /* (n_max, 2) of the final norm */
    fc_real *features; /* (n_max, D) */
    fc_real *logits;   /* (n_max, classes) */

    /* backward only */
    fc_real *dx;    /* (R, D) of the residual stream */
    fc_real *dnorm; /* (R, D) */
    fc_real *dwide; /* (R, max(3 D, hidden)) */

    block_acts block[]; /* (depth) */
};

/* ---- memory ------------------------------------------------------------------------------- */

/* Hands out 64-byte aligned pieces of one allocation; base NULL: only counts. */
typedef struct cutter {
    char *base;
    size_t used;
} cutter;

static void *cut(cutter *c, size_t bytes)
{
    void *p = c->base ? c->base + c->used : NULL;
    c->used += (bytes + 63) & ~(size_t)63;
    return p;
}

static fc_real *cut_reals(cutter *c, size_t rows, size_t cols)
{
    return cut(c, rows * cols * sizeof(fc_real));
}

static block_acts cut_block(cutter *c, const fc_vit_shape *s, size_t n, size_t rank, bool backward,
                            fc_real *x)
{
    size_t T = (size_t)fc_vit_tokens(s), R = n * T, D = (size_t)s->width;
    block_acts b = {.x = x};
    b.stat1 = cut_reals(c, R, 2);
    b.qkv = cut_reals(c, R, 3 * D);
    b.P = cut_reals(c, (backward ? n : 1) * (size_t)s->heads, T * T);
    b.att = cut_reals(c, R, D);
    b.mid = cut_reals(c, R, D);
    b.stat2 = cut_reals(c, R, 2);
    b.pre = cut_reals(c, R, (size_t)s->hidden);
    for (int i = 0; i < 4; i++)
        b.xa[i] = cut_reals(c, R, rank);
    return b;
}

/* Scratch for the layer that needs most. */
static size_t work_bytes(const fc_vit_shape *s, const fc_engine *e, int rank, int classes, int n)
{
    int T = fc_vit_tokens(s), D = s->width, pixels = 3 * s->patch * s->patch;
    int wide = D > classes ? D : classes;
    wide = wide > pixels ? wide : pixels;
    wide = wide > s->hidden ? wide : s->hidden;
    size_t linear = fc_linear_bytes(e, wide, 3 * D > wide ? 3 * D : wide, rank, n * T);
    size_t attention = fc_attention_bytes(e, T, D / s->heads);
    return linear > attention ? linear : attention;
}

/* The whole layout, used twice: to count and to place. */
static fc_acts *place(cutter *c, const fc_vit_shape *s, int rank, int classes, int n_max,
                      bool backward, const fc_engine *e)
{
    size_t n = (size_t)n_max, T = (size_t)fc_vit_tokens(s), R = n * T, D = (size_t)s->width;
    size_t r = (size_t)rank, hidden = (size_t)s->hidden, wide = hidden > 3 * D ? hidden : 3 * D;
    size_t L = (size_t)s->depth;
    fc_acts *out = cut(c, sizeof *out + L * sizeof *out->block);
    fc_acts a = {*s, rank, classes, n_max, backward, .engine = *e};
    a.engine.left = work_bytes(s, e, rank, classes, n_max);
    a.engine.work = cut(c, a.engine.left);
    a.cols = cut_reals(c, n * (T - 1), 3 * (size_t)s->patch * (size_t)s->patch);
    a.norm = cut_reals(c, R, D);
    a.gelu = cut_reals(c, R, hidden);
    a.stat = cut_reals(c, n, 2);
    a.features = cut_reals(c, n, D);
    a.logits = cut_reals(c, n, (size_t)classes);
    if (backward) {
        a.dx = cut_reals(c, R, D);
        a.dnorm = cut_reals(c, R, D);
        a.dwide = cut_reals(c, R, wide);
    }
    fc_real *x = cut_reals(c, R, D);
    block_acts b = {0};
    for (size_t l = 0; l < L; l++) {
        if (backward || l == 0)
            b = cut_block(c, s, n, r, backward, x);
        if (backward)
            x = cut_reals(c, R, D);
        if (out)
            out->block[l] = b;
    }
    a.out = x;
    if (out)
        memcpy(out, &a, sizeof a);
    return out;
}

size_t fc_acts_bytes(const fc_vit_shape *s, int rank, int classes, int n_max, bool backward,
                     const fc_engine *e)
{
    cutter c = {0};
    place(&c, s, rank, classes, n_max, backward, e);
    return c.used;
}

fc_status fc_acts_new(fc_acts **out, const fc_vit_shape *s, int rank, int classes, int n_max,
                      bool backward, const fc_engine *e, fc_error *err)
{
    size_t bytes = fc_acts_bytes(s, rank, classes, n_max, backward, e);
    cutter c = {.base = aligned_alloc(64, bytes)};
    *out = NULL;
    if (!c.base)
        return fc_fail(err, FC_EFAIL, "activations of %d images: no memory for %zu bytes", n_max,
                       bytes);
    *out = place(&c, s, rank, classes, n_max, backward, e);
    return FC_OK;
}

void fc_acts_free(fc_acts *a)
{
    free(a);
}

const fc_real *fc_acts_logits(const fc_acts *a)
{
    return a->logits;
}

const fc_real *fc_acts_features(const fc_acts *a)
{
    return a->features;
}

/* ---- views of a model --------------------------------------------------------------------- */

enum { QKV, PROJ, FC1, FC2 }; /* slots of a block */

static const fc_real *tensor(const fc_model *m, int index)
{
    return m->w + fc_vit_offset(m->shape, index);
}

static int block_tensor(int l, int i)
{
    return FC_VIT_BLOCK0 + FC_VIT_PER_BLOCK * l + i;
}

static fc_linear slot_layer(const fc_model *m, int slot)
{
    int t = fc_slot_tensor(slot);
    fc_linear l = {.W = tensor(m, t), .b = tensor(m, t + 1), .rank = m->rank, .scale = m->scale};
    fc_slot_dims(m->shape, slot, &l.d_out, &l.d_in);
    if (m->rank > 0) {
        size_t A, B;
        fc_slot_offsets(m->shape, slot, m->rank, &A, &B);
        l.A = m->A + A;
        l.B = m->B + B;
    }
    if (m->packed) {
        l.forward = &m->packed->forward[slot];
        l.backward = m->packed->backward ? &m->packed->backward[slot] : NULL;
    }
    return l;
}

static fc_linear_grads slot_grads(const fc_grads *g, const fc_model *m, int slot)
{
    fc_linear_grads out = {0};
    size_t A, B;
    fc_slot_offsets(m->shape, slot, m->rank, &A, &B);
    if (g->w) {
        out.W = g->w + fc_vit_offset(m->shape, fc_slot_tensor(slot));
        out.b = g->w + fc_vit_offset(m->shape, fc_slot_tensor(slot) + 1);
    }
    if (g->A)
        out.A = g->A + A;
    if (g->B)
        out.B = g->B + B;
    return out;
}

static fc_norm norm_layer(const fc_model *m, int weight)
{
    return (fc_norm){m->shape->width, tensor(m, weight), tensor(m, weight + 1)};
}

static void norm_backward(const fc_engine *e, fc_real *dx, const fc_model *m, const fc_grads *g,
                          int weight, const fc_real *dy, const fc_real *x, const fc_real *stat,
                          int n)
{
    fc_norm layer = norm_layer(m, weight);
    fc_real *dw = g->w ? g->w + fc_vit_offset(m->shape, weight) : NULL;
    fc_norm_backward(e, dx, dw, dw ? dw + layer.d : NULL, &layer, dy, x, stat, n);
}

static fc_linear patch_layer(const fc_model *m)
{
    int patch = m->shape->patch;
    return (fc_linear){.d_in = 3 * patch * patch,
                       .d_out = m->shape->width,
                       .W = tensor(m, FC_VIT_PATCH_W),
                       .b = tensor(m, FC_VIT_PATCH_B),
                       .forward = m->packed ? &m->packed->patch : NULL};
}

static fc_linear head_layer(const fc_model *m)
{
    return (fc_linear){
        .d_in = m->shape->width, .d_out = m->classes, .W = m->head_w, .b = m->head_b};
}

/* The head and its logits are small: float products in bf16 mode too. */
static fc_engine exact(const fc_acts *a)
{
    fc_engine e = a->engine;
    e.bf16 = false;
    return e;
}

/* ---- class tokens ------------------------------------------------------------------------- */

/* Row i of out (n, D) = row i T of x (n T, D). out may be x. */
static void gather_cls(fc_real *out, const fc_real *x, int n, int T, int D)
{
    for (size_t i = 0; i < (size_t)n; i++)
        memmove(out + i * (size_t)D, x + i * (size_t)T * (size_t)D, (size_t)D * sizeof *x);
}

/* The transpose, in place: row i of the first n goes to row i T, the others become 0. */
static void scatter_cls(fc_real *x, int n, int T, int D)
{
    for (size_t i = (size_t)n; i-- > 0;) {
        fc_real *to = x + i * (size_t)T * (size_t)D;
        memmove(to, x + i * (size_t)D, (size_t)D * sizeof *x);
        memset(to + D, 0, (size_t)(T - 1) * (size_t)D * sizeof *x);
    }
}

/* ---- forward ------------------------------------------------------------------------------ */

static void feed(fc_grams *stats, int slot, const fc_real *x, int rows, int dim)
{
    if (stats && slot < stats->n)
        fc_grams_add(stats, slot, x, rows, dim);
}

static void attention_forward(fc_acts *a, const block_acts *b)
{
    const fc_vit_shape *s = &a->shape;
    size_t T = (size_t)fc_vit_tokens(s), D = (size_t)s->width;
    size_t weights = a->backward ? (size_t)s->heads * T * T : 0; /* else all images share P */
    for (size_t i = 0; i < (size_t)a->n; i++)
        fc_attention_forward(&a->engine, b->att + i * T * D, b->P + i * weights,
                             b->qkv + i * 3 * T * D, (int)T, s->heads, s->width / s->heads);
}

/* out = block l of its input. */
static void block_forward(fc_acts *a, const fc_model *m, int l, fc_real *out, fc_grams *stats)
{
    const fc_vit_shape *s = &a->shape;
    const block_acts *b = &a->block[l];
    int T = fc_vit_tokens(s), D = s->width, rows = a->n * T;
    fc_linear layer[4];
    for (int i = 0; i < 4; i++)
        layer[i] = slot_layer(m, 4 * l + i);
    fc_norm norm1 = norm_layer(m, block_tensor(l, FC_N1W));
    fc_norm norm2 = norm_layer(m, block_tensor(l, FC_N2W));

    fc_norm_forward(&a->engine, a->norm, b->stat1, &norm1, b->x, rows);
    feed(stats, 4 * l + QKV, a->norm, rows, D);
    fc_linear_forward(&a->engine, b->qkv, b->xa[QKV], &layer[QKV], a->norm, NULL, rows);
    attention_forward(a, b);
    feed(stats, 4 * l + PROJ, b->att, rows, D);

    const fc_real *residual = b->x;
    if (a->cls_only && l == s->depth - 1) { /* the features see no other row from here on */
        gather_cls(b->att, b->att, a->n, T, D);
        gather_cls(b->mid, b->x, a->n, T, D);
        residual = b->mid;
        rows = a->n;
    }
    fc_linear_forward(&a->engine, b->mid, b->xa[PROJ], &layer[PROJ], b->att, residual, rows);
    fc_norm_forward(&a->engine, a->norm, b->stat2, &norm2, b->mid, rows);
    feed(stats, 4 * l + FC1, a->norm, rows, D);
    fc_linear_forward(&a->engine, b->pre, b->xa[FC1], &layer[FC1], a->norm, NULL, rows);
    fc_gelu_forward(&a->engine, a->gelu, b->pre, (size_t)rows * (size_t)s->hidden);
    feed(stats, 4 * l + FC2, a->gelu, rows, s->hidden);
    fc_linear_forward(&a->engine, out, b->xa[FC2], &layer[FC2], a->gelu, b->mid, rows);
}

void fc_vit_forward(fc_acts *a, const fc_model *m, const fc_real *x, int n, fc_grams *stats)
{
    const fc_vit_shape *s = &a->shape;
    int T = fc_vit_tokens(s), D = s->width;
    assert(n >= 0 && n <= a->n_max && m->rank <= a->rank);
    a->n = n;
    a->cls_only = stats == NULL;

    fc_linear patches = patch_layer(m);
    fc_patches(a->cols, x, n, s->image, s->patch);
    fc_linear_forward(&a->engine, a->norm, NULL, &patches, a->cols, NULL, n * (T - 1));
    fc_tokens_forward(a->block[0].x, a->norm, tensor(m, FC_VIT_CLS), tensor(m, FC_VIT_POS), n, T,
                      D);
    for (int l = 0; l < s->depth; l++)
        block_forward(a, m, l, l + 1 < s->depth ? a->block[l + 1].x : a->out, stats);
    if (!a->cls_only)
        gather_cls(a->out, a->out, n, T, D);

    fc_norm norm = norm_layer(m, block_tensor(s->depth, 0));
    fc_norm_forward(&a->engine, a->features, a->stat, &norm, a->out, n);
    feed(stats, fc_vit_slots(s), a->features, n, D);
    if (m->head_w) {
        fc_linear head = head_layer(m);
        fc_engine e = exact(a);
        fc_linear_forward(&e, a->logits, NULL, &head, a->features, NULL, n);
    }
}

/* ---- backward ----------------------------------------------------------------------------- */

/* dwide (n T, 3 D) from dnorm (n T, D). */
static void attention_backward(fc_acts *a, const block_acts *b)
{
    const fc_vit_shape *s = &a->shape;
    size_t T = (size_t)fc_vit_tokens(s), D = (size_t)s->width, weights = (size_t)s->heads * T * T;
    for (size_t i = 0; i < (size_t)a->n; i++)
        fc_attention_backward(&a->engine, a->dwide + i * 3 * T * D, a->dnorm + i * T * D,
                              b->qkv + i * 3 * T * D, b->P + i * weights, (int)T, s->heads,
                              s->width / s->heads);
}

/* dx: gradient of the block's output in, of its input out (not for the lowest block if nothing
 * below it is trained). */
static void block_backward(fc_acts *a, const fc_model *m, int l, const fc_grads *g)
{
    const fc_vit_shape *s = &a->shape;
    const block_acts *b = &a->block[l];
    int T = fc_vit_tokens(s), D = s->width;
    bool cls_only = a->cls_only && l == s->depth - 1, inputs = g->w || g->A;
    bool below = l > 0 || g->w;
    int rows = cls_only ? a->n : a->n * T;
    size_t wide = (size_t)rows * (size_t)s->hidden;
    fc_linear layer[4];
    fc_linear_grads grads[4];
    for (int i = 0; i < 4; i++) {
        layer[i] = slot_layer(m, 4 * l + i);
        grads[i] = slot_grads(g, m, 4 * l + i);
    }
    fc_norm norm1 = norm_layer(m, block_tensor(l, FC_N1W));
    fc_norm norm2 = norm_layer(m, block_tensor(l, FC_N2W));

    if (inputs)
        fc_gelu_forward(&a->engine, a->gelu, b->pre, wide);
    fc_linear_backward(&a->engine, a->dwide, &grads[FC2], &layer[FC2], a->dx, a->gelu, b->xa[FC2],
                       rows);
    fc_gelu_backward(&a->engine, a->dwide, b->pre, wide);
    if (inputs)
        fc_norm_forward(&a->engine, a->norm, b->stat2, &norm2, b->mid, rows);
    fc_linear_backward(&a->engine, a->dnorm, &grads[FC1], &layer[FC1], a->dwide, a->norm,
                       b->xa[FC1], rows);
    norm_backward(&a->engine, a->dx, m, g, block_tensor(l, FC_N2W), a->dnorm, b->mid, b->stat2,
                  rows);
    fc_linear_backward(&a->engine, a->dnorm, &grads[PROJ], &layer[PROJ], a->dx, b->att, b->xa[PROJ],
                       rows);
    if (cls_only) {
        scatter_cls(a->dx, a->n, T, D);
        scatter_cls(a->dnorm, a->n, T, D);
        rows = a->n * T;
    }
    attention_backward(a, b);
    if (inputs)
        fc_norm_forward(&a->engine, a->norm, b->stat1, &norm1, b->x, rows);
    fc_linear_backward(&a->engine, below ? a->dnorm : NULL, &grads[QKV], &layer[QKV], a->dwide,
                       a->norm, b->xa[QKV], rows);
    if (below)
        norm_backward(&a->engine, a->dx, m, g, block_tensor(l, FC_N1W), a->dnorm, b->x, b->stat1,
                      rows);
}

void fc_vit_backward(fc_acts *a, const fc_model *m, const fc_real *dlogits, const fc_grads *g)
{
    const fc_vit_shape *s = &a->shape;
    int T = fc_vit_tokens(s), D = s->width, n = a->n;
    bool backbone = g->w || g->A || g->B;
    assert(a->backward);

    fc_linear head = head_layer(m);
    fc_linear_grads head_grads = {.W = g->head_w, .b = g->head_b};
    fc_engine e = exact(a);
    fc_linear_backward(&e, backbone ? a->dnorm : NULL, &head_grads, &head, dlogits, a->features,
                       NULL, n);
    if (!backbone)
        return;

    memset(a->dx, 0, (size_t)n * (size_t)D * sizeof *a->dx);
    norm_backward(&a->engine, a->dx, m, g, block_tensor(s->depth, 0), a->dnorm, a->out, a->stat, n);
    if (!a->cls_only)
        scatter_cls(a->dx, n, T, D);
    for (int l = s->depth - 1; l >= 0; l--)
        block_backward(a, m, l, g);
    if (!g->w)
        return;

    fc_linear patches = patch_layer(m);
    fc_linear_grads patch_grads = {.W = g->w + fc_vit_offset(s, FC_VIT_PATCH_W),
                                   .b = g->w + fc_vit_offset(s, FC_VIT_PATCH_B)};
    fc_tokens_backward(a->dnorm, g->w + fc_vit_offset(s, FC_VIT_CLS),
                       g->w + fc_vit_offset(s, FC_VIT_POS), a->dx, n, T, D);
    fc_linear_backward(&a->engine, NULL, &patch_grads, &patches, a->dnorm, a->cols, NULL,
                       n * (T - 1));
}
