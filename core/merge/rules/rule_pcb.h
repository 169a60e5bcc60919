/* PCB-Merging (Du et al., NeurIPS 2024), over all d numbers of a task vector as one. With x[k] the
 * number of rank k (0: the smallest) of x, and N(x) = (x - min x) / (max x - min x):
 *
 *     c_i    = |tau_i| clamped to its own ranks int(1e-4 d) and int((1 - 1e-4) d - 1)
 *     b_i    = exp(T N(c_i)^2) tanh(tau_i sum_j tau_j)            intra times inter balancing
 *     beta_i = N(b_i clamped from below to its own rank int((1 - ratio) d))
 *     tau    = lambda sum_i beta_i sign(tau_i) c_i / max(sum_i beta_i, 1e-12)
 *
 * Computed with exp(T (N^2 - 1)): N takes the factor out again, and no T overflows. Where all
 * numbers are equal N is 0/0 in the reference code; here it is 0.
 *
 * Beyond in and out: d doubles for each thread, then up to three of the largest tensor for each. */
#ifndef FC_RULE_PCB_H
#define FC_RULE_PCB_H

#include "core/merge/combine.h"

typedef struct fc_pcb_options {
    double ratio;  /* share of the entries with a weight, 0 .. 1: 0.1 */
    double lambda; /* 1.2 */
} fc_pcb_options;

fc_combine fc_rule_pcb;

#endif
