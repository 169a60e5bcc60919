/* CART: Centered Arithmetic with Rank-reduced Task vectors. Choi et al. (arXiv 2412.12153), in the
 * form of the Core Space code (Panariello et al., arXiv 2509.17786).
 *
 * Per linear weight (m, n), q = min(m, n), T updates, k = ceil(rank_fraction q):
 *
 *     mu = 1/T sum_i Delta_i
 *     Delta = lambda (mu + scale sum_i [Delta_i - mu]_k)      theta = theta_0 + Delta
 *
 * with [X]_k the first k singular triplets of X, its best approximation of rank k. Other tensors:
 * lambda times the mean. For k = q the residuals add up to nothing: the mean. [X]_k is not unique
 * where s_k = s_k+1; two updates have the residuals X and -X, so that there, too, the mean is left.
 *
 * Residuals of factors stay in factors: the stack of all updates, A_j times (i == j) - 1/T.
 * Cost per weight: T SVDs (O((m + n) R^2) for factors with R = sum of ranks < q, else O(m n q)) and
 * T products m n k. Memory: one SVD. */
#ifndef FC_RULE_CART_H
#define FC_RULE_CART_H

#include "core/merge/combine.h"

typedef struct fc_cart_options {
    double scale;         /* of the residuals: 0.1 in the Core Space code, tuned in the paper */
    double rank_fraction; /* of q, in [0, 1]: 0.04 in the Core Space code, 0.08 in the paper */
    double lambda;        /* 1 */
} fc_cart_options;

/* Errors, besides fc_combine's: FC_EUSAGE for a rank_fraction out of range. */
fc_combine fc_rule_cart;

#endif
