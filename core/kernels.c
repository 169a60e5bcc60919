#include "core/kernels.h"
#include "core/gemm.h"

#include <stdint.h>
#include <string.h>

/* One binary for all x86-64: the loops are compiled for three widths and the loader takes the best.
 * Without contraction to fma, and with sums over a fixed number of lanes, all widths give the same
 * bits. (clang 14 hides the dispatched function from other files.) */
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__)
#define WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDE
#endif
#define INLINE static inline __attribute__((always_inline))

enum { LANES = 16 };
typedef fc_real lanes
    __attribute__((vector_size(LANES * sizeof(fc_real)), aligned(sizeof(fc_real))));

/* The lanes of a row that has n - j >= LANES numbers from j on. */
INLINE const lanes *at(const fc_real *x, int j)
{
    return (const lanes *)(const void *)(x + j);
}

INLINE fc_real lane_sum(const lanes *v)
{
    fc_real s = 0;
    for (int i = 0; i < LANES; i++)
        s += (*v)[i];
    return s;
}

/* ---- linear ------------------------------------------------------------------------------- */

WIDE static void add_bias(fc_real *y, const fc_real *res, const fc_real *b, int n, int d)
{
    for (int i = 0; i < n; i++, y += d, res += d)
        for (int j = 0; j < d; j++)
            y[j] = res[j] + b[j];
}

WIDE static void add_column_sums(fc_real *restrict db, const fc_real *dy, int n, int d)
{
    for (int i = 0; i < n; i++, dy += d)
        for (int j = 0; j < d; j++)
            db[j] += dy[j];
}

void fc_linear_forward(fc_real *y, fc_real *xa, const fc_linear *l, const fc_real *x,
                       const fc_real *res, int n)
{
    int o = l->d_out, d = l->d_in, r = l->rank;
    /* The products accumulate, so that bias and residual cost one pass that also clears y. */
    if (res)
        add_bias(y, res, l->b, n, o);
    else
        for (int i = 0; i < n; i++)
            memcpy(y + (size_t)i * (size_t)o, l->b, (size_t)o * sizeof *y);
    fc_gemm(false, true, n, o, d, 1, x, d, l->W, d, 1, y, o);
    if (r > 0) {
        fc_gemm(false, true, n, r, d, 1, x, d, l->A, d, 0, xa, r);
        fc_gemm(false, true, n, o, r, l->scale, xa, r, l->B, r, 1, y, o);
    }
}

void fc_linear_backward(fc_real *dx, const fc_linear_grads *g, fc_real *dyb, const fc_linear *l,
                        const fc_real *dy, const fc_real *x, const fc_real *xa, int n)
{
    int o = l->d_out, d = l->d_in, r = l->rank;
    if (dx)
        fc_gemm(false, false, n, d, o, 1, dy, o, l->W, d, 0, dx, d);
    if (g->W)
        fc_gemm(true, false, o, d, n, 1, dy, o, x, d, 1, g->W, d);
    if (g->b)
        add_column_sums(g->b, dy, n, o);
    if (g->B)
        fc_gemm(true, false, o, r, n, l->scale, dy, o, xa, r, 1, g->B, r);
    if (r == 0 || !(dx || g->A))
        return;
    fc_gemm(false, false, n, r, o, l->scale, dy, o, l->B, r, 0, dyb, r);
    if (g->A)
        fc_gemm(true, false, r, d, n, 1, dyb, r, x, d, 1, g->A, d);
    if (dx)
        fc_gemm(false, false, n, d, r, 1, dyb, r, l->A, d, 1, dx, d);
}

/* ---- layer normalisation ------------------------------------------------------------------ */

WIDE void fc_norm_forward(fc_real *restrict y, fc_real *stat, const fc_norm *l, const fc_real *x,
                          int n)
{
    int d = l->d, whole = d - d % LANES;
    const fc_real *w = l->w, *b = l->b;
    for (int i = 0; i < n; i++, x += d, y += d, stat += 2) {
        lanes sum = {0}, square = {0};
        for (int j = 0; j < whole; j += LANES)
            sum += *at(x, j);
        for (int j = whole; j < d; j++)
            sum[j - whole] += x[j];
        fc_real mean = lane_sum(&sum) / (fc_real)d;
        for (int j = 0; j < whole; j += LANES) {
            lanes e = *at(x, j) - mean;
            square += e * e;
        }
        for (int j = whole; j < d; j++)
            square[j - whole] += (x[j] - mean) * (x[j] - mean);
        fc_real rstd = 1 / sqrt(lane_sum(&square) / (fc_real)d + (fc_real)1e-6);
        for (int j = 0; j < d; j++)
            y[j] = (x[j] - mean) * rstd * w[j] + b[j];
        stat[0] = mean;
        stat[1] = rstd;
    }
}

/* With x^ = (x - mean) rstd and e = dy w:  dx += rstd (e - mean(e) - x^ mean(e x^)). */
WIDE static void norm_backward_x(fc_real *restrict dx, const fc_norm *l, const fc_real *dy,
                                 const fc_real *x, const fc_real *stat, int n)
{
    int d = l->d, whole = d - d % LANES;
    const fc_real *w = l->w;
    for (int i = 0; i < n; i++, dx += d, dy += d, x += d, stat += 2) {
        fc_real mean = stat[0], rstd = stat[1];
        lanes sum = {0}, dot = {0};
        for (int j = 0; j < whole; j += LANES) {
            lanes e = *at(dy, j) * *at(w, j);
            sum += e;
            dot += e * ((*at(x, j) - mean) * rstd);
        }
        for (int j = whole; j < d; j++) {
            sum[j - whole] += dy[j] * w[j];
            dot[j - whole] += dy[j] * w[j] * ((x[j] - mean) * rstd);
        }
        fc_real e_mean = lane_sum(&sum) / (fc_real)d, ex_mean = lane_sum(&dot) / (fc_real)d;
        for (int j = 0; j < d; j++)
            dx[j] += rstd * (dy[j] * w[j] - e_mean - (x[j] - mean) * rstd * ex_mean);
    }
}

WIDE static void norm_backward_w(fc_real *restrict dw, fc_real *restrict db, const fc_real *dy,
                                 const fc_real *x, const fc_real *stat, int n, int d)
{
    for (int i = 0; i < n; i++, dy += d, x += d, stat += 2)
        for (int j = 0; j < d; j++) {
            dw[j] += dy[j] * (x[j] - stat[0]) * stat[1];
            db[j] += dy[j];
        }
}

void fc_norm_backward(fc_real *dx, fc_real *dw, fc_real *db, const fc_norm *l, const fc_real *dy,
                      const fc_real *x, const fc_real *stat, int n)
{
    if (dx)
        norm_backward_x(dx, l, dy, x, stat, n);
    if (dw)
        norm_backward_w(dw, db, dy, x, stat, n, l->d);
}

/* ---- GELU and softmax --------------------------------------------------------------------- */

#ifdef FC_REAL_DOUBLE
INLINE double exp_of_negative(double x)
{
    return exp(x);
}

INLINE double normal_cdf(double x, double e)
{
    (void)e;
    return 0.5 * erfc(-x * 0.70710678118654752);
}
#else
/* e^x for x <= 0, relative error < 2e-7; below -87 the value of -87 (1.6e-38).
 * x = k ln 2 + r, |r| <= ln 2 / 2; e^r by a polynomial of degree 6 fitted to relative error 4e-9;
 * 2^k through the exponent bits. Adding 1.5 * 2^23 rounds to an integer in the low bits. */
INLINE float exp_of_negative(float x)
{
    x = x < -87.0f ? -87.0f : x;
    float shifted = x * 1.44269504f + 12582912.0f, k = shifted - 12582912.0f;
    float r = x - k * 0.693359375f + k * 2.12194440e-4f;
    float p = 0.0013814596f;
    p = p * r + 0.0083687175f;
    p = p * r + 0.04166839f;
    p = p * r + 0.16666521f;
    p = p * r + 0.49999994f;
    p = p * r * r + r + 1.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << 23) + 0x3f800000u;
    float power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

/* Phi(x), given e = e^(-x^2/2): Phi(-|x|) = e P(u), u = 1 / (1 + 0.28 |x|): the form of Abramowitz
 * and Stegun 26.2.17 with P of degree 6 fitted to 1e-8; |error| < 2e-7 in float arithmetic. */
INLINE float normal_cdf(float x, float e)
{
    float t = fabsf(x), u = 1.0f / (1.0f + 0.28f * t);
    float p = -0.10580854f;
    p = p * u + 0.38987526f;
    p = p * u - 0.23699555f;
    p = p * u + 0.26891187f;
    p = p * u + 0.06749606f;
    p = p * u + 0.11652089f;
    float tail = e * p * u;
    return 0.5f + copysignf(0.5f - tail, x);
}
#endif

WIDE void fc_gelu_forward(fc_real *restrict y, const fc_real *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] * normal_cdf(x[i], exp_of_negative((fc_real)-0.5 * x[i] * x[i]));
}

/* d(x Phi) = Phi + x phi, phi = e^(-x^2/2) / sqrt(2 pi) */
WIDE void fc_gelu_backward(fc_real *restrict dy, const fc_real *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        fc_real e = exp_of_negative((fc_real)-0.5 * x[i] * x[i]);
        dy[i] *= normal_cdf(x[i], e) + x[i] * (e * (fc_real)0.39894228040143268);
    }
}

INLINE fc_real row_max(const fc_real *z, int d)
{
    fc_real m[LANES];
    for (int k = 0; k < LANES; k++)
        m[k] = z[k < d ? k : 0];
    int j = LANES;
    for (; j + LANES <= d; j += LANES)
        for (int k = 0; k < LANES; k++)
            m[k] = z[j + k] > m[k] ? z[j + k] : m[k];
    for (; j < d; j++)
        m[0] = z[j] > m[0] ? z[j] : m[0];
    for (int k = 1; k < LANES; k++)
        m[0] = m[k] > m[0] ? m[k] : m[0];
    return m[0];
}

WIDE void fc_softmax(fc_real *z, int n, int d)
{
    int whole = d - d % LANES;
    for (int i = 0; i < n; i++, z += d) {
        fc_real max = row_max(z, d);
        for (int j = 0; j < d; j++)
            z[j] = exp_of_negative(z[j] - max);
        lanes sum = {0};
        for (int j = 0; j < whole; j += LANES)
            sum += *at(z, j);
        for (int j = whole; j < d; j++)
            sum[j - whole] += z[j];
        fc_real inverse = 1 / lane_sum(&sum);
        for (int j = 0; j < d; j++)
            z[j] *= inverse;
    }
}

/* ---- attention ---------------------------------------------------------------------------- */

/* dP <- P * (dP - rowsum(dP * P)), the gradient of the softmax's argument. */
WIDE static void softmax_backward(fc_real *restrict dP, const fc_real *P, int n, int d)
{
    int whole = d - d % LANES;
    for (int i = 0; i < n; i++, dP += d, P += d) {
        lanes sum = {0};
        for (int j = 0; j < whole; j += LANES)
            sum += *at(dP, j) * *at(P, j);
        for (int j = whole; j < d; j++)
            sum[j - whole] += dP[j] * P[j];
        fc_real dot = lane_sum(&sum);
        for (int j = 0; j < d; j++)
            dP[j] = P[j] * (dP[j] - dot);
    }
}

void fc_attention_forward(fc_real *out, fc_real *P, const fc_real *qkv, int T, int heads,
                          int d_head)
{
    int D = heads * d_head;
    fc_real scale = 1 / sqrt((fc_real)d_head);
    for (int h = 0; h < heads; h++, P += (size_t)T * (size_t)T) {
        const fc_real *q = qkv + h * d_head, *k = q + D, *v = k + D;
        fc_gemm(false, true, T, T, d_head, scale, q, 3 * D, k, 3 * D, 0, P, T);
        fc_softmax(P, T, T);
        fc_gemm(false, false, T, d_head, T, 1, P, T, v, 3 * D, 0, out + h * d_head, D);
    }
}

void fc_attention_backward(fc_real *dqkv, fc_real *dP, const fc_real *dout, const fc_real *qkv,
                           const fc_real *P, int T, int heads, int d_head)
{
    int D = heads * d_head;
    fc_real scale = 1 / sqrt((fc_real)d_head);
    for (int h = 0; h < heads; h++, P += (size_t)T * (size_t)T) {
        const fc_real *q = qkv + h * d_head, *k = q + D, *v = k + D, *dy = dout + h * d_head;
        fc_real *dq = dqkv + h * d_head, *dk = dq + D, *dv = dk + D;
        fc_gemm(true, false, T, d_head, T, 1, P, T, dy, D, 0, dv, 3 * D);
        fc_gemm(false, true, T, T, d_head, 1, dy, D, v, 3 * D, 0, dP, T);
        softmax_backward(dP, P, T, T);
        fc_gemm(false, false, T, d_head, T, scale, dP, T, k, 3 * D, 0, dq, 3 * D);
        fc_gemm(true, false, T, d_head, T, scale, dP, T, q, 3 * D, 0, dk, 3 * D);
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
