#include "core/vit/kernels.h"

#include <string.h>

/* ---- linear ------------------------------------------------------------------------------- */

size_t fc_linear_bytes(const fc_engine *e, int d_in, int d_out, int rank, int n)
{
    int wide = d_in > d_out ? d_in : d_out;
    fc_engine f = *e;
    f.bf16 = e->bf16 && !e->isa->panel; /* the larger operands: float, but for copies for BLAS */
    return fc_left_bytes(&f, n, wide) + fc_right_bytes(&f, wide, d_in + d_out) +
           3 * fc_right_bytes(&f, wide, rank + 64) + 3 * fc_left_bytes(&f, n, rank + 64) +
           fc_left_bytes(&f, wide, n + 64) + fc_right_bytes(&f, wide, n + 64);
}

static int stride_x(const fc_linear *l)
{
    return l->ldx ? l->ldx : l->d_in;
}

static int stride_y(const fc_linear *l)
{
    return l->ldy ? l->ldy : l->d_out;
}

fc_linear fc_linear_outputs(const fc_engine *e, const fc_linear *l, int first, int count,
                            fc_operand view[2])
{
    fc_linear part = *l;
    part.d_out = count;
    part.W += (size_t)first * (size_t)l->d_in;
    part.b += first;
    part.B += (size_t)first * (size_t)l->rank;
    part.forward = part.backward = NULL;
    if (l->forward && fc_right_columns(&view[0], e, l->forward, first))
        part.forward = &view[0];
    if (l->backward && fc_right_rows(&view[1], e, l->backward, first, count))
        part.backward = &view[1];
    return part;
}

void fc_linear_forward(const fc_engine *e, fc_real *y, fc_real *xa, const fc_linear *l,
                       const fc_real *x, const fc_real *res, int n)
{
    int o = l->d_out, d = l->d_in, r = l->rank;
    /* y = x W^T + b + res    x (n, d), W^T (d, o) */
    fc_engine w = *e;
    fc_operand X = fc_left(&w, false, n, d, x, stride_x(l)), XA, Bt;
    fc_operand Wt = l->forward ? *l->forward : fc_right(&w, true, o, d, l->W, d);
    fc_product p = {.C = y,
                    .ldc = stride_y(l),
                    .m = n,
                    .n = o,
                    .A = {&X},
                    .B = {&Wt},
                    .alpha = 1,
                    .bias = l->b,
                    .add = res,
                    .ldadd = stride_y(l)};
    if (r > 0) {
        /* xa = scale x A^T (n, r), and y += xa B^T in the same product */
        fc_operand At = fc_right(&w, true, r, d, l->A, d);
        fc_product q = {
            .C = xa, .ldc = r, .m = n, .n = r, .A = {&X}, .B = {&At}, .alpha = l->scale};
        fc_multiply(&w, &q);
        XA = fc_left(&w, false, n, r, xa, r);
        Bt = fc_right(&w, true, o, r, l->B, r);
        p.A[1] = &XA;
        p.B[1] = &Bt;
    }
    fc_multiply(&w, &p);
}

/* dyb (n, r) = scale dy B and dx = dy W + dyb A; dx may be NULL. */
static void backward_x(fc_engine *w, fc_real *dx, fc_real *dyb, const fc_linear *l,
                       const fc_real *dy, int n)
{
    int o = l->d_out, d = l->d_in, r = l->rank;
    fc_operand DY = fc_left(w, false, n, o, dy, stride_y(l)), DYB, A;
    if (r > 0) {
        /* dyb = scale dy B    dy (n, o), B (o, r) */
        fc_operand B = fc_right(w, false, r, o, l->B, r);
        fc_product q = {
            .C = dyb, .ldc = r, .m = n, .n = r, .A = {&DY}, .B = {&B}, .alpha = l->scale};
        fc_multiply(w, &q);
    }
    if (!dx)
        return;
    /* dx = dy W + dyb A    W (o, d), A (r, d) */
    fc_operand W = l->backward ? *l->backward : fc_right(w, false, d, o, l->W, d);
    fc_product p = {.C = dx, .ldc = d, .m = n, .n = d, .A = {&DY}, .B = {&W}, .alpha = 1};
    if (r > 0) {
        DYB = fc_left(w, false, n, r, dyb, r);
        A = fc_right(w, false, d, r, l->A, d);
        p.A[1] = &DYB;
        p.B[1] = &A;
    }
    fc_multiply(w, &p);
}

/* C (m, n), ldc = alpha A^T B with A (k, m), B (k, n). Where n is much smaller than m, as the
 * transpose of B^T A, since it is then cheaper to transpose B and C than A. t: scratch (n, m). */
static void transposed_product(const fc_engine *e, int m, int n, int k, fc_real alpha,
                               const fc_real *A, int lda, const fc_real *B, int ldb, fc_real *C,
                               int ldc, fc_real *t)
{
    if (m < 2 * n) {
        fc_matmul(e, true, false, m, n, k, alpha, A, lda, B, ldb, false, C, ldc);
        return;
    }
    fc_matmul(e, true, false, n, m, k, alpha, B, ldb, A, lda, false, t, m);
    e->isa->transpose(C, (size_t)ldc, t, (size_t)m, m, n, false);
}

/* dB (o, r) += dy^T xa */
static void backward_B(const fc_engine *e, fc_real *dB, const fc_linear *l, const fc_real *dy,
                       const fc_real *xa, int n)
{
    int o = l->d_out, r = l->rank;
    fc_engine w = *e;
    size_t O = (size_t)o, R = (size_t)r;
    fc_real *t = fc_engine_take(&w, R * O * sizeof *t);
    fc_real *sum = fc_engine_take(&w, R * O * sizeof *sum);
    transposed_product(&w, o, r, n, 1, dy, stride_y(l), xa, r, sum, r, t);
    for (size_t i = 0; i < O * R; i++)
        dB[i] += sum[i];
}

void fc_linear_backward(const fc_engine *e, fc_real *dx, const fc_linear_grads *g,
                        const fc_linear *l, const fc_real *dy, const fc_real *x, const fc_real *xa,
                        int n)
{
    int o = l->d_out, d = l->d_in, r = l->rank;
    fc_engine w = *e, f = *e;
    f.bf16 = false;
    /* dW += dy^T x    (o, n) (n, d) */
    if (g->W)
        fc_matmul(e, true, false, o, d, n, 1, dy, stride_y(l), x, stride_x(l), true, g->W, d);
    /* db += the sum of the rows of dy */
    if (g->b)
        for (size_t i = 0; i < (size_t)n; i++)
            e->isa->add_column_sums(g->b, dy + i * (size_t)stride_y(l), 1, o);
    if (g->B)
        backward_B(&f, g->B, l, dy, xa, n);
    if (!dx && !(g->A && r > 0))
        return;
    fc_real *dyb = fc_engine_take(&w, (size_t)n * (size_t)r * sizeof *dyb);
    backward_x(&w, dx, dyb, l, dy, n);
    /* dA += dyb^T x    (r, n) (n, d) */
    if (g->A && r > 0) {
        w.bf16 = false;
        fc_matmul(&w, true, false, r, d, n, 1, dyb, r, x, stride_x(l), true, g->A, d);
    }
}

/* ---- layer normalisation, GELU, softmax ----------------------------------------------------- */

void fc_norm_forward(const fc_engine *e, fc_real *y, fc_real *stat, const fc_norm *l,
                     const fc_real *x, int n)
{
    e->isa->norm_forward(y, stat, l->w, l->b, x, n, l->d);
}

void fc_norm_backward(const fc_engine *e, fc_real *dx, fc_real *dw, fc_real *db, const fc_norm *l,
                      const fc_real *dy, const fc_real *x, const fc_real *stat, int n)
{
    if (dx)
        e->isa->norm_backward_x(dx, l->w, dy, x, stat, n, l->d);
    if (dw)
        e->isa->norm_backward_w(dw, db, dy, x, stat, n, l->d);
}

void fc_gelu_forward(const fc_engine *e, fc_real *y, const fc_real *x, size_t n)
{
    e->isa->gelu_forward(y, x, n);
}

void fc_gelu_forward_derivative(const fc_engine *e, fc_real *y, fc_real *x, size_t n)
{
    e->isa->gelu_forward_derivative(y, x, n);
}

void fc_multiply_elements(const fc_engine *e, fc_real *y, const fc_real *x, size_t n)
{
    e->isa->multiply_elements(y, x, n);
}

void fc_gelu_backward(const fc_engine *e, fc_real *dy, const fc_real *x, size_t n)
{
    e->isa->gelu_backward(dy, x, n);
}

void fc_softmax(const fc_engine *e, fc_real *z, int n, int d)
{
    e->isa->softmax(z, n, d);
}

/* ---- attention ------------------------------------------------------------------------------ */

size_t fc_attention_bytes(const fc_engine *e, int T, int d_head)
{
    fc_engine f = *e;
    f.bf16 = e->bf16 && !e->isa->panel;
    int wide = (T > d_head ? T : d_head) + 64;
    return 2 * fc_left_bytes(&f, wide, wide) + fc_right_bytes(&f, wide, wide) +
           fc_left_bytes(&f, wide, d_head);
}

void fc_attention_forward(const fc_engine *e, fc_real *out, fc_real *P, const fc_real *qkv, int T,
                          int q, int heads, int d_head)
{
    int D = heads * d_head, ld = 3 * D;
    fc_real scale = 1 / sqrt((fc_real)d_head);
    for (int h = 0; h < heads; h++, P += (size_t)q * (size_t)T) {
        const fc_real *Q = qkv + h * d_head, *K = Q + D, *V = K + D;
        /* P = softmax(Q K^T / sqrt(d_head)) (q, T), out = P V (q, d_head) */
        fc_matmul(e, false, true, q, T, d_head, scale, Q, ld, K, ld, false, P, T);
        fc_softmax(e, P, q, T);
        fc_matmul(e, false, false, q, d_head, T, 1, P, T, V, ld, false, out + h * d_head, D);
    }
}

void fc_attention_backward(const fc_engine *e, fc_real *dqkv, const fc_real *dout,
                           const fc_real *qkv, const fc_real *P, int T, int q, int heads,
                           int d_head)
{
    int D = heads * d_head, ld = 3 * D;
    fc_real scale = 1 / sqrt((fc_real)d_head);
    fc_engine w = *e;
    fc_real *dP = fc_engine_take(&w, (size_t)q * (size_t)T * sizeof *dP);
    fc_real *t = fc_engine_take(&w, (size_t)T * (size_t)d_head * sizeof *t);
    for (int h = 0; h < heads; h++, P += (size_t)q * (size_t)T) {
        const fc_real *Q = qkv + h * d_head, *K = Q + D, *V = K + D, *dy = dout + h * d_head;
        fc_real *dq = dqkv + h * d_head, *dk = dq + D, *dv = dk + D;
        /* dV = P^T dout    (T, q) (q, d_head) */
        transposed_product(&w, T, d_head, q, 1, P, T, dy, D, dv, ld, t);
        /* dP = dout V^T (q, T), then through the softmax: P (dP - sum_t P dP) */
        fc_matmul(&w, false, true, q, T, d_head, 1, dy, D, V, ld, false, dP, T);
        e->isa->softmax_backward(dP, P, q, T);
        /* dQ = dP K / sqrt(d_head) (q, d_head), dK = dP^T Q / sqrt(d_head) (T, d_head) */
        fc_matmul(&w, false, false, q, d_head, T, scale, dP, T, K, ld, false, dq, ld);
        transposed_product(&w, T, d_head, q, scale, dP, T, Q, ld, dk, ld, t);
    }
}

/* ---- tokens ------------------------------------------------------------------------------- */

void fc_patches(fc_real *cols, const fc_real *x, int n, int image, int patch)
{
    int grid = image / patch;
    size_t line = (size_t)patch, plane = (size_t)image * (size_t)image;
    for (int i = 0; i < n; i++, x += 3 * plane)
        for (int gy = 0; gy < grid; gy++)
            for (int gx = 0; gx < grid; gx++)
                for (int c = 0; c < 3; c++)
                    for (int y = 0; y < patch; y++, cols += line) {
                        size_t row = (size_t)(gy * patch + y) * (size_t)image;
                        memcpy(cols, x + (size_t)c * plane + row + (size_t)gx * line,
                               line * sizeof *cols);
                    }
}

void fc_tokens_forward(fc_real *x, const fc_real *emb, const fc_real *cls, const fc_real *pos,
                       int n, int T, int D)
{
    size_t patches = (size_t)(T - 1) * (size_t)D;
    for (int i = 0; i < n; i++, emb += patches, x += patches + (size_t)D) {
        for (int j = 0; j < D; j++)
            x[j] = cls[j] + pos[j];
        for (size_t j = 0; j < patches; j++)
            x[(size_t)D + j] = emb[j] + pos[(size_t)D + j];
    }
}

void fc_tokens_backward(fc_real *demb, fc_real *dcls, fc_real *dpos, const fc_real *dx, int n,
                        int T, int D)
{
    size_t patches = (size_t)(T - 1) * (size_t)D;
    for (int i = 0; i < n; i++, demb += patches, dx += patches + (size_t)D) {
        memcpy(demb, dx + D, patches * sizeof *demb);
        for (int j = 0; j < D; j++)
            dcls[j] += dx[j];
        for (size_t j = 0; j < patches + (size_t)D; j++)
            dpos[j] += dx[j];
    }
}
