#include "sim/methods/cl_merge.h"

enum { RUN_SUM, RUN_MEAN, INDIVIDUAL_SUM, INDIVIDUAL_MEAN };

const fc_opt fc_cl_merge_rows[1] = {FC_CL_MERGE_ROW};

static int kind(const fc_method_setup *s)
{
    return ((const fc_cl_merge_options *)s->options)->cl_merge;
}

bool fc_cl_merge_sends_deltas(const fc_method_setup *s)
{
    return kind(s) == RUN_SUM || kind(s) == RUN_MEAN;
}

void fc_cl_merge_train_base(const fc_method_setup *s, const fc_deltas *d, fc_real *w)
{
    if (kind(s) == RUN_SUM)
        fc_deltas_add_sum(w, d, d->tasks, 1.0);
    else if (kind(s) == RUN_MEAN)
        fc_deltas_add_sum(w, d, d->tasks, 1.0 / d->tasks);
}

void fc_cl_merge_eval_base(const fc_method_setup *s, const fc_deltas *d, fc_real *w, fc_real *scale)
{
    bool sum = kind(s) == RUN_SUM || kind(s) == INDIVIDUAL_SUM;
    double share = sum ? 1.0 : 1.0 / (d->tasks + 1);
    fc_deltas_add_sum(w, d, d->tasks, share);
    *scale = (fc_real)share;
}
