/* C.TIES: TIES-Merging (core/merge/rules/rule_ties.h) of one task vector after the other, as the
 * code of OPCM (Tang et al., NeurIPS 2025) has it: the merged D is merged with tau_t and the result
 * added on top, so that D counts twice.
 *
 *     D_1 = lambda tau_1,    D_t = D_{t-1} + TIES(D_{t-1}, tau_t)
 *
 * top_k 20, sum, lambda 0.5 there. Takes d doubles more than TIES. */
#ifndef FC_RULE_C_TIES_H
#define FC_RULE_C_TIES_H

#include "core/merge/rules/rule_ties.h"

/* Options: fc_ties_options. */
fc_combine fc_rule_ties_continual;

#endif
