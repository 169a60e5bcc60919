/* A linear layer with low-rank experts, of which each token takes a few: the layer of SMILE (Tang
 * et al., 2024, arXiv 2408.10174, section 4, eq. 6 to 8). How experts are made of updates:
 * core/merge/rules/smile.h.
 *
 *     Delta_e = W_e - W_0 = U_e S_e V_e^T
 *     logit_e(x) = |V_e[:, :gate_k]^T x|      w = softmax over experts, the top_k largest kept and
 *                                             divided by their sum; the first of equals
 *     y = W_0 x + b_0 + sum_e w_e (U_e[:, :k] S_e V_e[:, :k]^T x + b_e - b_0)
 *
 * for each token x on its own. */
#ifndef FC_SMILE_LAYER_H
#define FC_SMILE_LAYER_H

#include "core/vit/experts.h"

typedef struct fc_smile {
    fc_experts of; /* B = U S, A = V^T; or what was given */
    int top_k;
    int *gate;  /* (experts) vectors of the router, after the cut to the rank */
    fc_real *G; /* (sum of gate, cols) all V[:, :gate_k]^T */
} fc_smile;

/* Scratch of the two functions below for n rows of X, a bound. */
size_t fc_smile_bytes(const fc_engine *e, int rows, int cols, int experts, int gate_k, int n);

/* Y (n, rows) += sum_e w_e(x) (Delta_e x + b_e - b_0) for the rows x of X (n, cols): the base layer
 * has written W_0 x + b_0 there. Router by one product for all experts, in float always (a small
 * error may choose another expert); then each expert takes all its tokens at once. O(n (experts
 * gate_k cols + top_k k (rows + cols))). Serial, no allocation: callers split the tokens. */
void fc_smile_forward(const fc_engine *e, fc_real *Y, const fc_smile *s, const fc_real *X, int n);

/* What the router says of X (n, cols): w (n, experts), 0 for experts not chosen; and logit (n,
 * experts). */
void fc_smile_route(const fc_engine *e, double *w, double *logit, const fc_smile *s,
                    const fc_real *X, int n);

#endif
