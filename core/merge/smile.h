/* SMILE: Sparse Mixture of Low-rank Experts without training. Tang et al., 2024 (arXiv 2408.10174),
 * section 4, eq. 6 to 8. One linear layer W_0, b_0 with experts W_e, b_e:
 *
 *     Delta_e = W_e - W_0 = U_e S_e V_e^T
 *     logit_e(x) = |V_e[:, :gate_k]^T x|      w = softmax over experts, the top_k largest kept and
 *                                             divided by their sum; the first of equals
 *     y = W_0 x + b_0 + sum_e w_e (U_e[:, :k] S_e V_e[:, :k]^T x + b_e - b_0)
 *
 * for each token x on its own. Deviation: k and gate_k are cut to the numerical rank of Delta_e,
 * since the vectors behind it are whatever LAPACK returns. (The published code may take them into
 * the router; gate_k = d_in would give all experts equal logits |x|.)
 *
 * Factored updates are decomposed without being multiplied out, and k = r keeps them exactly.
 * Memory: per expert k (m + n + 1) + max(0, gate_k - k) n numbers. */
#ifndef FC_SMILE_H
#define FC_SMILE_H

#include "core/merge/combine.h"
#include "core/real.h"

typedef struct fc_smile_options {
    int gate_k; /* vectors of the router, >= 1: 1 */
    int k;      /* vectors of an expert; < 0: all, that is Delta itself. 128 */
    int top_k;  /* experts per token, 1 .. experts: 1 */
} fc_smile_options;

typedef struct fc_smile_expert {
    int k, gate;         /* after the cut to the rank */
    fc_real *U, *S, *Vt; /* (rows, k), (k), (max(k, gate), cols) */
    const fc_real *bias; /* (rows) b_e - b_0, or NULL: 0 */
} fc_smile_expert;

typedef struct fc_smile {
    int rows, cols, experts, top_k; /* rows = d_out, cols = d_in */
    fc_smile_expert *expert;
} fc_smile;

/* The experts are the updates of tensor t. bias (experts) of (rows) each, or NULL: no biases; must
 * outlive s. Cost: an SVD per expert, in double. Serial.
 * Errors: FC_EUSAGE for options out of their range; FC_EFAIL for an update that is not finite. */
fc_status fc_smile_init(fc_smile *s, const fc_tv_set *in, int t, const fc_real *const *bias,
                        const fc_smile_options *options, fc_arena *arena, fc_arena *scratch,
                        fc_error *err);

/* Y (n, rows) += sum_e w_e(x) (Delta_e x + b_e - b_0) for the rows x of X (n, cols): the base layer
 * has written W_0 x + b_0 there. Router by one product per expert; then each expert takes all its
 * tokens at once. O(n (experts gate_k cols + top_k k (rows + cols))); scratch n (2 experts + cols +
 * k + rows). Serial: callers split the tokens. */
fc_status fc_smile_forward(fc_real *Y, const fc_smile *s, const fc_real *X, int n,
                           fc_arena *scratch, fc_error *err);

/* What the router says of X (n, cols): w (n, experts), 0 for experts not chosen; and logit (n,
 * experts). */
fc_status fc_smile_route(double *w, double *logit, const fc_smile *s, const fc_real *X, int n,
                         fc_arena *scratch, fc_error *err);

#endif
