#include "core/vit.h"

#include "core/kernels.h"
#include "core/smile_layer.h"
#include "core/wemoe_gate.h"

#include <assert.h>
#include <string.h>

/* Images first .. first + n - 1 of the last forward. */
typedef struct chunk {
    int first, n;
} chunk;

/* ---- views of a model --------------------------------------------------------------------- */

enum { QKV, PROJ, FC1, FC2 }; /* slots of a block */

static const fc_real *model_tensor(const fc_model *m, int index)
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
    fc_linear l = {
        .W = model_tensor(m, t), .b = model_tensor(m, t + 1), .rank = m->rank, .scale = m->scale};
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
    return (fc_norm){m->shape->width, model_tensor(m, weight), model_tensor(m, weight + 1)};
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
                       .W = model_tensor(m, FC_VIT_PATCH_W),
                       .b = model_tensor(m, FC_VIT_PATCH_B),
                       .forward = m->packed ? &m->packed->patch : NULL};
}

static fc_linear head_layer(const fc_model *m)
{
    return (fc_linear){
        .d_in = m->shape->width, .d_out = m->classes, .W = m->head_w, .b = m->head_b};
}

/* The head and its logits are small: float products in bf16 mode too. */
static fc_engine exact_engine(const fc_acts *a)
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

static void feed_gram(fc_grams *stats, int slot, const fc_real *x, int rows, int dim)
{
    if (stats && slot < stats->n)
        fc_grams_add(stats, slot, x, rows, dim);
}

/* The part of a block's activations that belongs to a chunk. If nothing is kept, all chunks use the
 * same one, and all images the same attention weights. */
static fc_block_acts block_of(const fc_acts *a, int l, chunk c)
{
    const fc_vit_shape *s = &a->shape;
    fc_block_acts b = a->block[a->keep ? l : 0];
    size_t T = (size_t)fc_vit_tokens(s), D = (size_t)s->width;
    size_t image = a->keep ? (size_t)c.first : 0, row = image * T;
    b.x += row * D;
    b.stat1 += row * 2;
    b.qkv += row * 3 * D;
    b.P += image * (size_t)s->heads * T * T;
    b.att += row * D;
    b.mid += row * D;
    b.stat2 += row * 2;
    b.pre += row * (size_t)s->hidden;
    for (int i = 0; i < 4; i++)
        b.xa[i] += row * (size_t)a->size.rank;
    if (a->size.gates) {
        b.z += row * D;
        b.mean += image * D;
        b.w += image * (size_t)a->size.experts;
    }
    return b;
}

/* queries: rows of each image that ask; all, or in the last block the class token. */
static void attention_forward(fc_acts *a, const fc_block_acts *b, int n, int queries)
{
    const fc_vit_shape *s = &a->shape;
    size_t T = (size_t)fc_vit_tokens(s), D = (size_t)s->width;
    size_t weights = a->keep ? (size_t)s->heads * T * T : 0;
    for (size_t i = 0; i < (size_t)n; i++)
        fc_attention_forward(&a->engine, b->att + i * (size_t)queries * D, b->P + i * weights,
                             b->qkv + i * 3 * T * D, (int)T, queries, s->heads,
                             s->width / s->heads);
}

/* The fused layer as two: q of the class tokens, k and v of all. */
typedef struct split_qkv {
    fc_operand view[4];
    fc_linear q, kv;
} split_qkv;

static void split_layer(split_qkv *s, const fc_acts *a, const fc_linear *l)
{
    int T = fc_vit_tokens(&a->shape), D = a->shape.width;
    s->q = fc_linear_outputs(&a->engine, l, 0, D, s->view);
    s->kv = fc_linear_outputs(&a->engine, l, D, 2 * D, s->view + 2);
    s->q.ldx = T * D;
    s->q.ldy = T * 3 * D;
    s->kv.ldy = 3 * D;
}

static void cls_qkv_forward(fc_acts *a, const fc_block_acts *b, const fc_linear *l, int n)
{
    split_qkv s;
    split_layer(&s, a, l);
    fc_linear_forward(&a->engine, b->qkv + s.q.d_out, b->xa[QKV], &s.kv, a->norm, NULL,
                      n * fc_vit_tokens(&a->shape));
    fc_linear_forward(&a->engine, b->qkv, a->xacls, &s.q, a->norm, NULL, n);
}

/* Rows that share the weights of WEMoE's experts: an image's, or all. */
static int rows_shared(const fc_acts *a, const fc_model *m, int rows)
{
    return m->wemoe->batch_reduce ? rows : fc_vit_tokens(&a->shape);
}

/* y (rows, d_out) += what the experts of a slot make of x (rows, d_in). */
static void add_experts(const fc_acts *a, const fc_block_acts *b, fc_real *y, const fc_model *m,
                        int slot, const fc_real *x, int rows)
{
    const fc_experts *mlp = m->wemoe ? fc_wemoe_experts(m->wemoe, slot) : NULL;
    if (m->smile)
        fc_smile_forward(&a->engine, y, &m->smile[slot], x, rows);
    if (mlp)
        fc_experts_forward(&a->engine, y, mlp, x, b->w, rows_shared(a, m, rows), rows);
}

/* out = block l of its input. */
static void block_forward(fc_acts *a, const fc_model *m, int l, chunk c, fc_real *out,
                          fc_grams *stats)
{
    const fc_vit_shape *s = &a->shape;
    fc_block_acts view = block_of(a, l, c), *b = &view;
    int T = fc_vit_tokens(s), D = s->width, rows = c.n * T;
    fc_linear layer[4];
    for (int i = 0; i < 4; i++)
        layer[i] = slot_layer(m, 4 * l + i);
    fc_norm norm1 = norm_layer(m, block_tensor(l, FC_N1W));
    fc_norm norm2 = norm_layer(m, block_tensor(l, FC_N2W));

    fc_norm_forward(&a->engine, a->norm, b->stat1, &norm1, b->x, rows);
    feed_gram(stats, 4 * l + QKV, a->norm, rows, D);
    const fc_real *residual = b->x;
    bool cls_only = a->cls_only && l == s->depth - 1;
    if (cls_only && !m->smile)
        cls_qkv_forward(a, b, &layer[QKV], c.n);
    else
        fc_linear_forward(&a->engine, b->qkv, b->xa[QKV], &layer[QKV], a->norm, NULL, rows);
    add_experts(a, b, b->qkv, m, 4 * l + QKV, a->norm, rows);
    if (cls_only) { /* the features see no other row but through k and v */
        gather_cls(b->mid, b->x, c.n, T, D);
        residual = b->mid;
        rows = c.n;
    }
    attention_forward(a, b, c.n, rows / c.n);
    feed_gram(stats, 4 * l + PROJ, b->att, rows, D);
    fc_linear_forward(&a->engine, b->mid, b->xa[PROJ], &layer[PROJ], b->att, residual, rows);
    add_experts(a, b, b->mid, m, 4 * l + PROJ, b->att, rows);
    fc_norm_forward(&a->engine, a->norm, b->stat2, &norm2, b->mid, rows);
    feed_gram(stats, 4 * l + FC1, a->norm, rows, D);
    if (m->wemoe) {
        fc_gate gate = fc_wemoe_gate(m->wemoe, m->wemoe->gates.p, l);
        fc_gate_forward(&a->engine, b->w, b->mean, b->z, &gate, a->norm, c.n, T);
    }
    fc_linear_forward(&a->engine, b->pre, b->xa[FC1], &layer[FC1], a->norm, NULL, rows);
    add_experts(a, b, b->pre, m, 4 * l + FC1, a->norm, rows);
    size_t wide = (size_t)rows * (size_t)s->hidden;
    if (a->keep && !a->keep_inputs)
        fc_gelu_forward_derivative(&a->engine, a->gelu, b->pre, wide);
    else
        fc_gelu_forward(&a->engine, a->gelu, b->pre, wide);
    feed_gram(stats, 4 * l + FC2, a->gelu, rows, s->hidden);
    fc_linear_forward(&a->engine, out, b->xa[FC2], &layer[FC2], a->gelu, b->mid, rows);
    add_experts(a, b, out, m, 4 * l + FC2, a->gelu, rows);
}

static chunk chunk_at(const fc_acts *a, int first)
{
    return (chunk){first, a->n - first < a->chunk ? a->n - first : a->chunk};
}

/* Images to class tokens, a->top. */
static void chunk_forward(fc_acts *a, const fc_model *m, const fc_real *x, chunk c, fc_grams *stats)
{
    const fc_vit_shape *s = &a->shape;
    int T = fc_vit_tokens(s), D = s->width, pixels = 3 * s->patch * s->patch;
    fc_linear patches = patch_layer(m);
    fc_real *cols = a->cols;
    if (a->keep)
        cols += (size_t)c.first * (size_t)(T - 1) * (size_t)pixels;
    fc_patches(cols, x + (size_t)c.first * 3 * (size_t)s->image * (size_t)s->image, c.n, s->image,
               s->patch);
    fc_linear_forward(&a->engine, a->norm, NULL, &patches, cols, NULL, c.n * (T - 1));
    fc_tokens_forward(block_of(a, 0, c).x, a->norm, model_tensor(m, FC_VIT_CLS),
                      model_tensor(m, FC_VIT_POS), c.n, T, D);
    for (int l = 0; l < s->depth; l++)
        block_forward(a, m, l, c, l + 1 < s->depth ? block_of(a, l + 1, c).x : a->out, stats);
    gather_cls(a->top + (size_t)c.first * (size_t)D, a->out, c.n, a->cls_only ? 1 : T, D);
}

void fc_vit_forward(fc_acts *a, const fc_model *m, const fc_real *x, int n, fc_grams *stats,
                    const fc_grads *g)
{
    const fc_vit_shape *s = &a->shape;
    assert(n >= 0 && n <= a->size.n_max && m->rank <= a->size.rank);
    assert(!m->wemoe || (a->size.gates && m->wemoe->tasks <= a->size.experts));
    assert(!m->wemoe || !m->wemoe->batch_reduce || a->size.whole);
    a->n = n;
    a->keep = g && a->size.backward && (g->w || g->A || g->B || g->gates);
    a->keep_inputs = a->keep && (g->w || g->A || m->wemoe);
    a->cls_only = stats == NULL && !m->wemoe; /* gates look at all tokens */
    for (int first = 0; first < n; first += a->chunk)
        chunk_forward(a, m, x, chunk_at(a, first), stats);

    fc_norm norm = norm_layer(m, block_tensor(s->depth, 0));
    fc_norm_forward(&a->engine, a->features, a->stat, &norm, a->top, n);
    feed_gram(stats, fc_vit_slots(s), a->features, n, s->width);
    if (m->head_w) {
        fc_linear head = head_layer(m);
        fc_engine e = exact_engine(a);
        fc_linear_forward(&e, a->logits, NULL, &head, a->features, NULL, n);
    }
}

/* ---- backward ----------------------------------------------------------------------------- */

/* dwide (n T, 3 D) from dnorm (n queries, D). */
static void attention_backward(fc_acts *a, const fc_block_acts *b, int n, int queries)
{
    const fc_vit_shape *s = &a->shape;
    size_t T = (size_t)fc_vit_tokens(s), D = (size_t)s->width, weights = (size_t)s->heads * T * T;
    for (size_t i = 0; i < (size_t)n; i++)
        fc_attention_backward(&a->engine, a->dwide + i * 3 * T * D,
                              a->dnorm + i * (size_t)queries * D, b->qkv + i * 3 * T * D,
                              b->P + i * weights, (int)T, queries, s->heads, s->width / s->heads);
}

/* The transpose of cls_qkv_forward: from dwide into dnorm (not if nothing below is trained). */
static void cls_qkv_backward(fc_acts *a, const fc_block_acts *b, bool below,
                             const fc_linear_grads *g, const fc_linear *l, int n)
{
    size_t T = (size_t)fc_vit_tokens(&a->shape), D = (size_t)a->shape.width, r = (size_t)l->rank;
    split_qkv s;
    split_layer(&s, a, l);
    fc_linear_grads kv = {g->W ? g->W + D * D : NULL, g->b ? g->b + D : NULL, g->A,
                          g->B ? g->B + D * r : NULL};
    fc_linear_backward(&a->engine, below ? a->dnorm : NULL, &kv, &s.kv, a->dwide + D, a->norm,
                       b->xa[QKV], n * (int)T);
    for (size_t i = 0; r > 0 && i < (size_t)n; i++)
        memcpy(a->xacls + i * r, b->xa[QKV] + i * T * r, r * sizeof *a->xacls);
    fc_linear_backward(&a->engine, below ? a->dcls : NULL, g, &s.q, a->dwide, a->norm, a->xacls, n);
    for (size_t i = 0; below && i < (size_t)n; i++)
        for (size_t j = 0; j < D; j++)
            a->dnorm[i * T * D + j] += a->dcls[i * D + j];
}

/* dx (rows, d_in) += the part of a slot's experts, from dy (rows, d_out); a->dw too. */
static void experts_backward(fc_acts *a, const fc_block_acts *b, fc_real *dx, const fc_model *m,
                             int slot, const fc_real *dy, const fc_real *x, int rows)
{
    if (m->wemoe)
        fc_experts_backward(&a->engine, dx, a->dw, fc_wemoe_experts(m->wemoe, slot), dy, x, b->w,
                            rows_shared(a, m, rows), rows);
}

/* a->dnorm += the part of the gate of block l, from a->dw. */
static void gate_backward(fc_acts *a, const fc_block_acts *b, const fc_model *m, int l, int n,
                          const fc_grads *g)
{
    fc_gate gate = fc_wemoe_gate(m->wemoe, m->wemoe->gates.p, l), d = {0};
    if (g->gates)
        d = fc_wemoe_gate(m->wemoe, g->gates, l);
    fc_gate_backward(&a->engine, a->dnorm, g->gates ? &d : NULL, &gate, a->dw, a->norm, b->mean,
                     b->z, n, fc_vit_tokens(&a->shape));
}

/* dx: gradient of the block's output in, of its input out (not for the lowest block if nothing
 * below it is trained). */
static void block_backward(fc_acts *a, const fc_model *m, int l, chunk c, const fc_grads *g)
{
    const fc_vit_shape *s = &a->shape;
    fc_block_acts view = block_of(a, l, c), *b = &view;
    int T = fc_vit_tokens(s), D = s->width;
    bool cls_only = a->cls_only && l == s->depth - 1, inputs = g->w || g->A, below = l > 0 || g->w;
    int rows = cls_only ? c.n : c.n * T;
    size_t wide = (size_t)rows * (size_t)s->hidden;
    fc_linear layer[4];
    fc_linear_grads grads[4];
    for (int i = 0; i < 4; i++) {
        layer[i] = slot_layer(m, 4 * l + i);
        grads[i] = slot_grads(g, m, 4 * l + i);
    }
    fc_norm norm1 = norm_layer(m, block_tensor(l, FC_N1W));
    fc_norm norm2 = norm_layer(m, block_tensor(l, FC_N2W));

    if (m->wemoe)
        memset(a->dw, 0, (size_t)(c.n * m->wemoe->tasks) * sizeof *a->dw);
    if (a->keep_inputs)
        fc_gelu_forward(&a->engine, a->gelu, b->pre, wide);
    fc_linear_backward(&a->engine, a->dwide, &grads[FC2], &layer[FC2], a->dx, a->gelu, b->xa[FC2],
                       rows);
    experts_backward(a, b, a->dwide, m, 4 * l + FC2, a->dx, a->gelu, rows);
    if (a->keep_inputs)
        fc_gelu_backward(&a->engine, a->dwide, b->pre, wide);
    else
        fc_multiply_elements(&a->engine, a->dwide, b->pre, wide);
    if (a->keep_inputs)
        fc_norm_forward(&a->engine, a->norm, b->stat2, &norm2, b->mid, rows);
    fc_linear_backward(&a->engine, a->dnorm, &grads[FC1], &layer[FC1], a->dwide, a->norm,
                       b->xa[FC1], rows);
    experts_backward(a, b, a->dnorm, m, 4 * l + FC1, a->dwide, a->norm, rows);
    if (m->wemoe)
        gate_backward(a, b, m, l, c.n, g);
    if (!below && !g->A && !g->B)
        return;
    norm_backward(&a->engine, a->dx, m, g, block_tensor(l, FC_N2W), a->dnorm, b->mid, b->stat2,
                  rows);
    fc_linear_backward(&a->engine, a->dnorm, &grads[PROJ], &layer[PROJ], a->dx, b->att, b->xa[PROJ],
                       rows);
    attention_backward(a, b, c.n, rows / c.n);
    if (cls_only) {
        scatter_cls(a->dx, c.n, T, D);
        rows = c.n * T;
    }
    if (inputs)
        fc_norm_forward(&a->engine, a->norm, b->stat1, &norm1, b->x, rows);
    if (cls_only)
        cls_qkv_backward(a, b, below, &grads[QKV], &layer[QKV], c.n);
    else
        fc_linear_backward(&a->engine, below ? a->dnorm : NULL, &grads[QKV], &layer[QKV], a->dwide,
                           a->norm, b->xa[QKV], rows);
    if (below)
        norm_backward(&a->engine, a->dx, m, g, block_tensor(l, FC_N1W), a->dnorm, b->x, b->stat1,
                      rows);
}

/* Gradients of everything below the class tokens, from a->dtop. */
static void chunk_backward(fc_acts *a, const fc_model *m, chunk c, const fc_grads *g)
{
    const fc_vit_shape *s = &a->shape;
    int T = fc_vit_tokens(s), D = s->width, pixels = 3 * s->patch * s->patch;
    size_t top = (size_t)c.first * (size_t)D;
    memcpy(a->dx, a->dtop + top, (size_t)c.n * (size_t)D * sizeof *a->dx);
    if (!a->cls_only)
        scatter_cls(a->dx, c.n, T, D);
    for (int l = s->depth - 1; l >= 0; l--)
        block_backward(a, m, l, c, g);
    if (!g->w)
        return;
    fc_linear patches = patch_layer(m);
    fc_linear_grads patch_grads = {.W = g->w + fc_vit_offset(s, FC_VIT_PATCH_W),
                                   .b = g->w + fc_vit_offset(s, FC_VIT_PATCH_B)};
    fc_tokens_backward(a->dnorm, g->w + fc_vit_offset(s, FC_VIT_CLS),
                       g->w + fc_vit_offset(s, FC_VIT_POS), a->dx, c.n, T, D);
    fc_linear_backward(&a->engine, NULL, &patch_grads, &patches, a->dnorm,
                       a->cols + (size_t)c.first * (size_t)(T - 1) * (size_t)pixels, NULL,
                       c.n * (T - 1));
}

void fc_vit_backward(fc_acts *a, const fc_model *m, const fc_real *dlogits, const fc_grads *g)
{
    const fc_vit_shape *s = &a->shape;
    int n = a->n;
    bool backbone = g->w || g->A || g->B || g->gates;

    fc_linear head = head_layer(m);
    fc_linear_grads head_grads = {.W = g->head_w, .b = g->head_b};
    fc_engine e = exact_engine(a);
    fc_linear_backward(&e, backbone ? a->dfeature : NULL, &head_grads, &head, dlogits, a->features,
                       NULL, n);
    if (!backbone)
        return;
    assert(a->keep && (a->keep_inputs || !(g->w || g->A)) && !m->smile);
    memset(a->dtop, 0, (size_t)n * (size_t)s->width * sizeof *a->dtop);
    norm_backward(&a->engine, a->dtop, m, g, block_tensor(s->depth, 0), a->dfeature, a->top,
                  a->stat, n);
    for (int first = 0; first < n; first += a->chunk)
        chunk_backward(a, m, chunk_at(a, first), g);
}
