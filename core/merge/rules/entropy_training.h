/* What the rules that learn without labels share: AdaMerging trains coefficients, WEMoE gates, both
 * by Adam on the mean entropy of the predictions (fc_entropy). */
#ifndef FC_ENTROPY_TRAINING_H
#define FC_ENTROPY_TRAINING_H

#include "core/base/opt.h"

/* The rows of a struct with the fields lr_field, steps and batch; what: "coefficients", "gates". */
/* clang-format off */
#define FC_ENTROPY_TRAINING_ROWS(type_, lr_field, lr_default, what) \
    {.key = "lr", .type = FC_OPT_REAL, .offset = offsetof(type_, lr_field), .def = lr_default, \
     .low = 0, .high = 1000, .open_low = true, .help = "learning rate of the " what " (Adam)"}, \
    {.key = "steps", .type = FC_OPT_INT, .offset = offsetof(type_, steps), .def = "1000", \
     .low = 0, .high = 1000000000, .help = "steps of training"}, \
    {.key = "batch", .type = FC_OPT_INT, .offset = offsetof(type_, batch), .def = "16", \
     .low = 1, .high = 65536, .help = "images of each task in a step"}
/* clang-format on */

#endif
