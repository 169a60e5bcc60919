/* FedAvg: full fine-tuning, weighted average of all parameters; tasks follow one another in the
 * same weights, or each starts from the pretrained ones (as model merging wants them).
 *
 * McMahan et al., "Communication-efficient learning of deep networks from decentralized data",
 * AISTATS 2017, arXiv 1602.05629. */
#include "sim/methods/method.h"

#include <stddef.h>

typedef struct options {
    int start;
} options;

enum { LAST, PRETRAINED };

static const fc_opt rows[] = {
    {.key = "start",
     .type = FC_OPT_CHOICE,
     .offset = offsetof(options, start),
     .def = "last",
     .choices = "last|pretrained",
     .help = "backbone that a task starts from: that of the last task, or the pretrained one"},
};

static bool restarts(const fc_config *c)
{
    return ((const options *)c->method_options)->start == PRETRAINED;
}

const fc_method fc_method_fedavg = {.name = "fedavg",
                                    .paper = "McMahan et al., AISTATS 2017, arXiv 1602.05629",
                                    .help = "FedAvg: every parameter is trained and averaged",
                                    .rule = "average",
                                    .mode = FC_TRAIN_FULL,
                                    .options = rows,
                                    .n_options = sizeof rows / sizeof *rows,
                                    .options_size = sizeof(options),
                                    .restarts = restarts};
