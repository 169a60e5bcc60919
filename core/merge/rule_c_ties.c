/* TIES-Merging of one task vector after the other: see core/merge/rule_ties.h. */
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
     .help = "per cent of the entries of the merged and of the next task vector that are kept"},
    {.key = "merge_func",
     .type = FC_OPT_CHOICE,
     .offset = offsetof(fc_ties_options, merge),
     .def = "sum",
     .choices = "sum|mean|max",
     .help = "of the entries that agree with the elected sign: as ties"},
    {.key = "lambda",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_ties_options, lambda),
     .def = "0.5",
     .low = -1000,
     .high = 1000,
     .help = "factor on what a task adds"},
};

const fc_merge_method fc_merge_c_ties = {
    .name = "c_ties",
    .paper = "baseline of Tang et al., NeurIPS 2025, arXiv 2501.09522",
    .help = "continual: TIES of the merged and the next task vector, added to the merged one",
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(fc_ties_options),
    .combine = fc_rule_ties_continual,
    .full_only = "its updates come one by one, and a common space needs all of them",
};
