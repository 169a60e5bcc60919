#include "core/merge/rules/rule_average.h"

#include "core/base/parallel.h"
#include "core/merge/closed_form.h"

#include <string.h>

typedef struct mean_job {
    double *const *out;
    const fc_tv_set *in;
    double total; /* of the weights */
} mean_job;

static double update_weight(const fc_tv_set *in, int i)
{
    return in->weight ? in->weight[i] : 1;
}

/* out = sum_i w_i tau_i / sum_i w_i */
static fc_status mean_tensor(void *ctx, int t, fc_arena *scratch, fc_error *err)
{
    (void)scratch, (void)err;
    const mean_job *j = ctx;
    const fc_tv_shape *s = &j->in->shape[t];
    memset(j->out[t], 0, fc_tv_size(s) * sizeof *j->out[t]);
    for (int i = 0; i < j->in->n; i++)
        fc_tv_add(j->out[t], update_weight(j->in, i) / j->total, fc_tv_at(j->in, i, t), s);
    return FC_OK;
}

fc_status fc_rule_average(double *const *out, const fc_tv_set *in, const void *options,
                          fc_arena *arena, fc_error *err)
{
    (void)options, (void)arena;
    mean_job j = {out, in, 0};
    FC_TRY(fc_tv_check(in, err));
    for (int i = 0; i < in->n; i++)
        j.total += update_weight(in, i);
    if (!(j.total > 0))
        return fc_fail(err, FC_EUSAGE, "average: the weights sum to %g, expected more than 0",
                       j.total);
    return fc_parallel_for(in->tensors, mean_tensor, &j, err);
}

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
