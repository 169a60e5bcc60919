/* FedAvg of LoRA: A, B and the head are trained together and averaged separately (mean(B) mean(A)
 * is not mean(B A)).
 *
 * FedIT (Zhang et al., ICASSP 2024, arXiv 2305.05644) in the class-incremental protocol of
 * fed-mammoth (model `lora`); the scale of B A is 1. Each task has a fresh A and B = 0; the head is
 * carried over. */
#include "sim/methods/cl_merge.h"

const fc_method fc_method_fedavg_lora = {
    .name = "fedavg_lora",
    .paper = "Zhang et al. (FedIT), ICASSP 2024, arXiv 2305.05644",
    .help = "FedAvg of LoRA: A, B and head are trained together and averaged",
    .rule = "average",
    .trains = {.mode = FC_TRAIN_LORA},
    .options = fc_cl_merge_rows,
    .n_options = 1,
    .options_size = sizeof(fc_cl_merge_options),
    .sends_deltas = fc_cl_merge_sends_deltas,
    .train_base = fc_cl_merge_train_base,
    .eval_base = fc_cl_merge_eval_base};
