/* OPCM: Orthogonal Projection-based Continual Merging. Tang et al., NeurIPS 2025 (arXiv
 * 2501.09522), algorithm 1. Task vectors tau_t arrive one by one; kept are the merged one D, the
 * scalar lambda and the norms, |.| over all tensors of a model. Step t:
 *
 *     D = U S V^T                      of each linear weight, before the step
 *     Q = U^T tau V;   Z = Q on the diagonal and in the first split x split block, 0 elsewhere
 *     clean = tau - U Z V^T            other tensors: clean = tau
 *     sum = lambda D + clean;          lambda = |sum| / mean(|tau_1| .. |tau_t|);   D = sum /
 * lambda
 *
 * split: 0-based index of the first j with (s_0 + .. + s_j) / sum_i s_i > alpha, 0 if there is
 * none: the authors' code, one less than r_alpha of the paper. The first step gives D = tau_1,
 * lambda = 1. Where the sum vanishes D is 0 and lambda 1.
 *
 * Deviation: U and V span the numerical support of D only (s_j > FC_SUPPORT s_0). The authors take
 * square U and V; on D without full rank (LoRA) their null vectors are whatever LAPACK returns, and
 * so would be what the diagonal of Q removes there. At full rank both are the same, as U Z V^T then
 * needs the first min(m, n) vectors only.
 *
 * Two forms per weight (m, n), the same up to rounding:
 *   dense   D (m, n). A step takes O(m n min(m, n)), 3 m n doubles of scratch and an SVD.
 *   thin    D as its SVD of k vectors; updates B A of rank r. sum = [U (lambda S - Z), B] [V^T; A]
 *           is decomposed by fc_svd_product: O((m + n) (k + r)^2), k grows by r up to min(m, n);
 *           never an m x n matrix. */
#ifndef FC_OPCM_H
#define FC_OPCM_H

#include "core/merge/combine.h"

typedef struct fc_opcm_tensor {
    double *D;          /* dense: (rows, cols), else NULL */
    int most, k;        /* thin: room, used */
    double *U, *S, *Vt; /* thin: (rows, k), (k) descending, (k, cols) */
} fc_opcm_tensor;

typedef struct fc_opcm {
    const fc_tv_shape *shape; /* (tensors) */
    int tensors;
    double alpha;
    double lambda;
    int steps, steps_max;
    double *norm; /* (steps) |tau_t| */
    fc_opcm_tensor *tensor;
} fc_opcm;

/* No step taken, D = 0. alpha in [0, 1] (published 0.5). rank_max: 0 for the dense form; for the
 * thin form the sum of the ranks of all updates to come. shape must outlive o. */
fc_status fc_opcm_init(fc_opcm *o, const fc_tv_shape *shape, int tensors, double alpha,
                       int steps_max, int rank_max, fc_arena *arena, fc_error *err);

/* The next task vector, tv (tensors). Linear weights in factors for the thin form, any form for
 * the dense one. Tensors in parallel, same bits for any number of threads. Errors: FC_EFAIL for a
 * number that is not finite; FC_EUSAGE for a dense weight in the thin form, more steps or more rank
 * than announced: o is then as it was. FC_EFAIL of an SVD or of memory: o is lost. */
fc_status fc_opcm_step(fc_opcm *o, const fc_tv *tv, fc_arena *scratch, fc_error *err);

/* out[t] (rows, cols) = D. */
void fc_opcm_merged(double *const *out, const fc_opcm *o);

#endif
