#include "sim/fed/client.h"

#include "sim/config/make.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

fc_status fc_client_fisher(const fc_params **sent, const fc_run *r, fc_trainer *t, const fc_fit *f,
                           fc_error *err)
{
    return fc_fit_fisher_client(sent, &r->scratch.fisher, t, f,
                                (fc_fisher_kind)r->setup->cfg->merge.fisher,
                                (size_t)r->setup->cfg->merge.samples, err);
}

fc_status fc_client_run(fc_message *out, fc_message_head *head, fc_run *r, fc_trainer *t,
                        const fc_client_job *job, int client, fc_error *err)
{
    const fc_config *c = r->setup->cfg;
    const uint32_t *sample = r->setup->partition.sample[job->work.task] +
                             r->setup->partition.start[job->work.task][client];
    size_t n = fc_client_samples(r->setup, job->work.task, client);
    double begin = fc_wall();
    char what[96];
    if (job->work.groups)
        snprintf(what, sizeof what, "task %d, round %d, client %d", job->work.task + 1,
                 job->work.round + 1, client);
    else
        snprintf(what, sizeof what, "end of task %d, client %d", job->work.task + 1, client);
    fc_key key = {.seed = fc_seed(c, c->seed.train),
                  .task = (uint32_t)job->work.task,
                  .round = (uint32_t)job->work.round,
                  .client = (uint32_t)client};

    memcpy(t->local.p, r->state.global.p, t->local.n * sizeof *t->local.p);
    fc_fit_result fit = {.loss_first = NAN, .loss_last = NAN, .loss_mean = NAN};
    const fc_fit f = {.w = r->scratch.w_train,
                      .packed = fc_run_packed(r),
                      .groups = job->work.groups,
                      .optim = fc_optim_of(c, job->work.groups),
                      .schedule = (fc_schedule)c->train.schedule,
                      .warmup = c->train.warmup,
                      .epochs = c->train.epochs,
                      .batch = c->train.batch,
                      .lo = r->setup->tasks.first[job->work.task],
                      .hi = r->setup->tasks.first[job->work.task + 1],
                      .sample = sample,
                      .n = n,
                      .key = key,
                      .progress = &r->scratch.progress,
                      .what = what};
    if (job->work.groups && n > 0)
        FC_TRY(fc_fit_run(&fit, t, &f, err));
    const fc_params *fisher = NULL;
    if (job->work.fisher)
        FC_TRY(fc_client_fisher(&fisher, r, t, &f, err));
    fc_grams sent = {0};
    if (job->work.grams) {
        sent = fc_grams_first(&t->grams, job->work.groups ? t->grams.n : r->setup->slots);
        fc_model m = fc_model_of(&r->setup->net.shape, r->setup->net.mode, r->setup->net.rank,
                                 r->setup->net.classes, job->gram_w, &t->local);
        m.scale = job->gram_scale;
        m.packed = job->gram_packed;
        FC_TRY(fc_fit_grams(&sent, t, &m, sample, n, r->setup->grams.passes, key,
                            &r->scratch.progress, err));
    }
    *head = (fc_message_head){.task = job->work.task,
                              .round = job->work.round,
                              .client = client,
                              .n_samples = n,
                              .n_classes = fc_client_classes(r->setup, job->work.task, client),
                              .steps = fit.steps,
                              .loss_first = fit.loss_first,
                              .loss_last = fit.loss_last,
                              .loss_mean = fit.loss_mean,
                              .train_s = fc_wall() - begin};
    return fc_message_pack(out, head, &t->local, job->work.groups, job->work.grams ? &sent : NULL,
                           fisher, err);
}
