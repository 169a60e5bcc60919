/* FFA-LoRA: A stays at the random value that the server drew for the task; B and the head are
 * trained and averaged, so that mean(B) A = mean(B A) exactly.
 *
 * Sun et al., "Improving LoRA in privacy-preserving federated learning", ICLR 2024, arXiv
 * 2403.12313. */
#include "sim/methods/cl_merge.h"

static unsigned groups(const fc_method_setup *s, int round)
{
    (void)s;
    (void)round;
    return 1u << FC_GROUP_B | 1u << FC_GROUP_HEAD;
}

const fc_method fc_method_ffa_lora = {
    .name = "ffa_lora",
    .paper = "Sun et al., ICLR 2024, arXiv 2403.12313",
    .help = "FFA-LoRA: A is frozen at its random start, B and head are trained and averaged",
    .rule = "average",
    .trains = {.mode = FC_TRAIN_LORA},
    .options = fc_cl_merge_rows,
    .n_options = 1,
    .options_size = sizeof(fc_cl_merge_options),
    .groups = groups,
    .sends_deltas = fc_cl_merge_sends_deltas,
    .train_base = fc_cl_merge_train_base,
    .eval_base = fc_cl_merge_eval_base};
