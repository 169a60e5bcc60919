/* EMR-Merging: see core/merge/rule_emr.h. */
#include "core/merge/rule.h"

const fc_merge_method fc_merge_emr = {
    .name = "emr",
    .paper = "Huang et al., NeurIPS 2024, arXiv 2405.17461",
    .help =
        "one task vector, and a mask and a factor for each update; a test needs to know the task",
    .experts = true,
};
