/* Model Breadcrumbs: see core/merge/rule_breadcrumbs.h. */
#include "core/merge/rule.h"
#include "core/merge/rule_breadcrumbs.h"

#include <stddef.h>

static const fc_opt rows[] = {
    {.key = "beta",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_breadcrumbs_options, beta),
     .def = "0.2",
     .low = 0,
     .high = 1,
     .help = "share of a row that is kept"},
    {.key = "gamma",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_breadcrumbs_options, gamma),
     .def = "0.1",
     .low = 0,
     .high = 1,
     .help = "share of a row that is removed, the largest"},
    {.key = "form",
     .type = FC_OPT_CHOICE,
     .offset = offsetof(fc_breadcrumbs_options, form),
     .def = "remove_first",
     .choices = "remove_first|keep_first|layer",
     .help = "remove the largest and keep of the rest (official code), keep and remove of these, "
             "or over the whole tensor (mergekit)"},
    {.key = "lambda",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_breadcrumbs_options, alpha),
     .def = "0.4",
     .low = -1000,
     .high = 1000,
     .help = "factor on the sum (alpha of the paper)"},
};

const fc_merge_method fc_merge_breadcrumbs = {
    .name = "breadcrumbs",
    .paper = "Davari and Belilovsky, ECCV 2024, arXiv 2312.06795",
    .help = "per row neither the largest nor the small entries are kept, then the sum",
    .laws = FC_LAW_ORDER,
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(fc_breadcrumbs_options),
    .combine = fc_rule_breadcrumbs,
};
