/* How averaged LoRA (FedAvg of LoRA, FFA-LoRA) combines the deltas of the tasks: option cl_merge.
 *
 * b = the server's current B A, S = sum and M = mean of the deltas of t finished tasks:
 *   run_sum          trains on W0 + S + B A, evaluates W0 + S + b
 *   run_mean         trains on W0 + M + B A, evaluates W0 + (t M + b) / (t + 1)
 *   individual_sum   trains on W0 + B A,     evaluates W0 + S + b
 *   individual_mean  trains on W0 + B A,     evaluates W0 + (t M + b) / (t + 1)
 *
 * With run_mean that is not what was trained, as in the reference. The reference's fifth value,
 * "individual", evaluates W0 alone; it is not offered. */
#ifndef FC_CL_MERGE_H
#define FC_CL_MERGE_H

#include "sim/methods/method.h"

#include <stddef.h>

typedef struct fc_cl_merge_options {
    int cl_merge;
} fc_cl_merge_options;

#define FC_CL_MERGE_CHOICES "run_sum|run_mean|individual_sum|individual_mean"
/* Its row, where a method's own options begin with fc_cl_merge_options. */
#define FC_CL_MERGE_ROW                                                                            \
    {                                                                                              \
        .key = "cl_merge", .type = FC_OPT_CHOICE,                                                  \
        .offset = offsetof(fc_cl_merge_options, cl_merge), .def = "individual_mean",               \
        .choices = FC_CL_MERGE_CHOICES,                                                            \
        .help = "how the deltas of the tasks are combined: trained on top of the others (run) or " \
                "of W0 (individual); sum or mean"                                                  \
    }

extern const fc_opt fc_cl_merge_rows[1];

bool fc_cl_merge_sends_deltas(const fc_method_setup *s);
void fc_cl_merge_train_base(const fc_method_setup *s, const fc_deltas *d, fc_real *w);
void fc_cl_merge_eval_base(const fc_method_setup *s, const fc_deltas *d, fc_real *w,
                           fc_real *scale);

#endif
