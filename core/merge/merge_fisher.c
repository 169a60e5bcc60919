/* Fisher merging: see core/merge/rule_fisher.h. */
#include "core/merge/rule.h"
#include "core/merge/rule_fisher.h"

#include <stddef.h>

static const fc_opt rows[] = {
    {.key = "normalise",
     .type = FC_OPT_BOOL,
     .offset = offsetof(fc_fisher_options, normalise),
     .def = "true",
     .help = "updates weigh by 1 / norm of their Fisher information as well"},
    {.key = "epsilon",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_fisher_options, epsilon),
     .def = "1e-6",
     .low = 0,
     .high = 1000000000.0,
     .open_low = true,
     .help = "added to the Fisher information"},
};

const fc_merge_method fc_merge_fisher = {
    .name = "fisher",
    .paper = "Matena and Raffel, NeurIPS 2022, arXiv 2111.09832",
    .help = "mean of each entry, weighted by its Fisher information",
    .needs = FC_MERGE_NEEDS_FISHER,
    .laws = FC_LAW_ONE_CLIENT | FC_LAW_EQUAL_FIXED | FC_LAW_ORDER,
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(fc_fisher_options),
    .combine = fc_rule_fisher,
    .entry_weights = fc_rule_fisher_weights,
    .full_only = "Fisher information belongs to the entries of the full weights",
};
