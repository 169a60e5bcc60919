/* The mean, of parameters as they are sent (FedAvg) or of task vectors:
 *
 *     W* = sum_i w_i W_i / sum_i w_i        w_i = n_samples, or 1
 *
 * Of LoRA's products B A this is what FLoRA computes (exact) and FlexLoRA (cut to the rank); of A
 * and B as they are sent it is FedIT, whose mean(B) mean(A) is not mean(B A).
 *
 * Beyond in and out: nothing; factors are multiplied into out. */
#ifndef FC_RULE_AVERAGE_H
#define FC_RULE_AVERAGE_H

#include "core/merge/combine.h"

/* tau = sum_i w_i tau_i / sum_i w_i, w_i: the set's weights, or 1. No options. Errors, besides
 * fc_combine's: FC_EUSAGE where the weights sum to 0. */
fc_combine fc_rule_average;

#endif
