#include "core/experts.h"

#include <string.h>

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

size_t fc_experts_bytes(const fc_engine *e, int rows, int cols, int n)
{
    enum { BUFFERS = 3, ALIGN = 64 };
    size_t wide = (size_t)(rows > cols ? rows : cols);
    size_t dense = larger(fc_matmul_bytes(e, n, rows, cols), fc_matmul_bytes(e, n, cols, rows));
    /* thin products: rank <= rows and cols, and panels are padded */
    return BUFFERS * ((size_t)n * wide * sizeof(fc_real) + ALIGN) + dense;
}

double fc_experts_flop(const fc_experts *x)
{
    double m = x->rows, n = x->cols, sum = 0;
    for (int i = 0; i < x->n; i++)
        sum += x->expert[i].dense ? m * n : (m + n) * x->expert[i].rank;
    return 2 * sum;
}

static fc_real *take(fc_engine *e, int rows, size_t cols)
{
    return fc_engine_take(e, (size_t)rows * cols * sizeof(fc_real));
}

/* out (c, rows) = in (c, cols) Delta^T */
static void multiply(fc_engine w, fc_real *out, const fc_experts *x, const fc_expert *d,
                     const fc_real *in, int c)
{
    if (d->dense) {
        fc_matmul(&w, false, true, c, x->rows, x->cols, 1, in, x->cols, d->dense, x->cols, false,
                  out, x->rows);
    } else if (d->rank > 0) {
        fc_real *h = take(&w, c, (size_t)d->rank);
        fc_matmul(&w, false, true, c, d->rank, x->cols, 1, in, x->cols, d->A, x->cols, false, h,
                  d->rank);
        fc_matmul(&w, false, true, c, x->rows, d->rank, 1, h, d->rank, d->B, d->rank, false, out,
                  x->rows);
    } else {
        memset(out, 0, (size_t)c * (size_t)x->rows * sizeof *out);
    }
}

/* w: weights of this expert, x->n apart. */
static void add_expert(fc_engine work, fc_real *Y, const fc_experts *x, const fc_expert *d,
                       const fc_real *X, const double *w, int share, int n)
{
    size_t E = (size_t)x->n, m = (size_t)x->rows, cols = (size_t)x->cols;
    int c = 0;
    for (int i = 0; i < n; i++)
        c += w[(size_t)(i / share) * E] != 0;
    if (c == 0)
        return;
    const fc_real *in = X;
    if (c < n) {
        fc_real *to = take(&work, c, cols);
        in = to;
        for (int i = 0; i < n; i++)
            if (w[(size_t)(i / share) * E] != 0) {
                memcpy(to, X + (size_t)i * cols, cols * sizeof *to);
                to += cols;
            }
    }
    fc_real *out = take(&work, c, m);
    multiply(work, out, x, d, in, c);
    for (int i = 0; i < n; i++, Y += m) {
        fc_real weight = (fc_real)w[(size_t)(i / share) * E];
        if (weight == 0)
            continue;
        for (size_t j = 0; j < m; j++)
            Y[j] += weight * (out[j] + (d->bias ? d->bias[j] : 0));
        out += m;
    }
}

void fc_experts_forward(const fc_engine *e, fc_real *Y, const fc_experts *x, const fc_real *X,
                        const double *w, int share, int n)
{
    for (int i = 0; i < x->n; i++)
        add_expert(*e, Y, x, &x->expert[i], X, w + i, share, n);
}

static double dot(const fc_real *a, const fc_real *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* With P = dY B and Q = X A^T (dense: P = dY Delta, Q = X): dw = <P, Q> + <dY, b>, dX += w P A. */
static void expert_backward(fc_engine work, fc_real *dX, double *dw, const fc_experts *x,
                            const fc_expert *d, const fc_real *dY, const fc_real *X,
                            const double *w, int share, int n)
{
    size_t E = (size_t)x->n, m = (size_t)x->rows, k = (size_t)(d->dense ? x->cols : d->rank);
    fc_real *P = take(&work, n, k), *Q = NULL;
    if (d->dense) {
        fc_matmul(&work, false, false, n, x->cols, x->rows, 1, dY, x->rows, d->dense, x->cols,
                  false, P, x->cols);
    } else if (k > 0) {
        Q = take(&work, n, k);
        fc_matmul(&work, false, false, n, d->rank, x->rows, 1, dY, x->rows, d->B, d->rank, false, P,
                  d->rank);
        fc_matmul(&work, false, true, n, d->rank, x->cols, 1, X, x->cols, d->A, x->cols, false, Q,
                  d->rank);
    }
    const fc_real *q = Q ? Q : X;
    for (size_t i = 0; i < (size_t)n; i++) {
        size_t at = i / (size_t)share * E;
        dw[at] += dot(P + i * k, q + i * k, k);
        if (d->bias)
            dw[at] += dot(dY + i * m, d->bias, m);
        for (size_t j = 0; j < k; j++)
            P[i * k + j] *= (fc_real)w[at];
    }
    for (size_t i = 0; d->dense && i < (size_t)n * k; i++)
        dX[i] += P[i];
    if (!d->dense && k > 0)
        fc_matmul(&work, false, false, n, x->cols, d->rank, 1, P, d->rank, d->A, x->cols, true, dX,
                  x->cols);
}

void fc_experts_backward(const fc_engine *e, fc_real *dX, double *dw, const fc_experts *x,
                         const fc_real *dY, const fc_real *X, const double *w, int share, int n)
{
    for (int i = 0; i < x->n; i++)
        expert_backward(*e, dX, dw + i, x, &x->expert[i], dY, X, w + i, share, n);
}
