/* The portable kernels, one text for every instruction set: included by each isa_<name>.c, which is
 * compiled for that instruction set, so that the vectors below become its registers. */
#include "core/isa.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { LANES = 16 };
typedef fc_real lanes
    __attribute__((vector_size(LANES * sizeof(fc_real)), aligned(sizeof(fc_real))));
typedef uint32_t words __attribute__((vector_size(LANES * sizeof(uint32_t)), aligned(4)));
typedef uint16_t halves __attribute__((vector_size(LANES * sizeof(uint16_t)), aligned(2)));

INLINE lanes load(const fc_real *x)
{
    return *(const lanes *)(const void *)x;
}

INLINE void store(fc_real *x, lanes v)
{
    *(lanes *)(void *)x = v;
}

/* A tree of fixed shape: the same bits for every instruction set. */
INLINE fc_real lane_sum(lanes v)
{
    v += __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    v += __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
    return (v[0] + v[2]) + (v[1] + v[3]);
}

/* ---- transposition and packing -------------------------------------------------------------- */

/* Rows r[i] and r[i + s] exchange the off-diagonal blocks of size s. */
#define EXCHANGE(r, i, s, first, second)                                                           \
    do {                                                                                           \
        lanes a = (r)[i], b = (r)[(i) + (s)];                                                      \
        (r)[i] = __builtin_shufflevector(a, b, first);                                             \
        (r)[(i) + (s)] = __builtin_shufflevector(a, b, second);                                    \
    } while (0)
#define LIST(...) __VA_ARGS__

/* r, 16 rows of 16 numbers, becomes its transpose: rounds with blocks of 1, 2, 4, 8. */
INLINE void transpose_block(lanes r[LANES])
{
    _Pragma("GCC unroll 16") for (int i = 0; i < LANES; i += 2)
        EXCHANGE(r, i, 1, LIST(0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30),
                 LIST(1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31));
    _Pragma("GCC unroll 16") for (int i = 0; i < LANES / 2; i++) EXCHANGE(
        r, i / 2 * 4 + i % 2, 2, LIST(0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29),
        LIST(2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31));
    _Pragma("GCC unroll 16") for (int i = 0; i < LANES / 2; i++) EXCHANGE(
        r, i / 4 * 8 + i % 4, 4, LIST(0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27),
        LIST(4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31));
    _Pragma("GCC unroll 16") for (int i = 0; i < LANES / 2; i++)
        EXCHANGE(r, i, 8, LIST(0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23),
                 LIST(8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31));
}

/* Round to bf16 (nearest, ties to even; a NaN stays one), left in the upper half. */
INLINE uint32_t round_one(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    uint32_t rounded = u + 0x7fffu + (u >> 16 & 1u);
    return ((u & 0x7fffffffu) > 0x7f800000u ? u | 0x400000u : rounded) & 0xffff0000u;
}

#ifdef FC_REAL_DOUBLE
INLINE fc_real rounded(fc_real x)
{
    uint32_t u = round_one((float)x);
    float f;
    memcpy(&f, &u, sizeof f);
    return (fc_real)f;
}
#else
INLINE words round_lanes(lanes x)
{
    words u;
    memcpy(&u, &x, sizeof u);
    words nan = (words)((u & 0x7fffffffu) > 0x7f800000u), r = u + 0x7fffu + ((u >> 16) & 1u);
    return ((nan & (u | 0x400000u)) | (~nan & r)) & 0xffff0000u;
}

INLINE fc_real rounded(fc_real x)
{
    uint32_t u = round_one(x);
    fc_real f;
    memcpy(&f, &u, sizeof f);
    return f;
}
#endif

static void round_bf16(fc_real *dst, const fc_real *src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = rounded(src[i]);
}

/* Blocks at the edge are loaded with zeros behind their n numbers. */
INLINE lanes load_first(const fc_real *x, int n)
{
    if (n >= LANES)
        return load(x);
#ifdef FC_MASKED_LOAD
    return n > 0 ? FC_MASKED_LOAD(x, n) : (lanes){0};
#else
    lanes v = {0};
    for (int i = 0; i < n; i++)
        v[i] = x[i];
    return v;
#endif
}

static void transpose(fc_real *dst, size_t ldd, const fc_real *src, size_t ld, int rows, int cols,
                      bool round)
{
    for (int r = 0; r < rows; r += LANES)
        for (int c = 0; c < cols; c += LANES) {
            int nr = rows - r, nc = cols - c;
            lanes v[LANES];
            for (int i = 0; i < LANES; i++)
                v[i] = i < nc ? load_first(src + (size_t)(c + i) * ld + r, nr) : (lanes){0};
            transpose_block(v);
            for (int i = 0; i < LANES && i < nr; i++) {
                fc_real *to = dst + (size_t)(r + i) * ldd + c;
                if (nc >= LANES)
                    store(to, v[i]);
                else
                    memcpy(to, &v[i], (size_t)nc * sizeof *to);
            }
        }
    for (int r = 0; round && r < rows; r++)
        round_bf16(dst + (size_t)r * ldd, dst + (size_t)r * ldd, (size_t)cols);
}

static void pack(fc_real *dst, bool tb, int n, int k, const fc_real *B, size_t ldb, bool round)
{
    for (int j = 0; j < FC_PANEL; j += LANES) {
        if (!tb) {
            for (int p = 0; p < k; p++)
                store(dst + (size_t)p * FC_PANEL + j, load_first(B + (size_t)p * ldb + j, n - j));
            continue;
        }
        for (int p = 0; p < k; p += LANES) {
            lanes v[LANES];
            for (int i = 0; i < LANES; i++)
                v[i] = j + i < n ? load_first(B + (size_t)(j + i) * ldb + p, k - p) : (lanes){0};
            transpose_block(v);
            for (int i = 0; i < LANES && p + i < k; i++)
                store(dst + (size_t)(p + i) * FC_PANEL + j, v[i]);
        }
    }
    if (round)
        round_bf16(dst, dst, (size_t)k * FC_PANEL);
}

#ifndef FC_REAL_DOUBLE
INLINE halves to_bf16(lanes x)
{
#ifdef FC_CONVERT_BF16
    return FC_CONVERT_BF16(x);
#else
    return __builtin_convertvector(round_lanes(x) >> 16, halves);
#endif
}

/* Two numbers in bf16 as one word, the first in the lower half, as they lie in memory. Of two rows:
 * word i = (first[i], second[i]). */
INLINE words pairs_of_rows(lanes first, lanes second)
{
    return __builtin_convertvector(to_bf16(first), words) |
           __builtin_convertvector(to_bf16(second), words) << 16;
}

/* Of one row: word i = (x[2 i], x[2 i + 1]), n numbers and zeros behind. */
INLINE words pairs_of_row(const float *x, int n)
{
    halves a = to_bf16(load_first(x, n));
    halves b = n > LANES ? to_bf16(load_first(x + LANES, n - LANES)) : (halves){0};
    return (words)__builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14,
                                          15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28,
                                          29, 30, 31);
}

INLINE void store_words(uint16_t *to, words w)
{
    *(words *)(void *)to = w;
}

/* Row p of B (k rows) from x on, zero behind k. */
INLINE lanes row_of(const float *x, int p, int k, int n)
{
    return p < k ? load_first(x, n) : (lanes){0};
}

static void rows_bf16(uint16_t *dst, size_t ldd, bool ta, int m, int k, const fc_real *A,
                      size_t lda)
{
    for (int i = 0; !ta && i < m; i++)
        for (int p = 0; p < (int)ldd; p += 2 * LANES)
            store_words(dst + (size_t)i * ldd + p, pairs_of_row(A + (size_t)i * lda + p, k - p));
    for (int i = 0; ta && i < m; i += LANES)
        for (int p = 0; p < (int)ldd; p += 2 * LANES) {
            lanes v[LANES]; /* words, moved around as if they were floats */
            for (int l = 0; l < LANES; l++) {
                int q = p + 2 * l;
                const float *x = A + (size_t)q * lda + i;
                v[l] =
                    (lanes)pairs_of_rows(row_of(x, q, k, m - i), row_of(x + lda, q + 1, k, m - i));
            }
            transpose_block(v);
            for (int l = 0; l < LANES && i + l < m; l++)
                store_words(dst + (size_t)(i + l) * ldd + p, (words)v[l]);
        }
}

static void pack_bf16(uint16_t *dst, bool tb, int n, int k, int kp, const fc_real *B, size_t ldb)
{
    for (int j = 0; j < FC_PANEL; j += LANES) {
        for (int p = 0; !tb && p < kp; p += 2) {
            const float *x = B + (size_t)p * ldb + j;
            store_words(dst + (size_t)p * FC_PANEL + 2 * j,
                        pairs_of_rows(row_of(x, p, k, n - j), row_of(x + ldb, p + 1, k, n - j)));
        }
        for (int p = 0; tb && p < kp; p += 2 * LANES) { /* a row of B is a column of words */
            lanes v[LANES];
            for (int i = 0; i < LANES; i++)
                v[i] = (lanes)(j + i < n ? pairs_of_row(B + (size_t)(j + i) * ldb + p, k - p)
                                         : (words){0});
            transpose_block(v);
            for (int i = 0; i < LANES && p + 2 * i < kp; i++)
                store_words(dst + (size_t)(p + 2 * i) * FC_PANEL + 2 * j, (words)v[i]);
        }
    }
}
#endif

/* ---- layers --------------------------------------------------------------------------------- */

static void add_column_sums(fc_real *restrict db, const fc_real *dy, int n, int d)
{
    for (int i = 0; i < n; i++, dy += d)
        for (int j = 0; j < d; j++)
            db[j] += dy[j];
}

static void norm_forward(fc_real *restrict y, fc_real *stat, const fc_real *w, const fc_real *b,
                         const fc_real *x, int n, int d)
{
    int whole = d - d % LANES;
    for (int i = 0; i < n; i++, x += d, y += d, stat += 2) {
        lanes sum = {0}, square = {0};
        for (int j = 0; j < whole; j += LANES)
            sum += load(x + j);
        for (int j = whole; j < d; j++)
            sum[j - whole] += x[j];
        fc_real mean = lane_sum(sum) / (fc_real)d;
        for (int j = 0; j < whole; j += LANES) {
            lanes e = load(x + j) - mean;
            square += e * e;
        }
        for (int j = whole; j < d; j++)
            square[j - whole] += (x[j] - mean) * (x[j] - mean);
        fc_real rstd = 1 / sqrt(lane_sum(square) / (fc_real)d + (fc_real)1e-6);
        for (int j = 0; j < d; j++)
            y[j] = (x[j] - mean) * rstd * w[j] + b[j];
        stat[0] = mean;
        stat[1] = rstd;
    }
}

/* With x^ = (x - mean) rstd and e = dy w:  dx += rstd (e - mean(e) - x^ mean(e x^)). */
static void norm_backward_x(fc_real *restrict dx, const fc_real *w, const fc_real *dy,
                            const fc_real *x, const fc_real *stat, int n, int d)
{
    int whole = d - d % LANES;
    for (int i = 0; i < n; i++, dx += d, dy += d, x += d, stat += 2) {
        fc_real mean = stat[0], rstd = stat[1];
        lanes sum = {0}, dot = {0};
        for (int j = 0; j < whole; j += LANES) {
            lanes e = load(dy + j) * load(w + j);
            sum += e;
            dot += e * ((load(x + j) - mean) * rstd);
        }
        for (int j = whole; j < d; j++) {
            sum[j - whole] += dy[j] * w[j];
            dot[j - whole] += dy[j] * w[j] * ((x[j] - mean) * rstd);
        }
        fc_real e_mean = lane_sum(sum) / (fc_real)d, ex_mean = lane_sum(dot) / (fc_real)d;
        for (int j = 0; j < d; j++)
            dx[j] += rstd * (dy[j] * w[j] - e_mean - (x[j] - mean) * rstd * ex_mean);
    }
}

static void norm_backward_w(fc_real *restrict dw, fc_real *restrict db, const fc_real *dy,
                            const fc_real *x, const fc_real *stat, int n, int d)
{
    for (int i = 0; i < n; i++, dy += d, x += d, stat += 2)
        for (int j = 0; j < d; j++) {
            dw[j] += dy[j] * (x[j] - stat[0]) * stat[1];
            db[j] += dy[j];
        }
}

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

static void gelu_forward(fc_real *restrict y, const fc_real *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] * normal_cdf(x[i], exp_of_negative((fc_real)-0.5 * x[i] * x[i]));
}

/* d(x Phi) = Phi + x phi, phi = e^(-x^2/2) / sqrt(2 pi) */
static void gelu_backward(fc_real *restrict dy, const fc_real *x, size_t n)
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

static void softmax(fc_real *z, int n, int d)
{
    int whole = d - d % LANES;
    for (int i = 0; i < n; i++, z += d) {
        fc_real max = row_max(z, d);
        for (int j = 0; j < d; j++)
            z[j] = exp_of_negative(z[j] - max);
        lanes sum = {0};
        for (int j = 0; j < whole; j += LANES)
            sum += load(z + j);
        for (int j = whole; j < d; j++)
            sum[j - whole] += z[j];
        fc_real inverse = 1 / lane_sum(sum);
        for (int j = 0; j < d; j++)
            z[j] *= inverse;
    }
}

/* dP <- P * (dP - rowsum(dP * P)), the gradient of the softmax's argument. */
static void softmax_backward(fc_real *restrict dP, const fc_real *P, int n, int d)
{
    int whole = d - d % LANES;
    for (int i = 0; i < n; i++, dP += d, P += d) {
        lanes sum = {0};
        for (int j = 0; j < whole; j += LANES)
            sum += load(dP + j) * load(P + j);
        for (int j = whole; j < d; j++)
            sum[j - whole] += dP[j] * P[j];
        fc_real dot = lane_sum(sum);
        for (int j = 0; j < d; j++)
            dP[j] = P[j] * (dP[j] - dot);
    }
}

/* The layers' part of a table. */
#define FC_ISA_LAYERS                                                                              \
    .add_column_sums = add_column_sums, .norm_forward = norm_forward,                              \
    .norm_backward_x = norm_backward_x, .norm_backward_w = norm_backward_w,                        \
    .gelu_forward = gelu_forward, .gelu_backward = gelu_backward, .softmax = softmax,              \
    .softmax_backward = softmax_backward
/* The packing part. */
#ifdef FC_REAL_DOUBLE
#define FC_ISA_PACKING .transpose = transpose, .pack = pack, .round_bf16 = round_bf16
#else
#define FC_ISA_PACKING                                                                             \
    .transpose = transpose, .pack = pack, .round_bf16 = round_bf16, .pack_bf16 = pack_bf16,        \
    .rows_bf16 = rows_bf16
#endif
