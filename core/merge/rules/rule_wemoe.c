/* WEMoE: see core/merge/rules/wemoe.h. */
#include "core/merge/rule.h"
#include "core/merge/rules/entropy_training.h"
#include "core/merge/rules/wemoe.h"

#include <stddef.h>

static const fc_opt rows[] = {
    {.key = "lambda",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_wemoe_training, options.lambda),
     .def = "0.3",
     .low = -1000,
     .high = 1000,
     .help = "factor on the sum, and where the weights of the experts start"},
    {.key = "router_layers",
     .type = FC_OPT_INT,
     .offset = offsetof(fc_wemoe_training, options.router_layers),
     .def = "2",
     .low = 0,
     .high = 2,
     .help = "layers of a gate; 0 = constant weights"},
    {.key = "batch_reduce",
     .type = FC_OPT_BOOL,
     .offset = offsetof(fc_wemoe_training, options.batch_reduce),
     .def = "false",
     .help = "one weighting for all images of a forward pass"},
    FC_ENTROPY_TRAINING_ROWS(fc_wemoe_training, lr, "1e-4", "gates"),
};

const fc_merge_method fc_merge_wemoe = {
    .name = "wemoe",
    .paper = "Tang et al., ICML 2024, arXiv 2402.00433",
    .help = "task arithmetic, but each MLP merges anew for each image; its gates are trained "
            "without labels",
    .needs = FC_MERGE_NEEDS_IMAGES,
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(fc_wemoe_training),
    .experts = true,
};
