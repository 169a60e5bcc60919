/* DARE (Yu et al., ICML 2024): each entry of each task vector is dropped with probability p, those
 * left are multiplied by 1/(1 - p), so that the expectation is tau_i; then Task Arithmetic or TIES:
 *
 *     tau = lambda sum_i mask_i tau_i / (1 - p)     or     TIES(mask_i tau_i / (1 - p))
 *
 * An entry is kept where a uniform number of the stream (the set's key, update, tensor) is at least
 * p.
 *
 * Beyond in and out: with Task Arithmetic one tensor for each thread; with TIES one dense copy of
 * all updates, and what TIES takes. */
#ifndef FC_RULE_DARE_H
#define FC_RULE_DARE_H

#include "core/base/rng.h"
#include "core/merge/rules/rule_ties.h"

typedef struct fc_dare_options {
    double p;             /* 0 <= p < 1: 0.5 (FusionBench), 0.3 (Core Space) */
    bool linear_only;     /* other tensors keep all entries: false */
    double lambda;        /* of Task Arithmetic: 0.3 */
    bool with_ties;       /* in place of Task Arithmetic */
    fc_ties_options ties; /* lambda 0.5 here */
    /* (n, tensors), each (rows, cols) of 0 and 1: kept, in place of random ones; else NULL */
    const unsigned char *const *mask;
} fc_dare_options;

fc_combine fc_rule_dare;

#endif
