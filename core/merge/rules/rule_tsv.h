/* TSV-Merge: Task Singular Vectors. Gargiulo et al., CVPR 2025 (arXiv 2412.00081), section 4.
 *
 * Per linear weight (m, n), q = min(m, n), T updates, k = floor(q / T): the first k singular
 * triplets of each update side by side, U~ = [U_1 .. U_T], S~, V~, and
 *
 *     Delta = lambda polar(U~) S~ polar(V~)^T        theta = theta_0 + Delta
 *
 * which takes away the interference of the tasks' singular vectors. Other tensors: lambda times the
 * mean.
 *
 * Deviation: an update of numerical rank r_i < k gives its r_i triplets only, and fc_polar leaves
 * null directions at zero. The published code takes the null vectors behind the rank too, which
 * LAPACK chooses as it likes and which change the orthogonalisation of the others; and it completes
 * dependent vectors (equal updates) by arbitrary ones. Where nothing is arbitrary both agree.
 *
 * Cost per weight: T SVDs (O((m + n) r^2) for factors, O(m n q) dense) and two of (m, T k), (T k,
 * n). Memory: T k (m + n) doubles and one SVD. */
#ifndef FC_RULE_TSV_H
#define FC_RULE_TSV_H

#include "core/merge/combine.h"

typedef struct fc_tsv_options {
    double lambda; /* published: 1 */
} fc_tsv_options;

/* Errors, besides fc_combine's: FC_EUSAGE where T > q for a linear weight: k would be 0. */
fc_combine fc_rule_tsv;

#endif
