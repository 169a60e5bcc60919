#include "core/merge/rule_task_arithmetic.h"

#include "core/parallel.h"

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

fc_status fc_rule_average(double *const *out, const fc_tv_set *in, const void *options,
                          fc_arena *arena, fc_error *err)
{
    (void)options;
    return fc_rule_task_arithmetic(out, in, &(fc_task_arithmetic_options){1.0 / in->n}, arena, err);
}
