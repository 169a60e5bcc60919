/* The forward pass of a ViT from its definition: one image, one token at a time, in double. */
#ifndef FC_TEST_SLOW_VIT_H
#define FC_TEST_SLOW_VIT_H

#include "core/vit/vit.h"

#include <math.h>
#include <stdlib.h>

/* Y (T, d_out) = the layer of a slot, of the tokens X (T, d_in) of one image. */
typedef void slow_layer(double *Y, void *ctx, int slot, const double *X, int T);

static inline double *slow_numbers(int n)
{
    return calloc((size_t)n, sizeof(double));
}

/* y (d_out) = W x + b */
static inline void slow_linear(double *y, const fc_real *W, const fc_real *b, const double *x,
                               int d_out, int d_in)
{
    for (int o = 0; o < d_out; o++) {
        y[o] = b ? (double)b[o] : 0;
        for (int i = 0; i < d_in; i++)
            y[o] += (double)W[o * d_in + i] * x[i];
    }
}

static inline void slow_norm(double *y, const fc_real *w, const double *x, int D)
{
    double mean = 0, var = 0;
    for (int i = 0; i < D; i++)
        mean += x[i] / D;
    for (int i = 0; i < D; i++)
        var += (x[i] - mean) * (x[i] - mean) / D;
    for (int i = 0; i < D; i++)
        y[i] = (x[i] - mean) / sqrt(var + 1e-6) * (double)w[i] + (double)w[D + i];
}

static inline void slow_attention(double *out, const double *qkv, int T, int H, int D)
{
    int d = D / H;
    double *p = slow_numbers(T);
    for (int h = 0; h < H; h++)
        for (int t = 0; t < T; t++) {
            double sum = 0;
            for (int u = 0; u < T; u++) {
                double dot = 0;
                for (int i = h * d; i < (h + 1) * d; i++)
                    dot += qkv[t * 3 * D + i] * qkv[u * 3 * D + D + i];
                sum += p[u] = exp(dot / sqrt(d));
            }
            for (int i = h * d; i < (h + 1) * d; i++) {
                out[t * D + i] = 0;
                for (int u = 0; u < T; u++)
                    out[t * D + i] += p[u] / sum * qkv[u * 3 * D + 2 * D + i];
            }
        }
    free(p);
}

/* x (T, D): block l, in place. */
static inline void slow_block(double *x, const fc_vit_shape *s, const fc_real *w, int l,
                              slow_layer *layer, void *ctx)
{
    int T = fc_vit_tokens(s), D = s->width, hidden = s->hidden;
    const fc_real *norm1 = w + fc_vit_offset(s, FC_VIT_BLOCK0 + FC_VIT_PER_BLOCK * l + FC_N1W);
    const fc_real *norm2 = w + fc_vit_offset(s, FC_VIT_BLOCK0 + FC_VIT_PER_BLOCK * l + FC_N2W);
    double *h = slow_numbers(T * D), *qkv = slow_numbers(T * 3 * D), *add = slow_numbers(T * D);
    double *wide = slow_numbers(T * hidden);
    for (int t = 0; t < T; t++)
        slow_norm(h + t * D, norm1, x + t * D, D);
    layer(qkv, ctx, 4 * l, h, T);
    slow_attention(h, qkv, T, s->heads, D);
    layer(add, ctx, 4 * l + 1, h, T);
    for (int i = 0; i < T * D; i++)
        x[i] += add[i];
    for (int t = 0; t < T; t++)
        slow_norm(h + t * D, norm2, x + t * D, D);
    layer(wide, ctx, 4 * l + 2, h, T);
    for (int i = 0; i < T * hidden; i++)
        wide[i] = 0.5 * wide[i] * erfc(-wide[i] / sqrt(2.0));
    layer(add, ctx, 4 * l + 3, wide, T);
    for (int i = 0; i < T * D; i++)
        x[i] += add[i];
    free(h);
    free(qkv);
    free(add);
    free(wide);
}

/* features (D) of the image (3, side, side). */
static inline void slow_vit(double *features, const fc_vit_shape *s, const fc_real *w,
                            const fc_real *image, slow_layer *layer, void *ctx)
{
    int T = fc_vit_tokens(s), D = s->width, P = s->patch, side = s->image, grid = side / P;
    const fc_real *pos = w + fc_vit_offset(s, FC_VIT_POS);
    double *x = slow_numbers(T * D), *patch = slow_numbers(3 * P * P);
    for (int i = 0; i < D; i++)
        x[i] = (double)w[fc_vit_offset(s, FC_VIT_CLS) + (size_t)i];
    for (int t = 1; t < T; t++) {
        int top = (t - 1) / grid * P, left = (t - 1) % grid * P;
        for (int i = 0; i < 3 * P * P; i++)
            patch[i] =
                (double)image[i / (P * P) * side * side + (top + i / P % P) * side + left + i % P];
        slow_linear(x + t * D, w + fc_vit_offset(s, FC_VIT_PATCH_W),
                    w + fc_vit_offset(s, FC_VIT_PATCH_B), patch, D, 3 * P * P);
    }
    for (int i = 0; i < T * D; i++)
        x[i] += (double)pos[i];
    for (int l = 0; l < s->depth; l++)
        slow_block(x, s, w, l, layer, ctx);
    slow_norm(features, w + fc_vit_offset(s, FC_VIT_BLOCK0 + FC_VIT_PER_BLOCK * s->depth), x, D);
    free(x);
    free(patch);
}

#endif
