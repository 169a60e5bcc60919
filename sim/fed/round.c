#include "sim/fed/round.h"

#include "sim/fed/down.h"
#include "sim/fed/flop.h"
#include "sim/fed/pieces.h"
#include "sim/fed/saved.h"
#include "sim/parallel/signals.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <string.h>

fc_round_row fc_round_row_new(int t, int round)
{
    return (fc_round_row){.task = t + 1,
                          .round = round + 1,
                          .train_loss = NAN,
                          .loss = NAN,
                          .merge_scale = NAN,
                          .merge_extra = NAN};
}

fc_status fc_round_init(fc_round *x, fc_run *r, int t, int round, fc_error *err)
{
    const fc_setup *s = r->setup;
    fc_arena *a = &r->scratch.arena;
    const fc_work work = fc_plan_work(s, t, round);
    *x = (fc_round){.job = {.work = work,
                            .gram_w = r->scratch.w_train,
                            .gram_packed = fc_run_packed(r),
                            .gram_scale = 1},
                    .id_match = fc_run_ckpt_id(s),
                    .save_after = fc_wall() + s->cfg->run.checkpoint_s,
                    .row = fc_round_row_new(t, round)};
    FC_TRY(fc_cohort_init(&x->cohort, s, a, err));
    FC_TRY(fc_cohort_draw(&x->cohort, s, &work, r->state.sim_s, err));
    x->id = fc_arena_alloc(a, (size_t)x->cohort.n, sizeof *x->id, err);
    if (!x->id)
        return FC_EFAIL;
    for (int i = 0; i < x->cohort.n; i++)
        if (x->cohort.member[i].fate == FC_FATE_OK)
            x->id[x->n++] = x->cohort.member[i].client;
    FC_TRY(fc_params_alloc(&x->params, &s->layout, a, err));
    const fc_grams shape = fc_plan_grams(s, &work);
    if (work.grams)
        FC_TRY(fc_grams_like(&x->grams, &shape, a, err));
    if (work.grams && !work.groups)
        FC_TRY(fc_grams_like(&x->sum, &shape, a, err));
    if (work.fisher)
        FC_TRY(fc_params_alloc(&x->fisher, &s->fisher, a, err));
    size_t message = (x->params.n + x->fisher.n) * sizeof(fc_real) +
                     fc_message_gram_count(&x->grams) * sizeof(float);
    size_t own = work.groups ? s->own_numbers : 0;
    size_t sent = work.groups || work.statistics ? s->sent_numbers : 0;
    if (sent && !(x->sent = fc_arena_alloc(a, sent, sizeof *x->sent, err)))
        return FC_EFAIL;
    if (r->state.stack && !(x->weight = fc_arena_alloc(a, (size_t)x->n, sizeof *x->weight, err)))
        return FC_EFAIL;
    message += (own + sent) * sizeof(fc_real);
    const fc_ranks *ranks = &r->scratch.ranks;
    return fc_wave_init(&x->wave, fc_plan_wave(message, x->n, ranks->all_threads), own, ranks->n, a,
                        err);
}

/* A message goes into the run directory, which only rank 0 knows. */
static fc_status save_message(const fc_round *x, const fc_run *r, int slot, fc_error *err)
{
    const fc_message *m = &x->wave.message[slot];
    return fc_checkpoint_client_save(r->scratch.log.dir, x->job.work.task, x->job.work.round,
                                     x->wave.id[slot], &x->id_match, m->data, m->n,
                                     fc_wave_own(&x->wave, slot), x->wave.numbers, err);
}

/* The client of a slot trains; its message is saved where the round takes long. */
static fc_status train_slot(fc_round *x, fc_run *r, fc_trainer *t, int slot)
{
    fc_wave *w = &x->wave;
    fc_error *err = &w->error[slot];
    if (fc_stop_requested())
        return fc_fail(err, FC_ESTOP, "stopped on request");
    FC_TRY(fc_client_run(&w->message[slot], &w->head[slot], r, t, &x->job, w->id[slot],
                         fc_wave_own(w, slot), err));
    bool late = r->scratch.ranks.me == 0 && fc_wall() >= x->save_after;
    return late ? save_message(x, r, slot, err) : FC_OK;
}

/* Those of the cohort before `client` whose updates are not merged: counts and rows. */
static fc_status drop_before(fc_round *x, fc_run *r, int client, fc_error *err)
{
    static const char *const status[] = {[FC_FATE_LATE] = "late", [FC_FATE_LOST] = "lost"};
    for (; x->logged < x->cohort.n && x->cohort.member[x->logged].client < client; x->logged++) {
        const fc_member *m = &x->cohort.member[x->logged];
        if (m->fate == FC_FATE_OK)
            continue;
        size_t up = m->fate == FC_FATE_LATE ? x->cohort.bytes_up : 0;
        *(m->fate == FC_FATE_LATE ? &r->state.at.clients_late : &r->state.at.clients_lost) += 1;
        x->row.clients_dropped++;
        x->row.bytes_down += x->cohort.bytes_down;
        x->row.bytes_up += up;
        if (!r->scratch.log.file[FC_LOG_CLIENTS])
            continue;
        fc_client_row row = {.task = x->row.task,
                             .round = x->row.round,
                             .client = m->client,
                             .status = status[m->fate],
                             .n_samples = fc_client_samples(r->setup, x->job.work.task, m->client),
                             .n_classes = fc_client_classes(r->setup, x->job.work.task, m->client),
                             .loss_first = NAN,
                             .loss_last = NAN,
                             .loss_mean = NAN,
                             .bytes_down = x->cohort.bytes_down,
                             .bytes_up = up,
                             .sim_s = m->seconds};
        FC_TRY(fc_runlog_client(&r->scratch.log, &row, err));
    }
    return FC_OK;
}

fc_piece_server fc_round_on_server(const fc_round *x, const fc_run *r, fc_real *global)
{
    return (fc_piece_server){.groups = x->job.work.groups,
                             .task = x->job.work.task,
                             .round = x->job.work.round,
                             .clients = x->row.clients_ok,
                             .start = r->state.global.p,
                             .global = global};
}

/* What a client has sent goes into the merge and the pieces, or into the sum of Grams; what it
 * keeps, into its file. */
static fc_status fold_message(fc_message_head *h, fc_round *x, fc_run *r, int slot, fc_error *err)
{
    const fc_setup *s = r->setup;
    const fc_work *work = &x->job.work;
    fc_grams *grams = work->grams ? &x->grams : NULL;
    fc_params *fisher = work->fisher ? &x->fisher : NULL;
    fc_message_part part[FC_PARTS_MAX];
    const fc_message_body body = {.p = &x->params,
                                  .groups = work->groups,
                                  .grams = grams,
                                  .fisher = fisher,
                                  .part = part,
                                  .parts = fc_pieces_sent(part, s, work, x->sent)};
    FC_TRY(fc_message_unpack(h, &body, &x->wave.message[slot], err));
    double weight = s->cfg->merge.weighted ? (double)h->n_samples : h->n_samples > 0;
    const fc_piece_server v = fc_round_on_server(x, r, r->state.global.p);
    const fc_piece_update sent = {.client = h->client,
                                  .n_samples = h->n_samples,
                                  .weight = weight,
                                  .steps = h->steps,
                                  .block = work->groups ? x->params.p : NULL};
    const fc_update u = {.client = h->client,
                         .n_samples = h->n_samples,
                         .params = &x->params,
                         .grams = grams,
                         .fisher = fisher};
    if (x->merge_state)
        FC_TRY(fc_merge_fold(x->merge_state, s->cfg->rule, &x->merge, &u, err));
    else if (grams)
        fc_grams_accumulate(&x->sum, &x->grams);
    if (work->groups && r->state.stack) {
        x->weight[x->row.clients_ok] = weight;
        fc_down_stack_keep(&r->state, s, x->row.clients_ok, &x->params);
    }
    fc_pieces_fold(&r->state, s, work, &v, x->sent, &sent);
    return x->wave.own ? fc_client_store_put(&r->state.client_record[h->client], &r->scratch.store,
                                             h->client, fc_wave_own(&x->wave, slot), err)
                       : FC_OK;
}

/* One finished client: its bytes into the merge (or the sum of Grams), its row into the log. */
static fc_status fold_client(fc_round *x, fc_run *r, int slot, fc_error *err)
{
    double train_s = x->wave.head[slot].train_s;
    fc_message_head h;
    FC_TRY(fold_message(&h, x, r, slot, err));
    assert(r->setup->method->centralised || x->wave.message[slot].n == x->cohort.bytes_up);
    FC_TRY(drop_before(x, r, h.client, err));
    const fc_member *m = &x->cohort.member[x->logged++];
    x->row.bytes_up += x->cohort.bytes_up;
    x->row.bytes_down += x->cohort.bytes_down;
    x->row.clients_ok++;
    r->state.at.steps += h.steps;
    if (h.steps > 0) {
        x->loss_sum += h.loss_mean * (double)h.n_samples;
        x->loss_n += h.n_samples;
    }
    if (!r->scratch.log.file[FC_LOG_CLIENTS])
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
    return fc_runlog_client(&r->scratch.log, &row, err);
}

/* What the clients of a wave keep, on all ranks. */
static fc_status load_own(fc_round *x, fc_run *r, fc_error *err)
{
    fc_wave *w = &x->wave;
    fc_ranks *ranks = &r->scratch.ranks;
    fc_status s = FC_OK;
    if (!w->own)
        return FC_OK;
    for (int i = 0; ranks->me == 0 && s == FC_OK && i < w->n; i++)
        s = fc_client_store_get(fc_wave_own(w, i), &r->scratch.store, w->id[i],
                                r->state.client_record[w->id[i]], err);
    return fc_ranks_share(ranks, s, w->own, (size_t)w->n * w->numbers * sizeof *w->own, err);
}

/* What an earlier process saved of a wave. */
static void load_finished(fc_round *x, fc_run *r)
{
    const fc_work *work = &x->job.work;
    for (int i = 0; i < x->wave.n; i++) {
        fc_message *m = &x->wave.message[i];
        m->data = fc_checkpoint_client_load(r->scratch.log.dir, work->task, work->round,
                                            x->wave.id[i], &x->id_match, &m->n,
                                            fc_wave_own(&x->wave, i), x->wave.numbers);
        if (!m->data)
            continue;
        fc_progress_skip(&r->scratch.progress, fc_client_flop(r->setup, work, x->wave.id[i]));
        fc_progress_client(&r->scratch.progress);
    }
}

/* What the finished clients of a wave sent is kept for --resume: all of it where the wave was
 * interrupted, and what other ranks sent where the round takes long. */
static fc_status save_finished(const fc_round *x, const fc_run *r, bool all, fc_error *err)
{
    for (int i = 0; i < x->wave.n; i++)
        if (x->wave.message[i].data && (all || x->wave.owner[i] > 0))
            FC_TRY(save_message(x, r, i, err));
    return FC_OK;
}

/* Piece j of a wave: the j-th longest client; each writes only its own slot. */
typedef struct wave_job {
    fc_round *x;
    fc_run *r;
} wave_job;

static void wave_piece(void *ctx, int thread, int j)
{
    const wave_job *w = ctx;
    fc_scratch *scratch = &w->r->scratch;
    if (train_slot(w->x, w->r, &scratch->crew.trainer[thread], w->x->wave.order[j].slot) == FC_OK)
        fc_progress_client(&scratch->progress);
}

/* The messages of a wave, made on all ranks, to rank 0. */
static fc_status make_messages(fc_round *x, fc_run *r, fc_error *err)
{
    wave_job job = {x, r};
    fc_wave *w = &x->wave;
    fc_scratch *scratch = &r->scratch;
    int mine;
    FC_TRY(load_own(x, r, err));
    if (scratch->ranks.me == 0)
        load_finished(x, r);
    FC_TRY(fc_wave_deal(&mine, w, r->setup, &x->job.work, &scratch->ranks, err));
    fc_pool_run(&scratch->crew.pool, mine, wave_piece, &job);
    FC_TRY(fc_wave_collect(w, r->setup, &x->job.work, &scratch->ranks, &scratch->progress, err));
    for (int i = 0; i < w->n; i++)
        if (w->size[i] == 0)
            return fc_fail(err, FC_ESTOP, "stopped on request");
    return FC_OK;
}

/* Clients first .. first+n-1 of the participants. */
static fc_status run_wave(fc_round *x, fc_run *r, int first, int n, fc_error *err)
{
    fc_wave *w = &x->wave;
    bool server = r->scratch.ranks.me == 0;
    w->id = x->id + first;
    w->n = n;
    memset(w->message, 0, (size_t)n * sizeof *w->message);
    memset(w->error, 0, (size_t)n * sizeof *w->error);
    fc_status s = make_messages(x, r, err);
    if (server && s == FC_ESTOP)
        save_finished(x, r, true, NULL);
    else if (server && s == FC_OK && fc_wall() >= x->save_after)
        s = save_finished(x, r, false, err);
    for (int i = 0; i < n; i++) {
        if (server && s == FC_OK)
            s = fold_client(x, r, i, err);
        fc_message_free(&w->message[i]);
    }
    return s;
}

/* The server's message goes to all of the cohort: the same bytes for each of them. */
static fc_status send_down(fc_round *x, fc_run *r, fc_error *err)
{
    const fc_setup *s = r->setup;
    const fc_work *work = &x->job.work;
    fc_params *received = &r->scratch.received;
    fc_message m = {0};
    if (s->method->centralised) {
        memcpy(received->p, r->state.global.p, received->n * sizeof *received->p);
        return FC_OK;
    }
    FC_TRY(fc_down_pack(&m, r, work->task, work->round, err));
    assert(m.n == x->cohort.bytes_down);
    fc_status status = fc_down_receive(r, &m, work->task, work->round, err);
    fc_message_free(&m);
    return status;
}

/* What pieces want before the clients train. */
static void prepare_pieces(fc_round *x, fc_run *r)
{
    const fc_setup *s = r->setup;
    const fc_work *work = &x->job.work;
    fc_pieces_reset(&r->state, s, work->task, work->round);
    if (!work->groups)
        return;
    if (x->wave.own && r->scratch.ranks.me == 0)
        fc_client_store_round(&r->scratch.store, r->state.client_record, r->state.client_before,
                              work->round == 0 && fc_pieces_forget(s));
    if (r->scratch.packed_start.block)
        fc_packed_fill(&r->scratch.packed_start, &s->net.shape,
                       fc_pieces_teacher(&r->state, s, r->scratch.received.p));
}

fc_status fc_round_run(fc_round *x, fc_run *r, fc_error *err)
{
    const fc_work *work = &x->job.work;
    double begin = fc_wall();
    FC_TRY(send_down(x, r, err));
    prepare_pieces(x, r);
    fc_progress_stage(&r->scratch.progress, (fc_counter){"task", work->task + 1, r->setup->tasks.n},
                      (fc_counter){"round", work->round + 1, r->setup->cfg->fed.rounds}, x->n);
    for (int first = 0; first < x->n; first += x->wave.max) {
        int left = x->n - first;
        FC_TRY(run_wave(x, r, first, left < x->wave.max ? left : x->wave.max, err));
    }
    if (r->scratch.ranks.me == 0)
        FC_TRY(drop_before(x, r, INT_MAX, err));
    r->state.sim_s += x->cohort.sim_s;
    x->row.sim_s = x->cohort.sim_s;
    if (x->loss_n > 0)
        x->row.train_loss = x->loss_sum / (double)x->loss_n;
    x->row.train_s = fc_wall() - begin;
    return FC_OK;
}
