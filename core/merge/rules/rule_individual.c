/* No merge: each task keeps its own model. The upper bound of the merges that know the task of an
 * image, and what their accuracy is normalised by. */
#include "core/merge/rule.h"

const fc_merge_method fc_merge_individual = {
    .name = "individual",
    .paper = "upper bound, no merge",
    .help = "each task by the model that was fine-tuned on it; a test needs to know the task",
    .experts = true,
};
