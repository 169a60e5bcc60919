/* AdaMerging of tasks or files: see sim/train/adamerging.h. */
#include "sim/train/adamerging.h"
#include "sim/train/vit_rule.h"

static double training_flop(const void *options, const fc_net *net, int n, int samples)
{
    const fc_ada_training *o = options;
    (void)samples; /* they come as often as the steps take them */
    return fc_vit_flop(&net->shape, 0, net->classes, FC_TRAIN_FULL, ~0u, true) * n * o->steps *
           o->batch;
}

static fc_status make_adamerging(const fc_vit_making *k, fc_error *err)
{
    const fc_vit_merge_job *j = k->job;
    const fc_ada_training *o = j->options;
    const fc_adamerging_job run = {.options = o->options,
                                   .w0 = j->w0,
                                   .in = j->in,
                                   .tensor = j->tensor,
                                   .head_w = j->head_w,
                                   .head_b = j->head_b,
                                   .entropy = fc_vit_rule_entropy(j, o->steps, o->batch)};
    fc_adamerging a;
    fc_entropy_result result;
    double **tau = fc_vit_rule_tau(k, err);
    if (!tau)
        return FC_EFAIL;
    FC_TRY(fc_adamerging_run(&a, tau, &result, &run, k->arena, err));
    return fc_vit_rule_put(k, tau, err);
}

const fc_vit_rule fc_vit_rule_adamerging = {
    .name = "adamerging",
    .flop = training_flop,
    .make = make_adamerging,
};
