/* What methods share that average what their clients train: every parameter, or LoRA and the head.
 */
#ifndef FC_AVERAGED_H
#define FC_AVERAGED_H

#include "sim/methods/cl_merge.h"

typedef struct fc_averaged_options {
    fc_cl_merge_options tasks; /* first: fc_cl_merge_* read it */
    int train;
} fc_averaged_options;

#define FC_AVERAGED_TRAIN_CHOICES "full|lora"

/* Their rows, where a method's own options begin with fc_averaged_options. */
#define FC_AVERAGED_ROWS                                                                           \
    FC_CL_MERGE_ROW,                                                                               \
    {                                                                                              \
        .key = "train", .type = FC_OPT_CHOICE, .offset = offsetof(fc_averaged_options, train),     \
        .def = "lora", .choices = FC_AVERAGED_TRAIN_CHOICES,                                       \
        .help = "what is trained: every parameter, or LoRA and the head"                           \
    }

enum { FC_AVERAGED_N = 2 };
extern const fc_opt fc_averaged_rows[FC_AVERAGED_N];

fc_trained fc_averaged_trained(const fc_method_setup *s);

/* FC_EUSAGE unless merge.rule is average: of a method whose server makes the mean itself. */
fc_status fc_averaged_only(const fc_method_setup *s, fc_error *err);

#endif
