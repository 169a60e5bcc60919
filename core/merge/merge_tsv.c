/* TSV-Merge: see core/merge/rule_tsv.h. */
#include "core/merge/rule.h"
#include "core/merge/rule_tsv.h"

#include <stddef.h>

static const fc_opt rows[] = {
    {.key = "lambda",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_tsv_options, lambda),
     .def = "1",
     .low = -1000,
     .high = 1000,
     .help = "factor on the merged task vector"},
};

const fc_merge_method fc_merge_tsv = {
    .name = "tsv",
    .paper = "Gargiulo et al., CVPR 2025, arXiv 2412.00081",
    .help = "first singular vectors of each task vector, made orthogonal to those of the others",
    .laws = FC_LAW_ORDER,
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(fc_tsv_options),
    .combine = fc_rule_tsv,
};
