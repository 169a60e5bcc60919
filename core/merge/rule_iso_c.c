/* Iso-C: see core/merge/rule_iso.h. */
#include "core/merge/rule.h"
#include "core/merge/rule_iso.h"

#include <stddef.h>

static const fc_opt rows[] = {
    {.key = "lambda",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_iso_options, lambda),
     .def = "1",
     .low = -1000,
     .high = 1000,
     .help = "factor on the merged task vector"},
};

const fc_merge_method fc_merge_iso_c = {
    .name = "iso_c",
    .paper = "Marczak et al., ICML 2025, arXiv 2502.04959",
    .help = "sum of the task vectors with all singular values set to their mean",
    .laws = FC_LAW_ORDER,
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(fc_iso_options),
    .combine = fc_rule_iso_c,
};
