#include "core/vit/experts.h"

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
    size_t sum = (size_t)rows * (size_t)cols * sizeof(fc_real) + ALIGN; /* of dense experts */
    size_t gradient = fc_matmul_bytes(e, rows, cols, n);
    return BUFFERS * ((size_t)n * wide * sizeof(fc_real) + ALIGN) + 2 * sum +
           larger(dense, gradient);
}

double fc_experts_flop(const fc_experts *x)
{
    double m = x->rows, n = x->cols, sum = 0;
    for (int i = 0; i < x->n; i++)
        sum += x->expert[i].dense ? m * n : (m + n) * x->expert[i].rank;
    return 2 * sum;
}

static fc_real *take_reals(fc_engine *e, int rows, size_t cols)
{
    return fc_engine_take(e, (size_t)rows * cols * sizeof(fc_real));
}

/* out (c, rows) = in (c, cols) Delta^T */
static void multiply_expert(fc_engine w, fc_real *out, const fc_experts *x, const fc_expert *d,
                            const fc_real *in, int c)
{
    if (d->dense) {
        /* out = in Delta^T    (c, cols) (cols, rows) */
        fc_matmul(&w, false, true, c, x->rows, x->cols, 1, in, x->cols, d->dense, x->cols, false,
                  out, x->rows);
    } else if (d->rank > 0) {
        /* h = in A^T (c, rank), out = h B^T (c, rows) */
        fc_real *h = take_reals(&w, c, (size_t)d->rank);
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
        fc_real *to = take_reals(&work, c, cols);
        in = to;
        for (int i = 0; i < n; i++)
            if (w[(size_t)(i / share) * E] != 0) {
                memcpy(to, X + (size_t)i * cols, cols * sizeof *to);
                to += cols;
            }
    }
    fc_real *out = take_reals(&work, c, m);
    multiply_expert(work, out, x, d, in, c);
    for (int i = 0; i < n; i++, Y += m) {
        fc_real weight = (fc_real)w[(size_t)(i / share) * E];
        if (weight == 0)
            continue;
        for (size_t j = 0; j < m; j++)
            Y[j] += weight * (out[j] + (d->bias ? d->bias[j] : 0));
        out += m;
    }
}

/* ---- dense experts that rows share -------------------------------------------------------- */

static bool is_shared(const fc_expert *d, int share)
{
    return d->dense && share > 1;
}

static bool any_shared(const fc_experts *x, int share)
{
    bool any = false;
    for (int i = 0; i < x->n; i++)
        any |= is_shared(&x->expert[i], share);
    return any;
}

/* M (rows, cols) = sum_e w_e Delta_e, row by row: M stays in the cache. */
static void sum_experts(fc_real *M, const fc_experts *x, const double *w)
{
    size_t n = (size_t)x->cols;
    for (size_t i = 0; i < (size_t)x->rows; i++, M += n) {
        memset(M, 0, n * sizeof *M);
        for (int k = 0; k < x->n; k++) {
            const fc_real *D = x->expert[k].dense, c = (fc_real)w[k];
            for (size_t j = 0; D && j < n; j++)
                M[j] += c * D[i * n + j];
        }
    }
}

/* The c rows of Y and X have the weights w. */
static void add_shared(fc_engine work, fc_real *Y, const fc_experts *x, const fc_real *X,
                       const double *w, int c)
{
    size_t m = (size_t)x->rows;
    fc_real *M = take_reals(&work, x->rows, (size_t)x->cols);
    sum_experts(M, x, w);
    /* Y += X M^T + sum_e w_e b_e    X (c, cols), M (rows, cols) */
    fc_matmul(&work, false, true, c, x->rows, x->cols, 1, X, x->cols, M, x->cols, true, Y, x->rows);
    for (int k = 0; k < x->n; k++)
        for (size_t i = 0; x->expert[k].dense && x->expert[k].bias && i < (size_t)c * m; i++)
            Y[i] += (fc_real)w[k] * x->expert[k].bias[i % m];
}

/* ---- all ---------------------------------------------------------------------------------- */

void fc_experts_forward(const fc_engine *e, fc_real *Y, const fc_experts *x, const fc_real *X,
                        const double *w, int share, int n)
{
    for (int i = 0; i < x->n; i++)
        if (!is_shared(&x->expert[i], share))
            add_expert(*e, Y, x, &x->expert[i], X, w + i, share, n);
    for (int i = 0; any_shared(x, share) && i < n; i += share)
        add_shared(*e, Y + (size_t)i * (size_t)x->rows, x, X + (size_t)i * (size_t)x->cols,
                   w + (size_t)(i / share) * (size_t)x->n, n - i < share ? n - i : share);
}

/* In a fixed order, with independent sums that vectors can hold. */
static double dot_product(const fc_real *a, const fc_real *b, size_t n)
{
    enum { LANES = 8 };
    double part[LANES] = {0}, sum = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t k = 0; k < LANES; k++)
            part[k] += (double)a[i + k] * (double)b[i + k];
    for (; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    for (size_t k = 0; k < LANES; k++)
        sum += part[k];
    return sum;
}

/* Of an expert that is not shared: with P = dY B and Q = X A^T (dense: P = dY Delta, Q = X),
 * dw = <P, Q> + <dY, b>, dX += w P A. */
static void expert_backward(fc_engine work, fc_real *dX, double *dw, const fc_experts *x,
                            const fc_expert *d, const fc_real *dY, const fc_real *X,
                            const double *w, int share, int n)
{
    size_t E = (size_t)x->n, m = (size_t)x->rows, k = (size_t)(d->dense ? x->cols : d->rank);
    fc_real *P = take_reals(&work, n, k), *Q = NULL;
    if (d->dense) {
        /* P = dY Delta    (n, rows) (rows, cols) */
        fc_matmul(&work, false, false, n, x->cols, x->rows, 1, dY, x->rows, d->dense, x->cols,
                  false, P, x->cols);
    } else if (k > 0) {
        /* P = dY B (n, rank), Q = X A^T (n, rank) */
        Q = take_reals(&work, n, k);
        fc_matmul(&work, false, false, n, d->rank, x->rows, 1, dY, x->rows, d->B, d->rank, false, P,
                  d->rank);
        fc_matmul(&work, false, true, n, d->rank, x->cols, 1, X, x->cols, d->A, x->cols, false, Q,
                  d->rank);
    }
    const fc_real *q = Q ? Q : X;
    for (size_t i = 0; i < (size_t)n; i++) {
        size_t at = i / (size_t)share * E;
        dw[at] += dot_product(P + i * k, q + i * k, k);
        if (d->bias)
            dw[at] += dot_product(dY + i * m, d->bias, m);
        for (size_t j = 0; j < k; j++)
            P[i * k + j] *= (fc_real)w[at];
    }
    for (size_t i = 0; d->dense && i < (size_t)n * k; i++)
        dX[i] += P[i];
    /* dX += w P A    (n, rank) (rank, cols) */
    if (!d->dense && k > 0)
        fc_matmul(&work, false, false, n, x->cols, d->rank, 1, P, d->rank, d->A, x->cols, true, dX,
                  x->cols);
}

/* c rows with the weights w: dX += dY sum_e w_e Delta_e, dw_e = <dY^T X, Delta_e> + <dY, b_e>. */
static void shared_backward(fc_engine work, fc_real *dX, double *dw, const fc_experts *x,
                            const fc_real *dY, const fc_real *X, const double *w, int c)
{
    size_t m = (size_t)x->rows, n = (size_t)x->cols;
    fc_real *M = take_reals(&work, x->rows, n), *G = take_reals(&work, x->rows, n);
    sum_experts(M, x, w);
    /* dX += dY M (c, cols), G = dY^T X (rows, cols) */
    fc_matmul(&work, false, false, c, x->cols, x->rows, 1, dY, x->rows, M, x->cols, true, dX,
              x->cols);
    fc_matmul(&work, true, false, x->rows, x->cols, c, 1, dY, x->rows, X, x->cols, false, G,
              x->cols);
    for (int k = 0; k < x->n; k++) {
        const fc_expert *d = &x->expert[k];
        if (!d->dense)
            continue;
        dw[k] += dot_product(G, d->dense, m * n);
        for (size_t i = 0; d->bias && i < (size_t)c; i++)
            dw[k] += dot_product(dY + i * m, d->bias, m);
    }
}

void fc_experts_backward(const fc_engine *e, fc_real *dX, double *dw, const fc_experts *x,
                         const fc_real *dY, const fc_real *X, const double *w, int share, int n)
{
    for (int i = 0; i < x->n; i++)
        if (!is_shared(&x->expert[i], share))
            expert_backward(*e, dX, dw + i, x, &x->expert[i], dY, X, w + i, share, n);
    for (int i = 0; any_shared(x, share) && i < n; i += share) {
        size_t row = (size_t)i, at = (size_t)(i / share) * (size_t)x->n;
        shared_backward(*e, dX + row * (size_t)x->cols, dw + at, x, dY + row * (size_t)x->rows,
                        X + row * (size_t)x->cols, w + at, n - i < share ? n - i : share);
    }
}

size_t fc_experts_numbers(const fc_experts *x)
{
    size_t n = 0, rows = (size_t)x->rows, cols = (size_t)x->cols;
    for (int e = 0; e < x->n; e++) {
        const fc_expert *p = &x->expert[e];
        n += p->dense ? rows * cols : (size_t)p->rank * (rows + cols);
        n += p->bias ? rows : 0;
    }
    return n;
}
