#include "core/merge/rules/rule_task_arithmetic.h"

#include "core/base/parallel.h"
#include "core/merge/rule.h"

#include <stddef.h>

typedef struct job {
    double *const *out;
    const fc_tv_set *in;
    double lambda;
} job;

/* out = lambda sum_i tau_i */
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
