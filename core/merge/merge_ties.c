/* TIES-Merging: see core/merge/rule_ties.h. */
#include "core/merge/rule.h"
#include "core/merge/rule_ties.h"

#include <stddef.h>

static const fc_opt rows[] = {
    {.key = "top_k",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_ties_options, top_k),
     .def = "20",
     .low = 0,
     .high = 100,
     .help = "per cent of the entries of a task vector that are kept, by size"},
    {.key = "merge_func",
     .type = FC_OPT_CHOICE,
     .offset = offsetof(fc_ties_options, merge),
     .def = "sum",
     .choices = "sum|mean|max",
     .help = "of the entries that agree with the elected sign: their sum (FusionBench), mean (the "
             "paper) or largest"},
    {.key = "quantile",
     .type = FC_OPT_BOOL,
     .offset = offsetof(fc_ties_options, quantile),
     .def = "false",
     .help = "trim at a quantile and leave undecided signs at 0: fed-mammoth's form"},
    {.key = "lambda",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_ties_options, lambda),
     .def = "0.3",
     .low = -1000,
     .high = 1000,
     .help = "factor on the merged task vector"},
};

const fc_merge_method fc_merge_ties = {
    .name = "ties",
    .paper = "Yadav et al., NeurIPS 2023, arXiv 2306.01708",
    .help = "trims each task vector, elects a sign per entry, merges what agrees with it",
    .laws = FC_LAW_ORDER,
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(fc_ties_options),
    .combine = fc_rule_ties,
};
