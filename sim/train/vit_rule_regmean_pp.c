/* RegMean++ of tasks or files: see sim/train/regmean_pp.h. */
#include "core/merge/rules/rule_regmean.h"
#include "sim/train/regmean_pp.h"
#include "sim/train/vit_rule.h"

/* Every image goes through the network once for each block. */
static double passes_flop(const void *options, const fc_net *net, int n, int samples)
{
    double images = n;
    (void)options;
    images *= samples;
    return fc_vit_flop(&net->shape, 0, net->classes, FC_TRAIN_FULL, 0, false) * net->shape.depth *
           images;
}

static fc_status make_regmean_pp(const fc_vit_making *k, fc_error *err)
{
    const fc_vit_merge_job *j = k->job;
    const fc_regmean_options *o = j->options;
    const fc_regmean_pp_job run = {.net = j->net,
                                   .crew = j->crew,
                                   .split = j->split,
                                   .w0 = j->w0,
                                   .in = j->in,
                                   .tensor = j->tensor,
                                   .task = j->task,
                                   .off_diagonal = o->off_diagonal,
                                   .progress = j->progress};
    double **tau = fc_vit_rule_tau(k, err);
    if (!tau)
        return FC_EFAIL;
    FC_TRY(fc_regmean_pp_run(tau, &run, err));
    return fc_vit_rule_put(k, tau, err);
}

const fc_vit_rule fc_vit_rule_regmean_pp = {
    .name = "regmean_pp",
    .grams = true,
    .flop = passes_flop,
    .make = make_regmean_pp,
};
