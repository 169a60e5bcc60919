/* RegMean (Jin et al., ICLR 2023, eq. 2) of finished models, in the form of FusionBench:
 *
 *     tau = (sum_i tau_i M_i) (sum_i M_i)^+      for tensors with Grams, linear layers
 *     tau = 1/T sum_i tau_i                      for the others
 *
 * with M_i = X_i^T X_i / rows_i, X_i (rows_i, cols) the inputs of the layer in model i,
 * off-diagonals times off_diagonal. Exact for whole weights and for task vectors of one base alike.
 * The reference inverts; here a singular sum has its pseudo-inverse (core/linalg/linalg.h). For
 * running sums over clients see core/merge/closed_form.h.
 *
 * Beyond in and out: 5 cols^2 + (rows + rank) cols doubles for each thread, of the largest layer.
 */
#ifndef FC_RULE_REGMEAN_H
#define FC_RULE_REGMEAN_H

#include "core/merge/combine.h"

typedef struct fc_regmean_options {
    double off_diagonal; /* 0 .. 1: 0.95 (CLIP), 0.1 (language models) */
} fc_regmean_options;

/* Errors, besides fc_combine's: FC_EUSAGE where the set has no Grams. */
fc_combine fc_rule_regmean;

#endif
