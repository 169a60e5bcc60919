/* The mean, of parameters as they are sent (FedAvg) or of task vectors:
 *
 *     W* = sum_i w_i W_i / sum_i w_i        w_i = n_samples, or 1
 *
 * Of LoRA's products B A this is what FLoRA computes (exact) and FlexLoRA (cut to the rank); of A
 * and B as they are sent it is FedIT, whose mean(B) mean(A) is not mean(B A). */
#include "core/merge/closed_form.h"
#include "core/merge/rule_task_arithmetic.h"

static fc_status begin_average(void **state, const fc_merge_job *job, fc_arena *arena,
                               fc_error *err)
{
    return fc_closed_form_begin(state, job, NULL, 0, false, arena, err);
}

static double scale_average(const void *options, double total)
{
    (void)options;
    return 1 / total;
}

const fc_merge_method fc_merge_average = {
    .name = "average",
    .paper = "McMahan et al., AISTATS 2017",
    .help = "mean of parameters or task vectors, weighted by samples or uniform",
    .laws = FC_LAW_ONE_CLIENT | FC_LAW_EQUAL_FIXED | FC_LAW_ORDER | FC_LAW_SCALE,
    .begin = begin_average,
    .fold = fc_closed_form_fold,
    .finish = fc_closed_form_finish,
    .combine = fc_rule_average,
    .scale = scale_average,
    .weighs = true,
};
