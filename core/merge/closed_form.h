/* Merges in closed form from running sums. Each merged tensor is one of two kinds:
 *
 *   averaged    W* = sum_i w_i W_i / sum_i w_i         w_i = n_samples, or 1 (job->weighted)
 *   by Grams    W* = (sum_i W_i M_i) (sum_i M_i)^+     RegMean, Jin et al., ICLR 2023, eq. 2
 *
 * with M_i the client's Gram G_i (d_in, d_in) of that layer, or A G_i A^T (r, r) for the B of a
 * LoRA pair whose A all clients share (LoRM, Salami et al., ICLR 2025). A diagonal Gram stays a
 * vector, and its solve is a division by element, 0/0 = 0: a feature that no client has seen gets
 * exactly 0.
 *
 * State: one double per element of the block, and sum_i M_i per Gram term: no client is kept. */
#ifndef FC_CLOSED_FORM_H
#define FC_CLOSED_FORM_H

#include "core/merge/rule.h"

/* One tensor merged by Grams. */
typedef struct fc_gram_term {
    int tensor; /* spec index of W */
    int slot;   /* whose Gram */
    int common; /* spec index of the shared A in job->base: M = A G A^T; -1: M = G */
} fc_gram_term;

/* term (n) are merged by Grams, and so is head.weight if `head` is set, it is trained and
 * job->shape has its Gram; all other tensors of job->groups are averaged. Errors FC_EFAIL: sizes do
 * not fit, memory. */
fc_status fc_closed_form_begin(void **state, const fc_merge_job *job, const fc_gram_term *term,
                               int n, bool head, fc_arena *arena, fc_error *err);
/* fold and finish of every rule built on this: see fc_merge_method. */
fc_status fc_closed_form_fold(void *state, const fc_merge_job *job, const fc_update *u,
                              fc_error *err);
fc_status fc_closed_form_finish(void *state, const fc_merge_job *job, fc_params *out,
                                fc_error *err);

#endif
