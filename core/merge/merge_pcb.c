/* PCB-Merging: see core/merge/rule_pcb.h. */
#include "core/merge/rule.h"
#include "core/merge/rule_pcb.h"

#include <stddef.h>

static const fc_opt rows[] = {
    {.key = "ratio",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_pcb_options, ratio),
     .def = "0.1",
     .low = 0,
     .high = 1,
     .help = "share of the entries that have a weight"},
    {.key = "lambda",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_pcb_options, lambda),
     .def = "1.2",
     .low = -1000,
     .high = 1000,
     .help = "factor on the merged task vector"},
};

const fc_merge_method fc_merge_pcb = {
    .name = "pcb",
    .paper = "Du et al., NeurIPS 2024, arXiv 2410.02396",
    .help =
        "weighs entries by their size in their task vector and by how they agree with the others",
    .laws = FC_LAW_ORDER,
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(fc_pcb_options),
    .combine = fc_rule_pcb,
};
