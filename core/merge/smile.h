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
 * Factored updates are decomposed without being multiplied out; k = all, or k >= r, keeps their
 * factors as they came. Memory: per expert the fewer of k (m + n) and m n numbers, and gate_k n. */
#ifndef FC_SMILE_H
#define FC_SMILE_H

#include "core/experts.h"
#include "core/merge/combine.h"
#include "core/vit.h"

typedef struct fc_smile_options {
    int gate_k;            /* vectors of the router, >= 1: 1; 16 (ViT), 2 (LoRA of rank 16) */
    int k;                 /* vectors of an expert; < 0: all, that is Delta itself. 128; 32 (ViT) */
    int top_k;             /* experts per token, 1 .. experts: 1 */
    bool routing_use_diff; /* true; false: the router takes V of W_e itself */
    bool average_experts;  /* tensors that are not linear: false: W_0; true: the experts' mean */
} fc_smile_options;

typedef struct fc_smile {
    fc_experts of; /* B = U S, A = V^T; or what was given */
    int top_k;
    int *gate;  /* (experts) vectors of the router, after the cut to the rank */
    fc_real *G; /* (sum of gate, cols) all V[:, :gate_k]^T */
} fc_smile;

/* One layer: the updates of tensor t. */
typedef struct fc_smile_source {
    const fc_tv_set *in;
    int t;
    const fc_real *W0; /* (rows, cols), wanted if not routing_use_diff */
    const fc_real *const
        *bias; /* (experts) b_e - b_0 of (rows) each, or NULL: 0; must outlive it */
} fc_smile_source;

/* Cost: an SVD per expert, in double, and without routing_use_diff a second one. Serial.
 * Errors: FC_EUSAGE for options out of their range; FC_EFAIL for an update that is not finite. */
fc_status fc_smile_init(fc_smile *s, const fc_smile_source *from, const fc_smile_options *options,
                        fc_arena *arena, fc_arena *scratch, fc_error *err);

/* All linear layers of a backbone: out (slots); one with n = 0 where no update has the tensor. The
 * set's tensors bear the names of the backbone's spec table (fc_vit_layout). w, the backbone, is
 * W_0 and stays so, but for the other tensors with average_experts. Layers in parallel, same bits
 * for any number of threads. Errors: as above; FC_EUSAGE for a tensor that the backbone has not. */
fc_status fc_smile_backbone(fc_smile *out, fc_real *w, const fc_vit_shape *shape,
                            const fc_tv_set *in, const fc_smile_options *options, fc_arena *arena,
                            fc_error *err);

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
