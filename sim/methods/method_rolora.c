/* RoLoRA: one LoRA factor per round, so that the average of the clients' factors is the average of
 * their updates: mean(B_i) A = mean(B_i A), B mean(A_i) = mean(B A_i).
 *
 * Chen et al., "Robust federated finetuning of LLMs via alternating optimization of LoRA", NeurIPS
 * 2025, arXiv 2502.01755. Rounds are counted per task: the first one trains B (B = 0 at the start,
 * so A would not move), the next A, and so on; the head is trained and averaged in every round. */
#include "sim/methods/cl_merge.h"

static unsigned groups(const fc_method_setup *s, int round)
{
    (void)s;
    return 1u << (round % 2 == 0 ? FC_GROUP_B : FC_GROUP_A) | 1u << FC_GROUP_HEAD;
}

const fc_method fc_method_rolora = {
    .name = "rolora",
    .paper = "Chen et al., NeurIPS 2025, arXiv 2502.01755",
    .help = "RoLoRA: B and A are trained and averaged in turn, one per round, with the head",
    .rule = "average",
    .trains = {.mode = FC_TRAIN_LORA},
    .options = fc_cl_merge_rows,
    .n_options = 1,
    .options_size = sizeof(fc_cl_merge_options),
    .groups = groups,
    .sends_deltas = fc_cl_merge_sends_deltas,
    .train_base = fc_cl_merge_train_base,
    .eval_base = fc_cl_merge_eval_base};
