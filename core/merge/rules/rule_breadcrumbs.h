/* Model Breadcrumbs (Davari and Belilovsky, ECCV 2024): of each row of n entries (a vector is one
 * row) neither the largest nor the small ones are kept,
 *
 *     tau = alpha sum_i tau'_i
 *
 *     remove first   without the int(n gamma) largest |.|, the int(n beta) largest of the rest
 *     keep first     the int(n beta) largest |.|, without the int(n gamma) largest of them
 *     layer          remove first over the whole tensor (mergekit); where int(n gamma) and
 *                    int(n beta) together exceed n, fewer are removed
 *
 * Of equal |.| the first in the row (or tensor) counts as the larger one. mergekit keeps nothing
 * where int(n gamma) = 0, by a slip (an empty slice); here nothing is removed then.
 *
 * Beyond in and out: one or two tensors for each thread (the second for factors). */
#ifndef FC_RULE_BREADCRUMBS_H
#define FC_RULE_BREADCRUMBS_H

#include "core/merge/combine.h"

typedef enum fc_breadcrumbs_form {
    FC_BREADCRUMBS_REMOVE_FIRST, /* the official code */
    FC_BREADCRUMBS_KEEP_FIRST,
    FC_BREADCRUMBS_LAYER
} fc_breadcrumbs_form;
#define FC_BREADCRUMBS_CHOICES "remove_first|keep_first|layer"

typedef struct fc_breadcrumbs_options {
    double beta;  /* share kept, 0 .. 1: 0.2 */
    double gamma; /* share removed, 0 .. 1: 0.1 */
    fc_breadcrumbs_form form;
    double alpha; /* 0.4 */
} fc_breadcrumbs_options;

fc_combine fc_rule_breadcrumbs;

#endif
