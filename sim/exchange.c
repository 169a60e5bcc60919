#include "sim/spread.h"

#include "sim/signals.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int by_length(const void *a, const void *b)
{
    const fc_longest *x = a, *y = b;
    if (x->samples != y->samples)
        return x->samples > y->samples ? -1 : 1;
    return x->slot - y->slot;
}

fc_round_row fc_exchange_row(int t, int round)
{
    return (fc_round_row){.task = t + 1,
                          .round = round + 1,
                          .train_loss = NAN,
                          .loss = NAN,
                          .merge_scale = NAN,
                          .merge_extra = NAN};
}

int fc_exchange_wave(const fc_run *r, size_t bytes, int n)
{
    size_t fit = FC_WAVE_BYTES / (bytes + 1), least = 2 * (size_t)r->all_threads;
    size_t wave = fit < least ? least : fit;
    return wave < (size_t)n ? (int)wave : n;
}

fc_status fc_exchange_init(fc_exchange *x, fc_run *r, int t, int round, unsigned groups,
                           fc_error *err)
{
    fc_arena *a = &r->arena;
    bool grams = r->gram_shape.n > 0, fisher = groups && r->fisher.part.n > 0;
    *x = (fc_exchange){.job = {.task = t,
                               .round = round,
                               .groups = groups,
                               .grams = grams,
                               .fisher = fisher,
                               .gram_w = r->w_train,
                               .gram_packed = fc_run_packed(r),
                               .gram_scale = 1},
                       .id_match = fc_run_ckpt_id(r),
                       .save_after = fc_wall() + r->cfg->run.checkpoint_s,
                       .row = fc_exchange_row(t, round)};
    FC_TRY(fc_cohort_init(&x->cohort, r, a, err));
    FC_TRY(fc_cohort_draw(&x->cohort, r, &x->job, r->sim_s, err));
    x->id = fc_arena_alloc(a, (size_t)x->cohort.n, sizeof *x->id, err);
    if (!x->id)
        return FC_EFAIL;
    for (int i = 0; i < x->cohort.n; i++)
        if (x->cohort.member[i].fate == FC_FATE_OK)
            x->id[x->n++] = x->cohort.member[i].client;
    FC_TRY(fc_params_alloc(&x->params, &r->global, a, err));
    fc_grams shape = fc_grams_first(&r->gram_shape, groups ? r->gram_shape.n : r->slots);
    if (grams)
        FC_TRY(fc_grams_like(&x->grams, &shape, a, err));
    if (grams && !groups)
        FC_TRY(fc_grams_like(&x->sum, &shape, a, err));
    if (fisher)
        FC_TRY(fc_params_alloc(&x->fisher, &r->fisher.part, a, err));
    size_t message = (x->params.n + x->fisher.n) * sizeof(fc_real) +
                     fc_message_gram_count(&x->grams) * sizeof(float);
    x->wave_max = fc_exchange_wave(r, message, x->n);
    size_t w = (size_t)x->wave_max;
    x->message = fc_arena_alloc(a, w, sizeof *x->message, err);
    x->head = fc_arena_alloc(a, w, sizeof *x->head, err);
    x->error = fc_arena_alloc(a, w, sizeof *x->error, err);
    x->order = fc_arena_alloc(a, w, sizeof *x->order, err);
    x->size = fc_arena_alloc(a, w, sizeof *x->size, err);
    x->owner = fc_arena_alloc(a, w, sizeof *x->owner, err);
    x->load = fc_arena_alloc(a, (size_t)r->ranks.n, sizeof *x->load, err);
    return x->message && x->head && x->error && x->order && x->size && x->owner && x->load
               ? FC_OK
               : FC_EFAIL;
}

/* A message goes into the run directory, which only rank 0 knows. */
static fc_status save_message(const fc_exchange *x, const fc_run *r, int slot, int client,
                              fc_error *err)
{
    const fc_message *m = &x->message[slot];
    return fc_checkpoint_client_save(r->log.dir, x->job.task, x->job.round, client, &x->id_match,
                                     m->data, m->n, err);
}

/* The message of a client. */
static fc_status wave_client(fc_exchange *x, fc_run *r, fc_trainer *t, int slot, int client)
{
    fc_error *err = &x->error[slot];
    if (fc_stop_requested())
        return fc_fail(err, FC_ESTOP, "stopped on request");
    FC_TRY(fc_client_run(&x->message[slot], &x->head[slot], r, t, &x->job, client, err));
    return r->ranks.me == 0 && fc_wall() >= x->save_after ? save_message(x, r, slot, client, err)
                                                          : FC_OK;
}

/* Those of the cohort before `client` whose updates are not merged: counts and rows. */
static fc_status drop_before(fc_exchange *x, fc_run *r, int client, fc_error *err)
{
    static const char *const status[] = {[FC_FATE_LATE] = "late", [FC_FATE_LOST] = "lost"};
    for (; x->logged < x->cohort.n && x->cohort.member[x->logged].client < client; x->logged++) {
        const fc_member *m = &x->cohort.member[x->logged];
        if (m->fate == FC_FATE_OK)
            continue;
        size_t up = m->fate == FC_FATE_LATE ? x->cohort.bytes_up : 0;
        *(m->fate == FC_FATE_LATE ? &r->at.clients_late : &r->at.clients_lost) += 1;
        x->row.clients_dropped++;
        x->row.bytes_down += x->cohort.bytes_down;
        x->row.bytes_up += up;
        if (!r->log.file[FC_LOG_CLIENTS])
            continue;
        fc_client_row row = {.task = x->row.task,
                             .round = x->row.round,
                             .client = m->client,
                             .status = status[m->fate],
                             .n_samples = fc_client_samples(r, x->job.task, m->client),
                             .n_classes = fc_client_classes(r, x->job.task, m->client),
                             .loss_first = NAN,
                             .loss_last = NAN,
                             .loss_mean = NAN,
                             .bytes_down = x->cohort.bytes_down,
                             .bytes_up = up,
                             .sim_s = m->seconds};
        FC_TRY(fc_runlog_client(&r->log, &row, err));
    }
    return FC_OK;
}

/* One finished client: its bytes into the merge (or the sum of Grams), its row into the log. */
static fc_status fold_client(fc_exchange *x, fc_run *r, int slot, fc_error *err)
{
    double train_s = x->head[slot].train_s;
    fc_message_head h;
    fc_grams *grams = x->job.grams ? &x->grams : NULL;
    fc_params *fisher = x->job.fisher ? &x->fisher : NULL;
    FC_TRY(fc_message_unpack(&h, &x->params, x->job.groups, grams, fisher, &x->message[slot], err));
    if (x->merge_state) {
        fc_update u = {.client = h.client,
                       .n_samples = h.n_samples,
                       .params = &x->params,
                       .grams = grams,
                       .fisher = fisher};
        FC_TRY(fc_merge_fold(x->merge_state, r->cfg->rule, &x->merge, &u, err));
    } else {
        fc_grams_accumulate(&x->sum, &x->grams);
    }
    assert(r->method->centralised || x->message[slot].n == x->cohort.bytes_up);
    FC_TRY(drop_before(x, r, h.client, err));
    const fc_member *m = &x->cohort.member[x->logged++];
    x->row.bytes_up += x->cohort.bytes_up;
    x->row.bytes_down += x->cohort.bytes_down;
    x->row.clients_ok++;
    r->at.steps += h.steps;
    if (h.steps > 0) {
        x->loss_sum += h.loss_mean * (double)h.n_samples;
        x->loss_n += h.n_samples;
    }
    if (!r->log.file[FC_LOG_CLIENTS])
        return FC_OK;
    fc_client_row row = {.task = h.task + 1,
                         .round = h.round + 1,
                         .client = h.client,
                         .status = "ok",
                         .n_samples = h.n_samples,
                         .n_classes = h.n_classes,
                         .steps = h.steps,
                         .loss_first = h.loss_first,
                         .loss_last = h.loss_last,
                         .loss_mean = h.loss_mean,
                         .bytes_down = x->cohort.bytes_down,
                         .bytes_up = x->cohort.bytes_up,
                         .train_s = train_s,
                         .sim_s = m->seconds};
    return fc_runlog_client(&r->log, &row, err);
}

/* What an earlier process saved of a wave. */
static void load_finished(fc_exchange *x, fc_run *r, const int *id, int n)
{
    for (int i = 0; i < n; i++) {
        fc_message *m = &x->message[i];
        m->data = fc_checkpoint_client_load(r->log.dir, x->job.task, x->job.round, id[i],
                                            &x->id_match, &m->n);
        if (!m->data)
            continue;
        fc_progress_skip(&r->progress, fc_client_flop(r, &x->job, id[i]));
        fc_progress_client(&r->progress);
    }
}

/* What the finished clients of a wave sent is kept for --resume: all of it where the wave was
 * interrupted, and what other ranks sent where the round takes long. */
static fc_status save_finished(fc_exchange *x, fc_run *r, const int *id, int n, bool all,
                               fc_error *err)
{
    for (int i = 0; i < n; i++)
        if (x->message[i].data && (all || x->owner[i] > 0))
            FC_TRY(save_message(x, r, i, id[i], err));
    return FC_OK;
}

/* Piece j of a wave: the j-th longest client; each writes only its own slot. */
typedef struct wave_job {
    fc_exchange *x;
    fc_run *r;
    const int *id; /* of each slot */
} wave_job;

static void wave_piece(void *ctx, int thread, int j)
{
    const wave_job *w = ctx;
    int slot = w->x->order[j].slot;
    if (wave_client(w->x, w->r, &w->r->crew.trainer[thread], slot, w->id[slot]) == FC_OK)
        fc_progress_client(&w->r->progress);
}

/* The messages of n clients, made on all ranks, to rank 0. */
static fc_status make_messages(fc_exchange *x, fc_run *r, const int *id, int n, fc_error *err)
{
    wave_job job = {x, r, id};
    int mine;
    for (int i = 0; i < n; i++)
        x->order[i] = (fc_longest){fc_client_samples(r, x->job.task, id[i]), i};
    qsort(x->order, (size_t)n, sizeof *x->order, by_length);
    if (r->ranks.me == 0)
        load_finished(x, r, id, n);
    FC_TRY(fc_spread_deal(&mine, x, r, n, err));
    fc_pool_run(&r->crew.pool, mine, wave_piece, &job);
    FC_TRY(fc_spread_collect(x, r, id, n, err));
    for (int i = 0; i < n; i++)
        if (x->size[i] == 0)
            return fc_fail(err, FC_ESTOP, "stopped on request");
    return FC_OK;
}

/* Clients first .. first+n-1 of the participants. */
static fc_status wave(fc_exchange *x, fc_run *r, int first, int n, fc_error *err)
{
    const int *id = x->id + first;
    bool server = r->ranks.me == 0;
    memset(x->message, 0, (size_t)n * sizeof *x->message);
    memset(x->error, 0, (size_t)n * sizeof *x->error);
    fc_status s = make_messages(x, r, id, n, err);
    if (server && s == FC_ESTOP)
        save_finished(x, r, id, n, true, NULL);
    else if (server && s == FC_OK && fc_wall() >= x->save_after)
        s = save_finished(x, r, id, n, false, err);
    for (int i = 0; i < n; i++) {
        if (server && s == FC_OK)
            s = fold_client(x, r, i, err);
        fc_message_free(&x->message[i]);
    }
    return s;
}

fc_status fc_exchange_run(fc_exchange *x, fc_run *r, fc_error *err)
{
    double begin = fc_wall();
    fc_progress_stage(&r->progress, (fc_counter){"task", x->job.task + 1, r->tasks.n},
                      (fc_counter){"round", x->job.round + 1, r->cfg->fed.rounds}, x->n);
    for (int first = 0; first < x->n; first += x->wave_max)
        FC_TRY(wave(x, r, first, x->n - first < x->wave_max ? x->n - first : x->wave_max, err));
    if (r->ranks.me == 0)
        FC_TRY(drop_before(x, r, INT_MAX, err));
    r->sim_s += x->cohort.sim_s;
    x->row.sim_s = x->cohort.sim_s;
    if (x->loss_n > 0)
        x->row.train_loss = x->loss_sum / (double)x->loss_n;
    x->row.train_s = fc_wall() - begin;
    return FC_OK;
}
