/* Iso-CTS: see core/merge/rule_iso.h. */
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
    {.key = "common_fraction",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_iso_options, common_fraction),
     .def = "0.8",
     .low = 0,
     .high = 1,
     .help = "share of the directions that are common"},
};

const fc_merge_method fc_merge_iso_cts = {
    .name = "iso_cts",
    .paper = "Marczak et al., ICML 2025, arXiv 2502.04959",
    .help = "Iso-C over the common directions and those of each task's own",
    .laws = FC_LAW_ORDER,
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(fc_iso_options),
    .combine = fc_rule_iso_cts,
};
