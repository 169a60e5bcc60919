#include "sim/message.h"
#include "sim/run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

int fc_client_classes(const fc_run *r, int t, int client)
{
    const size_t *start = r->partition.start[t];
    const uint32_t *sample = r->partition.sample[t];
    int count = 0;
    for (int c = r->tasks.first[t]; c < r->tasks.first[t + 1]; c++)
        for (size_t i = start[client]; i < start[client + 1]; i++)
            if (r->net.logit[r->data.train.label[sample[i]]] == c) {
                count++;
                break;
            }
    return count;
}

size_t fc_client_samples(const fc_run *r, int t, int client)
{
    const size_t *start = r->partition.start[t];
    return start[client + 1] - start[client];
}

fc_status fc_client_fisher(const fc_params **sent, const fc_run *r, fc_trainer *t, const fc_fit *f,
                           fc_error *err)
{
    return fc_fit_fisher_client(sent, &r->fisher, t, f, (fc_fisher_kind)r->cfg->merge.fisher,
                                (size_t)r->cfg->merge.samples, err);
}

fc_status fc_client_run(fc_message *out, fc_message_head *head, fc_run *r, fc_trainer *t,
                        const fc_client_job *job, int client, fc_error *err)
{
    const fc_config *c = r->cfg;
    const uint32_t *sample = r->partition.sample[job->task] + r->partition.start[job->task][client];
    size_t n = fc_client_samples(r, job->task, client);
    double begin = fc_wall();
    char what[96];
    if (job->groups)
        snprintf(what, sizeof what, "task %d, round %d, client %d", job->task + 1, job->round + 1,
                 client);
    else
        snprintf(what, sizeof what, "end of task %d, client %d", job->task + 1, client);
    fc_key key = {.seed = fc_seed(c, c->seed.train),
                  .task = (uint32_t)job->task,
                  .round = (uint32_t)job->round,
                  .client = (uint32_t)client};

    memcpy(t->local.p, r->global.p, t->local.n * sizeof *t->local.p);
    fc_fit_result fit = {.loss_first = NAN, .loss_last = NAN, .loss_mean = NAN};
    const fc_fit f = {.w = r->w_train,
                      .packed = fc_run_packed(r),
                      .groups = job->groups,
                      .optim = fc_optim_of(c, job->groups),
                      .schedule = (fc_schedule)c->train.schedule,
                      .warmup = c->train.warmup,
                      .epochs = c->train.epochs,
                      .batch = c->train.batch,
                      .lo = r->tasks.first[job->task],
                      .hi = r->tasks.first[job->task + 1],
                      .sample = sample,
                      .n = n,
                      .key = key,
                      .progress = &r->progress,
                      .what = what};
    if (job->groups && n > 0)
        FC_TRY(fc_fit_run(&fit, t, &f, err));
    const fc_params *fisher = NULL;
    if (job->fisher)
        FC_TRY(fc_client_fisher(&fisher, r, t, &f, err));
    fc_grams sent = {0};
    if (job->grams) {
        sent = fc_grams_first(&t->grams, job->groups ? t->grams.n : r->slots);
        fc_model m = fc_model_of(&r->net.shape, r->net.mode, r->net.rank, r->net.classes,
                                 job->gram_w, &t->local);
        m.scale = job->gram_scale;
        m.packed = job->gram_packed;
        FC_TRY(fc_fit_grams(&sent, t, &m, sample, n, r->grams.passes, key, &r->progress, err));
    }
    *head = (fc_message_head){.task = job->task,
                              .round = job->round,
                              .client = client,
                              .n_samples = n,
                              .n_classes = fc_client_classes(r, job->task, client),
                              .steps = fit.steps,
                              .loss_first = fit.loss_first,
                              .loss_last = fit.loss_last,
                              .loss_mean = fit.loss_mean,
                              .train_s = fc_wall() - begin};
    return fc_message_pack(out, head, &t->local, job->groups, job->grams ? &sent : NULL, fisher,
                           err);
}
