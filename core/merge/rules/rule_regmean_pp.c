/* RegMean++: see sim/train/regmean_pp.h. */
#include "core/merge/rule.h"
#include "core/merge/rules/rule_regmean.h"

#include <stddef.h>

static const fc_opt rows[] = {
    {.key = "off_diagonal",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_regmean_options, off_diagonal),
     .def = "0.95",
     .low = 0,
     .high = 1,
     .help = "factor on the off-diagonals of the Grams"},
};

const fc_merge_method fc_merge_regmean_pp = {
    .name = "regmean_pp",
    .paper = "Nguyen et al., arXiv 2508.03121",
    .help = "RegMean block by block, on the inputs that the merged blocks below give",
    .needs = FC_MERGE_NEEDS_IMAGES,
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(fc_regmean_options),
};
