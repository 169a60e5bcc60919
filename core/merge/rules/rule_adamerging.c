/* AdaMerging: see core/merge/rules/adamerging.h. */
#include "core/merge/rule.h"
#include "core/merge/rules/adamerging.h"
#include "core/merge/rules/entropy_training.h"

#include <stddef.h>

static const fc_opt rows[] = {
    {.key = "layer_wise",
     .type = FC_OPT_BOOL,
     .offset = offsetof(fc_ada_training, options.layer_wise),
     .def = "true",
     .help = "a coefficient per task vector and tensor, else per task vector"},
    {.key = "init",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_ada_training, options.init),
     .def = "0.3",
     .low = -1000,
     .high = 1000,
     .help = "where coefficients start"},
    FC_ENTROPY_TRAINING_ROWS(fc_ada_training, options.lr, "0.001", "coefficients"),
};

const fc_merge_method fc_merge_adamerging = {
    .name = "adamerging",
    .paper = "Yang et al., ICLR 2024, arXiv 2310.02575",
    .help = "task arithmetic with coefficients learnt without labels, by the entropy of the "
            "predictions",
    .needs = FC_MERGE_NEEDS_IMAGES,
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(fc_ada_training),
};
