/* Fisher merging (Matena and Raffel, NeurIPS 2022), entry by entry with F_i the Fisher information:
 *
 *     tau = sum_i c_i (F_i + epsilon) tau_i / sum_i c_i (F_i + epsilon)
 *     c_i = 1, or normalised  v_i / sum_j v_j,  v_i = 1/(||F_i||_2 + epsilon) over all tensors
 *
 * A weighted mean, so the same from whole weights and from task vectors of one base. (FusionBench
 * has a factor 1/T in the normalised c_i, which cancels.) With epsilon 1e-12 and c_i = 1 it is the
 * federated form of fed-mammoth (FisherAvg), which sums F over the samples of a client.
 *
 * Beyond in and out: two tensors for each thread, three where there are factors. */
#ifndef FC_RULE_FISHER_H
#define FC_RULE_FISHER_H

#include "core/merge/combine.h"

typedef struct fc_fisher_options {
    bool normalise; /* true */
    double epsilon; /* > 0: 1e-6 */
} fc_fisher_options;

/* Errors, besides fc_combine's: FC_EUSAGE where the set has no Fisher information, FC_EFAIL where
 * it has a negative number or one that is not finite. */
fc_combine fc_rule_fisher;

/* w (n) = c (F + epsilon), of F (n) in w: see fc_merge_method.entry_weights. */
void fc_rule_fisher_weights(double *w, size_t n, double norm, const void *options);

#endif
