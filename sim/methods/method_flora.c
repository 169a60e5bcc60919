/* FLoRA: the clients' pairs are stacked, which is the exact mean of their products; it is added to
 * the weights that clients train on, and A, B start anew each round.
 *
 * Wang et al., "FLoRA: federated fine-tuning large language models with heterogeneous low-rank
 * adaptations", NeurIPS 2024, arXiv 2409.05976. */
#include "sim/methods/lora_merge.h"

const fc_method fc_method_flora = {
    .name = "flora",
    .paper = "Wang et al., NeurIPS 2024, arXiv 2409.05976",
    .help = "FLoRA: the exact mean of B A is added to the weights, A and B start anew each round",
    .rule = "average",
    .trains = {.mode = FC_TRAIN_LORA, .products = true, .folds = true},
    .options = fc_cl_merge_rows,
    .n_options = 1,
    .options_size = sizeof(fc_cl_merge_options),
    .grams = fc_lora_merge_grams,
    .sends_deltas = fc_cl_merge_sends_deltas,
    .train_base = fc_cl_merge_train_base,
    .eval_base = fc_cl_merge_eval_base};
