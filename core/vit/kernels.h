/* The layers of a Vision Transformer as forward + backward pairs on raw pointers.
 *
 * Row-major, rows = images x tokens. Everything is serial, allocates nothing and gives the same
 * bits on every call; e says with which kernels, and lends its scratch. Gradients of parameters are
 * added to (+=); a NULL gradient is a frozen parameter and costs nothing. Outputs must not alias
 * inputs unless said otherwise. */
#ifndef FC_KERNELS_H
#define FC_KERNELS_H

#include "core/base/real.h"
#include "core/linalg/gemm.h"

#include <stddef.h>

/* y = x W^T + b + scale (x A^T) B^T     linear layer with an optional LoRA branch (Hu et al. 2022,
 * eq. 3), always in factored form: W + B A is never built. */
typedef struct fc_linear {
    int d_in, d_out;
    int rank;         /* 0: no LoRA branch, A and B unused */
    const fc_real *W; /* (d_out, d_in) */
    const fc_real *b; /* (d_out) */
    const fc_real *A; /* (rank, d_in) */
    const fc_real *B; /* (d_out, rank) */
    fc_real scale;
    int ldx, ldy; /* numbers between the rows of x, and of y and dy; 0: d_in, d_out */
    /* W^T and W as right operands, prepared once; NULL: prepared in every call. */
    const fc_operand *forward, *backward;
} fc_linear;

/* The layer of outputs first .. first + count - 1, a view. e: what the operands were prepared for.
 */
fc_linear fc_linear_outputs(const fc_engine *e, const fc_linear *l, int first, int count,
                            fc_operand view[2]);

/* Gradients of a linear layer, each NULL or of the shape above. */
typedef struct fc_linear_grads {
    fc_real *W, *b, *A, *B;
} fc_linear_grads;

/* Scratch of the two functions below, a bound. */
size_t fc_linear_bytes(const fc_engine *e, int d_in, int d_out, int rank, int n);

/* y (n, d_out) = res + layer(x), x (n, d_in); res (n, d_out) may be NULL (= 0) or y itself.
 * xa (n, rank) receives scale x A^T, which backward needs. */
void fc_linear_forward(const fc_engine *e, fc_real *y, fc_real *xa, const fc_linear *l,
                       const fc_real *x, const fc_real *res, int n);
/* dx (n, d_in) is written; NULL: not wanted. dy (n, d_out). x (n, d_in) is read only for the
 * gradients of W and A, xa only for that of B. The gradients of A and B are float products always:
 * they are thin, and cost little. */
void fc_linear_backward(const fc_engine *e, fc_real *dx, const fc_linear_grads *g,
                        const fc_linear *l, const fc_real *dy, const fc_real *x, const fc_real *xa,
                        int n);

/* y = (x - mean) / sqrt(var + 1e-6) * w + b, mean and var over the d numbers of a row (Ba et al.
 * 2016). */
typedef struct fc_norm {
    int d;
    const fc_real *w, *b; /* (d) */
} fc_norm;

/* y, x (n, d); stat (n, 2) receives mean and 1 / sqrt(var + 1e-6) of each row. */
void fc_norm_forward(const fc_engine *e, fc_real *y, fc_real *stat, const fc_norm *l,
                     const fc_real *x, int n);
/* dx (n, d) is added to; NULL: not wanted. dw, db (d) or NULL. */
void fc_norm_backward(const fc_engine *e, fc_real *dx, fc_real *dw, fc_real *db, const fc_norm *l,
                      const fc_real *dy, const fc_real *x, const fc_real *stat, int n);

/* y = x Phi(x) with the normal distribution function Phi: GELU in its exact form (Hendrycks and
 * Gimpel 2016). n numbers. Float build: |error of Phi| < 2e-7. */
void fc_gelu_forward(const fc_engine *e, fc_real *y, const fc_real *x, size_t n);
/* The same, and x becomes the derivative Phi(x) + x phi(x), which costs little beside Phi. */
void fc_gelu_forward_derivative(const fc_engine *e, fc_real *y, fc_real *x, size_t n);
/* In place: dy becomes the gradient of x. */
void fc_gelu_backward(const fc_engine *e, fc_real *dy, const fc_real *x, size_t n);
/* y_i *= x_i */
void fc_multiply_elements(const fc_engine *e, fc_real *y, const fc_real *x, size_t n);

/* Each of n rows of z (n, d) becomes softmax(z), in place; starts from the row's maximum. Float
 * build: relative error < 3e-7 before normalisation; arguments 87 below the maximum count as 87. */
void fc_softmax(const fc_engine *e, fc_real *z, int n, int d);

/* Scratch of the two functions below, a bound. */
size_t fc_attention_bytes(const fc_engine *e, int T, int d_head);

/* Multi-head self attention of one image: out_h = P_h V_h, P_h = softmax(Q_h K_h^T / sqrt(D_h)),
 * for the first q (<= T) rows of Q. qkv (T, 3, heads, d_head) as timm's fused layer gives it; P
 * (heads, q, T); out (q, heads * d_head). */
void fc_attention_forward(const fc_engine *e, fc_real *out, fc_real *P, const fc_real *qkv, int T,
                          int q, int heads, int d_head);
/* dqkv (T, 3, heads, d_head) is written, but for the rows of dQ behind q. */
void fc_attention_backward(const fc_engine *e, fc_real *dqkv, const fc_real *dout,
                           const fc_real *qkv, const fc_real *P, int T, int q, int heads,
                           int d_head);

/* Patches as rows, for the patch embedding as a linear layer: x (n, 3, image, image) ->
 * cols (n, (image / patch)^2, 3 * patch^2), a row ordered (channel, y, x) like a convolution
 * weight. */
void fc_patches(fc_real *cols, const fc_real *x, int n, int image, int patch);
/* x (n, T, D): token 0 = cls + pos[0], token t = emb[t - 1] + pos[t]. emb (n, T - 1, D), cls (D),
 * pos (T, D). */
void fc_tokens_forward(fc_real *x, const fc_real *emb, const fc_real *cls, const fc_real *pos,
                       int n, int T, int D);
/* demb is written, dcls and dpos are added to. */
void fc_tokens_backward(fc_real *demb, fc_real *dcls, fc_real *dpos, const fc_real *dx, int n,
                        int T, int D);

#endif
