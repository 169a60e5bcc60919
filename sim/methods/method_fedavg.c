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

static fc_trained trained(const fc_method_setup *s)
{
    bool restarts = ((const options *)s->options)->start == PRETRAINED;
    return (fc_trained){.mode = FC_TRAIN_FULL, .restarts = restarts};
}

const fc_method fc_method_fedavg = {.name = "fedavg",
                                    .paper = "McMahan et al., AISTATS 2017, arXiv 1602.05629",
                                    .help = "FedAvg: every parameter is trained and averaged",
                                    .rule = "average",
                                    .trained = trained,
                                    .options = rows,
                                    .n_options = sizeof rows / sizeof *rows,
                                    .options_size = sizeof(options)};
