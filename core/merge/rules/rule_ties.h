/* TIES-Merging (Yadav et al., NeurIPS 2023), over all d numbers of a task vector as one:
 *
 *     trim    keep the entries of tau_i with |.| >= level_i
 *     elect   g = sign(sum_i trimmed tau_i) per entry
 *     merge   the trimmed entries whose sign is g: their sum, their mean over those that are not
 *             0, or g times the largest |.|
 *
 *     tau = lambda * merged
 *
 * level_i, by the reference code (FusionBench): the k-th smallest |.|, k = d - int(d top_k/100), so
 * that int(d top_k/100) + 1 entries and all that equal the smallest of them are kept; everything
 * where that is all of them. An entry with g = 0 takes sign(sum of all g), and where this is 0 too
 * its negative numbers are merged by sum and mean.
 *
 * level_i, federated form (`quantile`, of fed-mammoth): the (1 - top_k/100)-quantile of |.| with
 * linear interpolation; an entry with g = 0 stays 0. Its defaults: top_k 30, mean, lambda 0.4.
 *
 * Beyond in and out: d doubles for each thread, then three of the largest tensor for each. */
#ifndef FC_RULE_TIES_H
#define FC_RULE_TIES_H

#include "core/merge/combine.h"

typedef enum fc_ties_merge {
    FC_TIES_SUM,  /* FusionBench, with lambda 0.3 */
    FC_TIES_MEAN, /* the paper, with lambda 1 */
    FC_TIES_MAX
} fc_ties_merge;
#define FC_TIES_CHOICES "sum|mean|max"

typedef struct fc_ties_options {
    double top_k;        /* per cent kept, all from 100 on: 20 */
    fc_ties_merge merge; /* sum */
    bool quantile;       /* federated form: false */
    double lambda;       /* 0.3 */
} fc_ties_options;

fc_combine fc_rule_ties;

#endif
