#include "core/vit/vit.h"

#include "core/vit/kernels.h"
#include "core/vit/smile_layer.h"
#include "core/vit/wemoe_gate.h"

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

/* One block and the images that go through it. */
typedef struct pass {
    fc_acts *a;
    const fc_model *m;
    int l; /* block */
    chunk c;
    fc_block_acts b;
    fc_linear layer[4]; /* qkv, attn.proj, fc1, fc2 */
    fc_norm norm1, norm2;
    bool cls_only; /* the last block, of which only the class tokens are wanted */
    int all, rows; /* tokens in, and behind the attention: all, or with cls_only one per image */
} pass;

static pass pass_of(fc_acts *a, const fc_model *m, int l, chunk c)
{
    pass p = {.a = a,
              .m = m,
              .l = l,
              .c = c,
              .b = block_of(a, l, c),
              .norm1 = norm_layer(m, block_tensor(l, FC_N1W)),
              .norm2 = norm_layer(m, block_tensor(l, FC_N2W)),
              .cls_only = a->cls_only && l == a->shape.depth - 1,
              .all = c.n * fc_vit_tokens(&a->shape)};
    for (int i = 0; i < 4; i++)
        p.layer[i] = slot_layer(m, 4 * l + i);
    p.rows = p.cls_only ? c.n : p.all;
    return p;
}

/* mid = x + attn.proj(attention(qkv(norm1(x)))) */
static void attention_half_forward(const pass *p, fc_grams *stats)
{
    fc_acts *a = p->a;
    const fc_block_acts *b = &p->b;
    int slot = 4 * p->l, D = a->shape.width;

    /* norm = norm1(x) (all, D) */
    fc_norm_forward(&a->engine, a->norm, b->stat1, &p->norm1, b->x, p->all);
    feed_gram(stats, slot + QKV, a->norm, p->all, D);

    /* qkv = norm (W_qkv + B A)^T + b_qkv (all, 3 D); cls_only: k and v of all tokens, q of the
     * class tokens, since the features see no other row but through k and v */
    if (p->cls_only && !p->m->smile)
        cls_qkv_forward(a, b, &p->layer[QKV], p->c.n);
    else
        fc_linear_forward(&a->engine, b->qkv, b->xa[QKV], &p->layer[QKV], a->norm, NULL, p->all);
    add_experts(a, b, b->qkv, p->m, slot + QKV, a->norm, p->all);
    const fc_real *residual = b->x;
    if (p->cls_only) {
        gather_cls(b->mid, b->x, p->c.n, fc_vit_tokens(&a->shape), D);
        residual = b->mid;
    }

    /* att = softmax(q k^T / sqrt(D / H)) v of each head, side by side (rows, D) */
    attention_forward(a, b, p->c.n, p->rows / p->c.n);
    feed_gram(stats, slot + PROJ, b->att, p->rows, D);

    /* mid = x + att (W_proj + B A)^T + b_proj (rows, D) */
    fc_linear_forward(&a->engine, b->mid, b->xa[PROJ], &p->layer[PROJ], b->att, residual, p->rows);
    add_experts(a, b, b->mid, p->m, slot + PROJ, b->att, p->rows);
}

/* out = mid + fc2(GELU(fc1(norm2(mid)))) */
static void mlp_half_forward(const pass *p, fc_real *out, fc_grams *stats)
{
    fc_acts *a = p->a;
    const fc_block_acts *b = &p->b;
    const fc_wemoe *wemoe = p->m->wemoe;
    int slot = 4 * p->l, D = a->shape.width, hidden = a->shape.hidden, rows = p->rows;
    size_t wide = (size_t)rows * (size_t)hidden;

    /* norm = norm2(mid) (rows, D) */
    fc_norm_forward(&a->engine, a->norm, b->stat2, &p->norm2, b->mid, rows);
    feed_gram(stats, slot + FC1, a->norm, rows, D);

    /* w (images, experts) = the gate's weights of the experts of fc1 and fc2 */
    if (wemoe) {
        fc_gate gate = fc_wemoe_gate(wemoe, wemoe->gates.p, p->l);
        fc_gate_forward(&a->engine, b->w, b->mean, b->z, &gate, a->norm, p->c.n,
                        fc_vit_tokens(&a->shape));
    }

    /* pre = norm (W_fc1 + B A)^T + b_fc1 (rows, hidden) */
    fc_linear_forward(&a->engine, b->pre, b->xa[FC1], &p->layer[FC1], a->norm, NULL, rows);
    add_experts(a, b, b->pre, p->m, slot + FC1, a->norm, rows);

    /* gelu = pre Phi(pre); where backward needs no more of pre, pre becomes the derivative */
    if (a->keep && !a->keep_inputs)
        fc_gelu_forward_derivative(&a->engine, a->gelu, b->pre, wide);
    else
        fc_gelu_forward(&a->engine, a->gelu, b->pre, wide);
    feed_gram(stats, slot + FC2, a->gelu, rows, hidden);

    /* out = mid + gelu (W_fc2 + B A)^T + b_fc2 (rows, D) */
    fc_linear_forward(&a->engine, out, b->xa[FC2], &p->layer[FC2], a->gelu, b->mid, rows);
    add_experts(a, b, out, p->m, slot + FC2, a->gelu, rows);
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

    /* cols: patches as rows (images (T - 1), 3 P^2); their embedding cols W_patch^T + b_patch */
    fc_patches(cols, x + (size_t)c.first * 3 * (size_t)s->image * (size_t)s->image, c.n, s->image,
               s->patch);
    fc_linear_forward(&a->engine, a->norm, NULL, &patches, cols, NULL, c.n * (T - 1));

    /* x of block 0 = [cls; embedding] + pos (images T, D) */
    fc_tokens_forward(block_of(a, 0, c).x, a->norm, model_tensor(m, FC_VIT_CLS),
                      model_tensor(m, FC_VIT_POS), c.n, T, D);

    /* each block writes the next one's x, the last one out */
    for (int l = 0; l < s->depth; l++) {
        pass p = pass_of(a, m, l, c);
        attention_half_forward(&p, stats);
        mlp_half_forward(&p, l + 1 < s->depth ? block_of(a, l + 1, c).x : a->out, stats);
    }
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

    /* features = norm(top) (n, D) */
    fc_norm norm = norm_layer(m, block_tensor(s->depth, 0));
    fc_norm_forward(&a->engine, a->features, a->stat, &norm, a->top, n);
    feed_gram(stats, fc_vit_slots(s), a->features, n, s->width);

    /* logits = features W_head^T + b_head (n, classes) */
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

/* Of out = mid + fc2(GELU(fc1(norm2(mid)))): from dx = dout (rows, D) the gradient at norm2's
 * output, dnorm (rows, D), and those of the parameters of fc1, fc2 and the gate. */
static void mlp_half_backward(const pass *p, const fc_linear_grads *grads, const fc_grads *g)
{
    fc_acts *a = p->a;
    const fc_block_acts *b = &p->b;
    const fc_wemoe *wemoe = p->m->wemoe;
    int slot = 4 * p->l, rows = p->rows;
    size_t wide = (size_t)rows * (size_t)a->shape.hidden;
    if (wemoe)
        memset(a->dw, 0, (size_t)(p->c.n * wemoe->tasks) * sizeof *a->dw);

    /* dgelu = dout W_fc2 (rows, hidden), dW_fc2 += dout^T gelu (D, hidden) */
    if (a->keep_inputs)
        fc_gelu_forward(&a->engine, a->gelu, b->pre, wide);
    fc_linear_backward(&a->engine, a->dwide, &grads[FC2], &p->layer[FC2], a->dx, a->gelu,
                       b->xa[FC2], rows);
    experts_backward(a, b, a->dwide, p->m, slot + FC2, a->dx, a->gelu, rows);

    /* dpre = dgelu (Phi(pre) + pre phi(pre)), in place */
    if (a->keep_inputs)
        fc_gelu_backward(&a->engine, a->dwide, b->pre, wide);
    else
        fc_multiply_elements(&a->engine, a->dwide, b->pre, wide);

    /* dnorm = dpre W_fc1 (rows, D), dW_fc1 += dpre^T norm2(mid) (hidden, D) */
    if (a->keep_inputs)
        fc_norm_forward(&a->engine, a->norm, b->stat2, &p->norm2, b->mid, rows);
    fc_linear_backward(&a->engine, a->dnorm, &grads[FC1], &p->layer[FC1], a->dwide, a->norm,
                       b->xa[FC1], rows);
    experts_backward(a, b, a->dnorm, p->m, slot + FC1, a->dwide, a->norm, rows);

    /* dnorm += the way through w(norm), from dw */
    if (wemoe)
        gate_backward(a, b, p->m, p->l, p->c.n, g);
}

/* Of mid = x + attn.proj(attention(qkv(norm1(x)))): from dx = dmid (rows, D) dx = dx (all, D), if
 * anything below is trained, and the gradients of the parameters of qkv and attn.proj. */
static void attention_half_backward(const pass *p, const fc_linear_grads *grads, const fc_grads *g,
                                    bool below)
{
    fc_acts *a = p->a;
    const fc_block_acts *b = &p->b;

    /* datt = dmid W_proj (rows, D), dW_proj += dmid^T att (D, D) */
    fc_linear_backward(&a->engine, a->dnorm, &grads[PROJ], &p->layer[PROJ], a->dx, b->att,
                       b->xa[PROJ], p->rows);

    /* dqkv (all, 3 D): dv = P^T datt, dP = datt v^T, dq and dk through the softmax */
    attention_backward(a, b, p->c.n, p->rows / p->c.n);
    if (p->cls_only)
        scatter_cls(a->dx, p->c.n, fc_vit_tokens(&a->shape), a->shape.width);

    /* dnorm = dqkv W_qkv (all, D), dW_qkv += dqkv^T norm1(x) (3 D, D) */
    if (g->w || g->A)
        fc_norm_forward(&a->engine, a->norm, b->stat1, &p->norm1, b->x, p->all);
    if (p->cls_only)
        cls_qkv_backward(a, b, below, &grads[QKV], &p->layer[QKV], p->c.n);
    else
        fc_linear_backward(&a->engine, below ? a->dnorm : NULL, &grads[QKV], &p->layer[QKV],
                           a->dwide, a->norm, b->xa[QKV], p->all);

    /* dx = dmid + norm1'(dnorm) */
    if (below)
        norm_backward(&a->engine, a->dx, p->m, g, block_tensor(p->l, FC_N1W), a->dnorm, b->x,
                      b->stat1, p->all);
}

/* dx: gradient of the block's output in, of its input out (not for the lowest block if nothing
 * below it is trained). */
static void block_backward(fc_acts *a, const fc_model *m, int l, chunk c, const fc_grads *g)
{
    pass p = pass_of(a, m, l, c);
    bool below = l > 0 || g->w;
    fc_linear_grads grads[4];
    for (int i = 0; i < 4; i++)
        grads[i] = slot_grads(g, m, 4 * l + i);

    mlp_half_backward(&p, grads, g);
    if (!below && !g->A && !g->B)
        return;
    /* dmid = dout + norm2'(dnorm) */
    norm_backward(&a->engine, a->dx, m, g, block_tensor(l, FC_N2W), a->dnorm, p.b.mid, p.b.stat2,
                  p.rows);
    attention_half_backward(&p, grads, g, below);
}

/* Gradients of everything below the class tokens, from a->dtop. */
static void chunk_backward(fc_acts *a, const fc_model *m, chunk c, const fc_grads *g)
{
    const fc_vit_shape *s = &a->shape;
    int T = fc_vit_tokens(s), D = s->width, pixels = 3 * s->patch * s->patch;
    size_t top = (size_t)c.first * (size_t)D;

    /* dx of the last block's output: class tokens from dtop, other rows 0 */
    memcpy(a->dx, a->dtop + top, (size_t)c.n * (size_t)D * sizeof *a->dx);
    if (!a->cls_only)
        scatter_cls(a->dx, c.n, T, D);
    for (int l = s->depth - 1; l >= 0; l--)
        block_backward(a, m, l, c, g);
    if (!g->w)
        return;

    /* of [cls; embedding] + pos: dcls, dpos, and dW_patch += dembedding^T cols (D, 3 P^2) */
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
    fc_vit_backward_features(a, m, dlogits, NULL, g);
}

void fc_vit_backward_features(fc_acts *a, const fc_model *m, const fc_real *dlogits,
                              const fc_real *dfeatures, const fc_grads *g)
{
    const fc_vit_shape *s = &a->shape;
    int n = a->n;
    bool backbone = g->w || g->A || g->B || g->gates;

    /* dfeature = dlogits W_head (n, D), dW_head += dlogits^T features (classes, D) */
    fc_linear head = head_layer(m);
    fc_linear_grads head_grads = {.W = g->head_w, .b = g->head_b};
    fc_engine e = exact_engine(a);
    fc_linear_backward(&e, backbone ? a->dfeature : NULL, &head_grads, &head, dlogits, a->features,
                       NULL, n);
    if (!backbone)
        return;
    assert(a->keep && (a->keep_inputs || !(g->w || g->A)) && !m->smile);
    for (size_t i = 0; dfeatures && i < (size_t)n * (size_t)s->width; i++)
        a->dfeature[i] += dfeatures[i];

    /* dtop = norm'(dfeature) (n, D) */
    memset(a->dtop, 0, (size_t)n * (size_t)s->width * sizeof *a->dtop);
    norm_backward(&a->engine, a->dtop, m, g, block_tensor(s->depth, 0), a->dfeature, a->top,
                  a->stat, n);
    for (int first = 0; first < n; first += a->chunk)
        chunk_backward(a, m, chunk_at(a, first), g);
}
