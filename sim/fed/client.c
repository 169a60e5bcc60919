#include "sim/fed/client.h"

#include "sim/config/make.h"
#include "sim/fed/pieces.h"
#include "sim/train/fit_statistics.h"

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

/* "task 3, round 2, client 7" */
static void name_client(char *out, size_t n, const fc_work *w, int client)
{
    if (w->groups)
        snprintf(out, n, "task %d, round %d, client %d", w->task + 1, w->round + 1, client);
    else
        snprintf(out, n, "end of task %d, client %d", w->task + 1, client);
}

/* The pieces at work on the client of that trainer. */
static void view_pieces(fc_piece_client at[FC_PIECES_MAX], const fc_run *r, const fc_trainer *t,
                        const fc_client_job *job, int client, fc_real *own)
{
    const fc_scratch *x = &r->scratch;
    const fc_setup *s = r->setup;
    fc_real *sent = x->sent[t->thread];
    const fc_piece_client common = {.groups = job->work.groups,
                                    .task = job->work.task,
                                    .round = job->work.round,
                                    .client = client,
                                    .n_samples = fc_client_samples(s, job->work.task, client),
                                    .start = x->received.p,
                                    .w = t->local.p,
                                    .gradient = x->gradient[t->thread]};
    if (s->sent_numbers)
        memset(sent, 0, s->sent_numbers * sizeof *sent);
    fc_pieces_client(at, s, &r->state, &common, own, sent);
}

/* Training, between what pieces want before and after it. */
static fc_status train_client(fc_fit_result *fit, const fc_run *r, fc_trainer *t, fc_fit *f,
                              fc_error *err)
{
    const fc_setup *s = r->setup;
    for (int i = 0; i < s->n_pieces; i++)
        if (f->at[i].piece->client_begin)
            f->at[i].piece->client_begin(t->local.p, &f->at[i]);
    if (s->gradient)
        FC_TRY(fc_fit_gradient(r->scratch.gradient[t->thread], t, f, err));
    FC_TRY(fc_fit_run(fit, t, f, err));
    for (int i = 0; i < s->n_pieces; i++) {
        f->at[i].steps = fit->steps;
        if (f->at[i].piece->client_end)
            f->at[i].piece->client_end(&f->at[i]);
    }
    return FC_OK;
}

/* The passes of the pieces that want one, into the arrays that are sent. */
static fc_status take_statistics(const fc_run *r, fc_trainer *t, const fc_work *w, const fc_fit *f,
                                 fc_error *err)
{
    for (int i = 0; i < r->setup->n_pieces; i++)
        if (fc_piece_takes(r->setup, i, w->task, w->round))
            FC_TRY(fc_fit_statistics(&f->at[i], t, f, err));
    return FC_OK;
}

/* The Grams of the model that the job names, into `sent`. */
static fc_status take_grams(fc_grams *sent, fc_run *r, fc_trainer *t, const fc_client_job *job,
                            const fc_fit *f, fc_error *err)
{
    const fc_net *n = &r->setup->net;
    *sent = fc_grams_first(&t->grams, job->work.groups ? t->grams.n : r->setup->slots);
    fc_model m = fc_model_of(&n->shape, n->mode, n->rank, n->classes, job->gram_w, &t->local);
    m.scale = job->gram_scale;
    m.packed = job->gram_packed;
    return fc_fit_grams(sent, t, &m, f->sample, f->n, r->setup->grams.passes, f->key, f->progress,
                        err);
}

/* The training of a client; at: the pieces at work on it. */
static fc_fit fit_of(fc_run *r, const fc_work *work, int client, fc_piece_client *at,
                     const char *what)
{
    const fc_setup *s = r->setup;
    const fc_config *c = s->cfg;
    return (fc_fit){.w = r->scratch.w_train,
                    .packed = fc_run_packed(r),
                    .groups = work->groups,
                    .optim = fc_optim_of(c, work->groups),
                    .schedule = (fc_schedule)c->train.schedule,
                    .warmup = c->train.warmup,
                    .epochs = c->train.epochs,
                    .batch = c->train.batch,
                    .lo = s->tasks.first[work->task],
                    .hi = s->tasks.first[work->task + 1],
                    .at = at,
                    .pieces = s->n_pieces,
                    .extra = fc_pieces_extra(s, work->task),
                    .teacher_packed = &r->scratch.packed_start,
                    .sample =
                        s->partition.sample[work->task] + s->partition.start[work->task][client],
                    .n = fc_client_samples(s, work->task, client),
                    .key = {.seed = fc_seed(c, c->seed.train),
                            .task = (uint32_t)work->task,
                            .round = (uint32_t)work->round,
                            .client = (uint32_t)client},
                    .progress = &r->scratch.progress,
                    .what = what};
}

fc_status fc_client_run(fc_message *out, fc_message_head *head, fc_run *r, fc_trainer *t,
                        const fc_client_job *job, int client, fc_real *own, fc_error *err)
{
    const fc_setup *s = r->setup;
    const fc_work *work = &job->work;
    fc_piece_client at[FC_PIECES_MAX];
    fc_message_part part[FC_PARTS_MAX];
    double begin = fc_wall();
    char what[96];
    name_client(what, sizeof what, work, client);

    /* --- start from what was received */
    memcpy(t->local.p, r->scratch.received.p, t->local.n * sizeof *t->local.p);
    view_pieces(at, r, t, job, client, own);
    fc_fit_result fit = {.loss_first = NAN, .loss_last = NAN, .loss_mean = NAN};
    fc_fit f = fit_of(r, work, client, at, what);

    /* --- train, and take the statistics that the server wants */
    const fc_params *fisher = NULL;
    fc_grams grams = {0};
    if (work->groups && f.n > 0)
        FC_TRY(train_client(&fit, r, t, &f, err));
    if (work->statistics)
        FC_TRY(take_statistics(r, t, work, &f, err));
    if (work->fisher)
        FC_TRY(fc_client_fisher(&fisher, r, t, &f, err));
    if (work->grams)
        FC_TRY(take_grams(&grams, r, t, job, &f, err));

    /* --- pack what is sent */
    *head = (fc_message_head){.task = work->task,
                              .round = work->round,
                              .client = client,
                              .n_samples = f.n,
                              .n_classes = fc_client_classes(s, work->task, client),
                              .steps = fit.steps,
                              .loss_first = fit.loss_first,
                              .loss_last = fit.loss_last,
                              .loss_mean = fit.loss_mean,
                              .train_s = fc_wall() - begin};
    const fc_message_body body = {.p = &t->local,
                                  .groups = work->groups,
                                  .grams = work->grams ? &grams : NULL,
                                  .fisher = fisher,
                                  .part = part,
                                  .parts =
                                      fc_pieces_sent(part, s, work, r->scratch.sent[t->thread])};
    return fc_message_pack(out, head, &body, err);
}
