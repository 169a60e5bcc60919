/* Isotropic merging: Iso-C and Iso-CTS. Marczak et al., ICML 2025 (arXiv 2502.04959), algorithms
 * 1 and 2.
 *
 * Per linear weight (m, n), q = min(m, n), M = sum_i Delta_i = U S V^T:
 *
 *   Iso-C     Delta = lambda mean(S) U V^T                       mean over all q singular values
 *   Iso-CTS   c common directions U_c of M and, of each task, the first (q - c) / T triplets of
 *             Delta_i - U_c U_c^T Delta_i; all stacked, the stacks of U and V replaced by their
 *             polar factors; Delta = lambda mean(S of the stack, over q) U_hat V_hat^T
 *
 * Other tensors: lambda times the mean.
 *
 * Deviation: on a sum without full rank (LoRA: R = sum of ranks < q) the published rule raises the
 * null directions, too, to mean(S); their vectors are whatever LAPACK returns, so it has no unique
 * value. Here only the numerical support is raised (s_j > FC_SUPPORT s_1; in Iso-CTS: s_j >
 * FC_SUPPORT times the largest norm of an update, since a residual may be all rounding). The mean
 * still runs over q values. Where M has full rank both are the same. In Core Space M is small and
 * as a rule has full rank.
 *
 * Cost: Iso-C one SVD (O((m + n) R^2 + R^3) for factors with R < q, else O(m n q)) and the product
 * m n R; Iso-CTS T + 3 SVDs. Memory: Iso-C the SVD; Iso-CTS q (m + n) doubles and one SVD. */
#ifndef FC_RULE_ISO_H
#define FC_RULE_ISO_H

#include "core/merge/combine.h"

typedef struct fc_iso_options {
    double lambda;          /* published default 1, tables with 1.5 */
    double common_fraction; /* Iso-CTS: c is about q times this, in [0, 1]; published 0.8 */
} fc_iso_options;

fc_combine fc_rule_iso_c, fc_rule_iso_cts;

/* Directions of Iso-CTS for T tasks: *per_task and the rest, returned, in common. Published
 * rounding: c = floor(q fraction), per_task = half-to-even((q - c) / T), at most q / T. */
int fc_iso_cts_common(int *per_task, int q, int T, double fraction);

#endif
