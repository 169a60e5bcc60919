#include "sim/fed/server.h"

#include "sim/fed/down.h"
#include "sim/fed/evaluate.h"
#include "sim/fed/pieces.h"
#include "sim/fed/plan.h"
#include "sim/fed/round.h"
#include "sim/fed/task_merge.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* w_scratch = W0 + what the method adds for its Gram model; the training model if it has none. */
static void set_gram_model(fc_round *x, fc_run *r)
{
    if (!x->job.work.grams || !r->setup->method->gram_base)
        return;
    memcpy(r->scratch.w_scratch, r->setup->w0.p, r->setup->w0.n * sizeof *r->setup->w0.p);
    r->setup->method->gram_base(&r->setup->about, &r->state.deltas, r->scratch.w_scratch,
                                &x->job.gram_scale);
    fc_packed_fill(&r->scratch.packed_scratch, &r->setup->net.shape, r->scratch.w_scratch);
    x->job.gram_w = r->scratch.w_scratch;
    x->job.gram_packed = &r->scratch.packed_scratch;
}

fc_status fc_server_model(fc_model *m, fc_run *r, bool task_end, fc_error *err)
{
    const fc_vit_shape *s = &r->setup->net.shape;
    fc_deltas before = r->state.deltas; /* as they were in the last round */
    if (task_end && r->setup->cfg->task_rule) {
        fc_vit_merged merged = {.w = r->scratch.w_scratch};
        double scale;
        FC_TRY(fc_task_merge(&merged, &scale, r, err));
        return fc_task_merge_model(m, r, &merged, err);
    }
    *m = fc_model_of(s, r->setup->net.mode, r->setup->net.rank, r->setup->net.classes,
                     r->setup->w0.p, &r->state.global);
    if (r->setup->net.mode != FC_TRAIN_LORA)
        return FC_OK;
    m->w = r->scratch.w_scratch;
    m->rank = 0; /* B A goes into w */
    memcpy(r->scratch.w_scratch, r->setup->w0.p, r->setup->w0.n * sizeof *r->setup->w0.p);
    if (task_end && r->setup->method->task_base)
        return r->setup->method->task_base(&r->setup->about, &r->state.deltas, r->scratch.w_scratch,
                                           err);
    before.tasks -= task_end;
    if (r->setup->method->eval_base)
        r->setup->method->eval_base(&r->setup->about, &before, r->scratch.w_scratch, &m->scale);
    for (size_t i = 0; r->state.folded && i < r->setup->w0.n; i++)
        r->scratch.w_scratch[i] += m->scale * r->state.folded[i];
    if (m->scale != 0)
        fc_lora_apply(r->scratch.w_scratch, s, r->setup->net.rank, m->A, m->B, m->scale);
    return FC_OK;
}

/* Fill the evaluation columns of a row. */
static void row_of_eval(fc_round_row *row, const fc_eval *e)
{
    double sum = 0;
    row->correct = row->total = 0;
    for (int s = 0; s < e->seen; s++) {
        row->correct += e->correct[s];
        row->total += e->total[s];
        sum += 100.0 * (double)e->correct[s] / (double)e->total[s];
    }
    if (row->total == 0)
        return;
    row->acc = 100.0 * (double)row->correct / (double)row->total;
    row->acc_task_mean = sum / e->seen;
    row->loss = e->loss;
}

static fc_status log_round(fc_round *x, fc_run *r, fc_error *err)
{
    fc_round_row *row = &x->row;
    if (r->scratch.ranks.me > 0)
        return FC_OK;
    r->state.at.bytes_up += (int64_t)row->bytes_up;
    r->state.at.bytes_down += (int64_t)row->bytes_down;
    row->step = (long)r->state.at.steps;
    row->bytes_up_cum = (uint64_t)r->state.at.bytes_up;
    row->bytes_down_cum = (uint64_t)r->state.at.bytes_down;
    row->wall_s = r->state.clock[0] + fc_wall() - r->scratch.start_wall;
    row->cpu_s = r->state.clock[1] + fc_cpu() - r->scratch.start_cpu;
    row->rss_mib = fc_rss_peak();
    row->sim_s_cum = r->state.sim_s;
    if (!r->setup->devices.on)
        row->sim_s = row->sim_s_cum = NAN;
    FC_TRY(fc_runlog_round(&r->scratch.log, row, err));
    char where[48], acc[32] = "", loss[32] = "", left[32];
    int R = r->setup->cfg->fed.rounds;
    if (row->round > R)
        snprintf(where, sizeof where, "end of task");
    else
        snprintf(where, sizeof where, "round %d/%d", row->round, R);
    if (row->total)
        snprintf(acc, sizeof acc, "  acc %6.2f %%", row->acc);
    if (!isnan(row->train_loss))
        snprintf(loss, sizeof loss, "  loss %.4f", row->train_loss);
    double eta = fc_progress_eta(&r->scratch.progress);
    fc_progress_line(&r->scratch.progress, FC_NORMAL, "task %d/%d  %-11s%s%s  [%s left]", row->task,
                     r->setup->tasks.n, where, acc, loss,
                     isnan(eta) ? "?" : fc_duration(left, eta));
    return FC_OK;
}

/* Random A, B = 0. */
static void fresh_lora(fc_run *r, int t, int round)
{
    int start = round * r->setup->tasks.n + t; /* another one each time */
    fc_lora_init(&r->state.global, &r->setup->net.shape,
                 fc_seed(r->setup->cfg, r->setup->cfg->seed.init), start);
}

fc_status fc_server_begin_task(fc_run *r, int t, fc_error *err)
{
    char classes[64];
    snprintf(classes, sizeof classes, "logits %d to %d", r->setup->tasks.first[t],
             r->setup->tasks.first[t + 1] - 1);
    if (r->scratch.ranks.me == 0)
        FC_TRY(fc_runlog_event(&r->scratch.log, "task_start", t + 1, 0, classes, err));
    if (r->setup->net.mode == FC_TRAIN_LORA)
        fresh_lora(r, t, 0);
    fc_pieces_reset(&r->state, r->setup, t, -1);
    if (r->state.folded)
        memset(r->state.folded, 0, r->setup->w0.n * sizeof *r->state.folded);
    if (r->setup->trained.restarts)
        memcpy(r->state.global.p, r->setup->w0.p, r->setup->w0.n * sizeof *r->setup->w0.p);
    return FC_OK;
}

void fc_server_prepare_task(fc_run *r)
{
    /* in full fine-tuning the tasks are in the trained block already */
    bool base = r->setup->net.mode == FC_TRAIN_LORA && r->setup->method->train_base &&
                r->state.deltas.tasks > 0;
    r->scratch.w_train = r->setup->w0.p;
    if (base || r->state.folded) {
        memcpy(r->scratch.w_buffer, r->setup->w0.p, r->setup->w0.n * sizeof *r->setup->w0.p);
        if (base)
            r->setup->method->train_base(&r->setup->about, &r->state.deltas, r->scratch.w_buffer);
        for (size_t i = 0; r->state.folded && i < r->setup->w0.n; i++)
            r->scratch.w_buffer[i] += r->state.folded[i];
        r->scratch.w_train = r->scratch.w_buffer;
    }
    if (r->scratch.packed_train.block)
        fc_packed_fill(&r->scratch.packed_train, &r->setup->net.shape, r->scratch.w_train);
}

/* The arrays of the server, to all ranks. */
static fc_status share_arrays(fc_run *r, fc_status s, fc_error *err)
{
    for (int i = 0; i < r->setup->n_pieces; i++)
        for (int a = 0; a < r->setup->piece[i].n_arrays; a++) {
            fc_array *x = &r->state.array[i][a];
            if (x->p)
                s = fc_ranks_share(&r->scratch.ranks, s, x->p, x->n * sizeof *x->p, err);
        }
    return s;
}

/* What the pieces make of the merged block. Each note is an event. */
static fc_status step_pieces(const fc_round *x, fc_run *r, fc_real *merged, fc_error *err)
{
    const fc_setup *s = r->setup;
    const fc_piece_server common = fc_round_on_server(x, r, merged);
    double note[FC_PIECES_MAX];
    FC_TRY(fc_pieces_step(note, &r->state, s, &common, err));
    for (int i = 0; i < s->n_pieces; i++) {
        char text[96];
        if (isnan(note[i]))
            continue;
        snprintf(text, sizeof text, "%s: %.6g", s->piece[i].piece->note, note[i]);
        FC_TRY(
            fc_runlog_event(&r->scratch.log, "server_step", x->row.task, x->row.round, text, err));
    }
    return FC_OK;
}

/* The merge of what was folded becomes the global state, which stays as it was if that is nothing.
 */
static fc_status merge_updates(fc_round *x, fc_run *r, fc_error *err)
{
    fc_params merged;
    if (x->loss_n == 0) {
        if (r->state.stack)
            fc_down_stack_scale(&r->state, r->setup, NULL, 0);
        return fc_runlog_event(&r->scratch.log, "no_update", x->row.task, x->row.round,
                               "no update with a sample: the model stays as it was", err);
    }
    double lost = NAN;
    x->merge.lost = &lost;
    FC_TRY(fc_params_alloc(&merged, &r->state.global, &r->scratch.arena, err));
    FC_TRY(fc_merge_finish(x->merge_state, r->setup->cfg->rule, &x->merge, &merged, err));
    FC_TRY(step_pieces(x, r, merged.p, err));
    memcpy(r->state.global.p, merged.p, merged.n * sizeof *merged.p);
    if (r->state.stack)
        fc_down_stack_scale(&r->state, r->setup, x->weight, x->row.clients_ok);
    if (isnan(lost))
        return FC_OK;
    char text[96];
    snprintf(text, sizeof text, "cut to rank %d, which lost %.2f %% of its norm",
             r->setup->net.rank, 100 * lost);
    return fc_runlog_event(&r->scratch.log, "truncated", x->row.task, x->row.round, text, err);
}

/* What rank 0 has merged, to all ranks. s: how that went. */
static fc_status share_merged(fc_run *r, fc_status s, fc_error *err)
{
    fc_ranks *ranks = &r->scratch.ranks;
    fc_state *st = &r->state;
    s = fc_ranks_share(ranks, s, st->global.p, st->global.n * sizeof *st->global.p, err);
    if (st->folded)
        s = fc_ranks_share(ranks, s, st->folded, r->setup->w0.n * sizeof *st->folded, err);
    if (st->stack)
        s = fc_ranks_share(ranks, s, st->stack, fc_down_stack_size(r->setup) * sizeof *st->stack,
                           err);
    return share_arrays(r, s, err);
}

fc_status fc_server_round(fc_run *r, int t, int round, fc_error *err)
{
    fc_mark mark = fc_arena_mark(&r->scratch.arena);
    fc_round x;

    /* --- who takes part, and the merge that their updates go into */
    if (r->setup->trained.folds && round > 0)
        fc_server_prepare_task(r);
    FC_TRY(fc_round_init(&x, r, t, round, err));
    set_gram_model(&x, r);
    x.merge = fc_plan_merge_job(r->setup, &r->state.global, r->state.folded, t, round, x.n);
    FC_TRY(fc_merge_begin(&x.merge_state, r->setup->cfg->rule, &x.merge, &r->scratch.arena, err));

    /* --- the model goes down, clients train, what they send is folded */
    FC_TRY(fc_round_run(&x, r, err));

    /* --- the merge, and the steps of pieces after it; every rank gets the new model */
    double begin = fc_wall();
    fc_status s = r->scratch.ranks.me == 0 ? merge_updates(&x, r, err) : FC_OK;
    s = share_merged(r, s, err);
    if (r->setup->trained.folds)
        fresh_lora(r, t, round + 1);
    FC_TRY(s);
    x.row.merge_s = fc_wall() - begin;

    /* --- test it, and write the round down */
    begin = fc_wall();
    if (fc_plan_evaluates(r->setup, t, round)) {
        fc_model m;
        FC_TRY(fc_server_model(&m, r, false, err));
        FC_TRY(fc_eval_run(r, &m, t, NULL, err));
        row_of_eval(&x.row, &r->state.eval);
    }
    x.row.eval_s = fc_wall() - begin;
    fc_arena_release(&r->scratch.arena, mark);
    return log_round(&x, r, err);
}

/* Row t of the task matrix, from the evaluation at the end of task t. */
static fc_status log_task(fc_run *r, int t, fc_error *err)
{
    int ld = r->state.acc.ld;
    if (r->scratch.ranks.me > 0)
        return FC_OK;
    for (int s = 0; s <= t; s++) {
        r->state.acc.correct[t * ld + s] = r->state.eval.correct[s];
        r->state.acc.total[t * ld + s] = r->state.eval.total[s];
        fc_task_row row = {.after_task = t + 1,
                           .eval_task = s + 1,
                           .correct = r->state.eval.correct[s],
                           .total = r->state.eval.total[s],
                           .correct_masked = r->state.eval.masked[s]};
        FC_TRY(fc_runlog_task(&r->scratch.log, &row, err));
    }
    r->state.acc.done = t + 1;
    char acc[64];
    if (fc_plan_tests_task(r->setup, t))
        snprintf(acc, sizeof acc, "acc %.4f", fc_acc_micro(&r->state.acc, t));
    else
        snprintf(acc, sizeof acc, "not tested");
    FC_TRY(fc_runlog_event(&r->scratch.log, "task_end", t + 1, 0, acc, err));
    return fc_runlog_matrix(&r->scratch.log, &r->state.acc, err);
}

/* Clients take the Grams of the slots once more, now with the merged matrices, and the statistics
 * of pieces. */
static fc_status collect_at_end(fc_round *x, fc_run *r, int t, fc_error *err)
{
    FC_TRY(fc_round_init(x, r, t, r->setup->cfg->fed.rounds, err));
    set_gram_model(x, r);
    return fc_ranks_share(&r->scratch.ranks, fc_round_run(x, r, err), x->sum.g,
                          x->sum.size * sizeof *x->sum.g, err);
}

/* What the task learnt: B A, the updates that its rounds folded in, or the change of the backbone.
 */
static fc_status push_delta(fc_run *r, const fc_grams *Gs, fc_error *err)
{
    if (*r->setup->source_hash) {
        r->state.deltas.tasks++; /* there from the start */
        return FC_OK;
    }
    if (r->state.deltas.A)
        return fc_deltas_push(&r->state.deltas, &r->state.global, Gs, err);
    if (r->state.folded) {
        fc_deltas_push_dense(&r->state.deltas, r->state.folded, NULL);
    } else if (r->state.deltas.W) { /* the backbone is the first part of the block */
        memcpy(r->scratch.w_scratch, r->setup->w0.p, r->setup->w0.n * sizeof *r->setup->w0.p);
        if (!r->setup->trained.restarts)
            fc_deltas_add_sum(r->scratch.w_scratch, &r->state.deltas, r->state.deltas.tasks, 1);
        fc_deltas_push_dense(&r->state.deltas, r->state.global.p, r->scratch.w_scratch);
    }
    return FC_OK;
}

/* Counts of 0 of 0. */
static void nothing_tested(fc_run *r, int t)
{
    r->state.eval.seen = t + 1;
    for (int s = 0; s <= t; s++)
        r->state.eval.correct[s] = r->state.eval.masked[s] = r->state.eval.total[s] = 0;
}

/* The model of tasks.merge, and its test. */
static fc_status eval_merged(fc_round *x, fc_run *r, int t, fc_error *err)
{
    fc_vit_merged m = {.w = r->scratch.w_scratch};
    double begin = fc_wall();
    FC_TRY(fc_task_merge(&m, &x->row.merge_scale, r, err));
    x->row.merge_extra = (double)fc_task_merge_extra(r->setup, &m);
    x->row.merge_s = fc_wall() - begin;
    begin = fc_wall();
    FC_TRY(fc_task_merge_test(r, &m, t, err));
    x->row.eval_s = fc_wall() - begin;
    return FC_OK;
}

/* The model of the finished tasks, and its test. */
static fc_status eval_tasks(fc_round *x, fc_run *r, int t, fc_error *err)
{
    fc_model m;
    double begin = fc_wall();
    if (r->setup->cfg->task_rule)
        return eval_merged(x, r, t, err);
    FC_TRY(fc_server_model(&m, r, true, err));
    x->row.merge_s = fc_wall() - begin;
    begin = fc_wall();
    FC_TRY(fc_eval_run(r, &m, t, NULL, err));
    x->row.eval_s = fc_wall() - begin;
    return FC_OK;
}

/* What the pieces do at the end of a task. */
static fc_status end_pieces(fc_run *r, int t, fc_error *err)
{
    const fc_piece_server common = {.task = t,
                                    .round = r->setup->cfg->fed.rounds,
                                    .start = r->state.global.p,
                                    .global = r->state.global.p};
    bool server = r->scratch.ranks.me == 0;
    fc_status s = server ? fc_pieces_end_task(&r->state, r->setup, &common, err) : FC_OK;
    return r->setup->n_pieces ? share_arrays(r, s, err) : s;
}

fc_status fc_server_end_task(fc_run *r, int t, fc_error *err)
{
    fc_mark mark = fc_arena_mark(&r->scratch.arena);
    fc_round x = {.row = fc_round_row_new(t, r->setup->cfg->fed.rounds)};
    bool grams = r->setup->task_grams;
    if (fc_plan_ends_with_messages(r->setup, t))
        FC_TRY(collect_at_end(&x, r, t, err));
    if (grams && r->scratch.ranks.me == 0 && x.row.clients_ok == 0)
        FC_TRY(fc_runlog_event(&r->scratch.log, "no_update", t + 1, x.row.round,
                               "no Grams: the task has no weight in the merged model", err));
    FC_TRY(end_pieces(r, t, err));
    FC_TRY(push_delta(r, grams ? &x.sum : NULL, err));
    if (r->state.task_head && !*r->setup->source_hash)
        fc_task_head_keep(&r->state, r->setup, t);
    if (fc_plan_evaluates(r->setup, t, r->setup->cfg->fed.rounds))
        FC_TRY(eval_tasks(&x, r, t, err));
    if (!fc_plan_tests_task(r->setup, t))
        nothing_tested(r, t);
    fc_arena_release(&r->scratch.arena, mark);
    row_of_eval(&x.row, &r->state.eval);
    FC_TRY(log_round(&x, r, err));
    return log_task(r, t, err);
}
