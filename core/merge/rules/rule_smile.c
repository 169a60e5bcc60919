/* SMILE: see core/merge/rules/smile.h. */
#include "core/merge/rule.h"
#include "core/merge/rules/smile.h"

#include <stddef.h>

static const fc_opt rows[] = {
    {.key = "gate_k",
     .type = FC_OPT_INT,
     .offset = offsetof(fc_smile_options, gate_k),
     .def = "16",
     .low = 1,
     .high = 1000000,
     .help = "singular vectors of an expert that its router looks at"},
    {.key = "k",
     .type = FC_OPT_INT,
     .offset = offsetof(fc_smile_options, k),
     .def = "32",
     .low = -1,
     .high = 1000000,
     .help = "singular vectors of an expert that are kept, -1 = all"},
    {.key = "top_k",
     .type = FC_OPT_INT,
     .offset = offsetof(fc_smile_options, top_k),
     .def = "1",
     .low = 1,
     .high = 1000000,
     .help = "experts that a token takes"},
    {.key = "routing_use_diff",
     .type = FC_OPT_BOOL,
     .offset = offsetof(fc_smile_options, routing_use_diff),
     .def = "true",
     .help = "the router looks at the task vectors, else at the whole weights"},
    {.key = "average_experts",
     .type = FC_OPT_BOOL,
     .offset = offsetof(fc_smile_options, average_experts),
     .def = "false",
     .help = "tensors that are not linear weights are averaged, else the base's"},
};

const fc_merge_method fc_merge_smile = {
    .name = "smile",
    .paper = "Tang et al., 2024, arXiv 2408.10174",
    .help = "every layer routes each token to low-rank experts, one per update; nothing is trained",
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(fc_smile_options),
    .experts = true,
};
