/* FedAvg (McMahan et al. 2017): W* = sum_i n_i W_i / sum_i n_i, or the plain mean. */
#include "core/merge/closed_form.h"

static fc_status begin(void **state, const fc_merge_job *job, fc_arena *arena, fc_error *err)
{
    return fc_closed_form_begin(state, job, NULL, 0, false, arena, err);
}

const fc_merge_method fc_merge_average = {
    .name = "average",
    .paper = "McMahan et al., AISTATS 2017",
    .help = "mean of the clients' parameters, weighted by their samples or uniform",
    .laws = FC_LAW_ONE_CLIENT | FC_LAW_EQUAL_FIXED | FC_LAW_ORDER | FC_LAW_SCALE,
    .begin = begin,
    .fold = fc_closed_form_fold,
    .finish = fc_closed_form_finish,
};
