#include "core/merge/rule_task_arithmetic.h"

#include "core/merge/rule.h"
#include "core/parallel.h"

#include <stddef.h>
#include <string.h>

typedef struct job {
    double *const *out;
    const fc_tv_set *in;
    double lambda;
} job;

static fc_status sum_tensor(void *ctx, int t, fc_arena *scratch, fc_error *err)
{
    (void)scratch, (void)err;
    const job *j = ctx;
    fc_tv_sum(j->out[t], j->lambda, j->in, t);
    return FC_OK;
}

fc_status fc_rule_task_arithmetic(double *const *out, const fc_tv_set *in, const void *options,
                                  fc_arena *arena, fc_error *err)
{
    (void)arena;
    const fc_task_arithmetic_options *o = options;
    FC_TRY(fc_tv_check(in, err));
    return fc_parallel_for(in->tensors, sum_tensor, &(job){out, in, o->lambda}, err);
}

typedef struct mean_job {
    double *const *out;
    const fc_tv_set *in;
    double total; /* of the weights */
} mean_job;

static double update_weight(const fc_tv_set *in, int i)
{
    return in->weight ? in->weight[i] : 1;
}

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

static const fc_opt rows[] = {
    {.key = "lambda",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_task_arithmetic_options, lambda),
     .def = "0.3",
     .low = -1000,
     .high = 1000,
     .help = "factor on the sum"},
};

static double scale_task_arithmetic(const void *options, double total)
{
    (void)total;
    return ((const fc_task_arithmetic_options *)options)->lambda;
}

const fc_merge_method fc_merge_task_arithmetic = {
    .name = "task_arithmetic",
    .paper = "Ilharco et al., ICLR 2023, arXiv 2212.04089",
    .help = "lambda times the sum of the task vectors",
    .laws = FC_LAW_ORDER,
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(fc_task_arithmetic_options),
    .combine = fc_rule_task_arithmetic,
    .scale = scale_task_arithmetic,
};
