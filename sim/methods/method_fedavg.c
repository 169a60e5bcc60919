/* FedAvg: full fine-tuning, weighted average of all parameters; tasks follow one another in the
 * same weights.
 *
 * McMahan et al., "Communication-efficient learning of deep networks from decentralized data",
 * AISTATS 2017, arXiv 1602.05629. */
#include "sim/methods/method.h"

const fc_method fc_method_fedavg = {.name = "fedavg",
                                    .paper = "McMahan et al., AISTATS 2017, arXiv 1602.05629",
                                    .help = "FedAvg: every parameter is trained and averaged",
                                    .rule = "average",
                                    .mode = FC_TRAIN_FULL};
