#include "sim/exchange.h"
#include "sim/run.h"
#include "sim/task_merge.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Is there a model of the finished tasks that differs from the last round's? */
static bool merges_tasks(const fc_run *r)
{
    return r->cfg->task_rule || r->method->task_base;
}

/* Is there a test after task t at all? */
static bool tests_task(const fc_run *r, int t)
{
    enum { ALL, LAST };
    return r->cfg->eval.tasks == ALL || t == r->tasks.n - 1;
}

bool fc_server_evaluates(const fc_run *r, int t, int round)
{
    enum { ALL, LAST, NONE };
    int R = r->cfg->fed.rounds, when = r->cfg->eval.rounds;
    if (round == R)
        return merges_tasks(r) && tests_task(r, t);
    if (!tests_task(r, t))
        return false;
    bool last = round == R - 1;
    return when == ALL || (last && (when == LAST || !merges_tasks(r)));
}

/* w_scratch = W0 + what the method adds for its Gram model; the training model if it has none. */
static void set_gram_model(fc_exchange *x, fc_run *r)
{
    if (!x->job.grams || !r->method->gram_base)
        return;
    memcpy(r->w_scratch, r->w0.p, r->w0.n * sizeof *r->w0.p);
    r->method->gram_base(r->cfg, &r->deltas, r->w_scratch, &x->job.gram_scale);
    fc_packed_fill(&r->packed_scratch, &r->net.shape, r->w_scratch);
    x->job.gram_w = r->w_scratch;
    x->job.gram_packed = &r->packed_scratch;
}

fc_status fc_server_model(fc_model *m, fc_run *r, bool task_end, fc_error *err)
{
    const fc_vit_shape *s = &r->net.shape;
    fc_deltas before = r->deltas; /* as they were in the last round */
    if (task_end && r->cfg->task_rule) {
        fc_vit_merged merged = {.w = r->w_scratch};
        double scale;
        FC_TRY(fc_task_merge(&merged, &scale, r, err));
        return fc_task_merge_model(m, r, &merged, err);
    }
    *m = fc_model_of(s, r->net.mode, r->net.rank, r->net.classes, r->w0.p, &r->global);
    if (r->net.mode != FC_TRAIN_LORA)
        return FC_OK;
    m->w = r->w_scratch;
    m->rank = 0; /* B A goes into w */
    memcpy(r->w_scratch, r->w0.p, r->w0.n * sizeof *r->w0.p);
    if (task_end && r->method->task_base)
        return r->method->task_base(r->cfg, &r->deltas, r->w_scratch, err);
    before.tasks -= task_end;
    if (r->method->eval_base)
        r->method->eval_base(r->cfg, &before, r->w_scratch, &m->scale);
    for (size_t i = 0; r->folded && i < r->w0.n; i++)
        r->w_scratch[i] += m->scale * r->folded[i];
    if (m->scale != 0)
        fc_lora_apply(r->w_scratch, s, r->net.rank, m->A, m->B, m->scale);
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

static fc_status log_round(fc_exchange *x, fc_run *r, fc_error *err)
{
    fc_round_row *row = &x->row;
    if (r->ranks.me > 0)
        return FC_OK;
    r->at.bytes_up += (int64_t)row->bytes_up;
    r->at.bytes_down += (int64_t)row->bytes_down;
    row->step = (long)r->at.steps;
    row->bytes_up_cum = (uint64_t)r->at.bytes_up;
    row->bytes_down_cum = (uint64_t)r->at.bytes_down;
    row->wall_s = r->clock[0] + fc_wall() - r->start_wall;
    row->cpu_s = r->clock[1] + fc_cpu() - r->start_cpu;
    row->rss_mib = fc_rss_peak();
    row->sim_s_cum = r->sim_s;
    if (!r->devices.on)
        row->sim_s = row->sim_s_cum = NAN;
    FC_TRY(fc_runlog_round(&r->log, row, err));
    char where[48], acc[32] = "", loss[32] = "", left[32];
    int R = r->cfg->fed.rounds;
    if (row->round > R)
        snprintf(where, sizeof where, "end of task");
    else
        snprintf(where, sizeof where, "round %d/%d", row->round, R);
    if (row->total)
        snprintf(acc, sizeof acc, "  acc %6.2f %%", row->acc);
    if (!isnan(row->train_loss))
        snprintf(loss, sizeof loss, "  loss %.4f", row->train_loss);
    double eta = fc_progress_eta(&r->progress);
    fc_progress_line(&r->progress, FC_NORMAL, "task %d/%d  %-11s%s%s  [%s left]", row->task,
                     r->tasks.n, where, acc, loss, isnan(eta) ? "?" : fc_duration(left, eta));
    return FC_OK;
}

/* Random A, B = 0. */
static void fresh_lora(fc_run *r, int t, int round)
{
    int start = round * r->tasks.n + t; /* another one each time */
    fc_lora_init(&r->global, &r->net.shape, fc_seed(r->cfg, r->cfg->seed.init), start);
}

fc_status fc_server_begin_task(fc_run *r, int t, fc_error *err)
{
    char classes[64];
    snprintf(classes, sizeof classes, "logits %d to %d", r->tasks.first[t],
             r->tasks.first[t + 1] - 1);
    if (r->ranks.me == 0)
        FC_TRY(fc_runlog_event(&r->log, "task_start", t + 1, 0, classes, err));
    if (r->net.mode == FC_TRAIN_LORA)
        fresh_lora(r, t, 0);
    if (r->folded)
        memset(r->folded, 0, r->w0.n * sizeof *r->folded);
    if (r->method->restarts && r->method->restarts(r->cfg))
        memcpy(r->global.p, r->w0.p, r->w0.n * sizeof *r->w0.p);
    return FC_OK;
}

void fc_server_prepare_task(fc_run *r)
{
    bool base = r->method->train_base && r->deltas.tasks > 0;
    r->w_train = r->w0.p;
    if (base || r->folded) {
        memcpy(r->w_buffer, r->w0.p, r->w0.n * sizeof *r->w0.p);
        if (base)
            r->method->train_base(r->cfg, &r->deltas, r->w_buffer);
        for (size_t i = 0; r->folded && i < r->w0.n; i++)
            r->w_buffer[i] += r->folded[i];
        r->w_train = r->w_buffer;
    }
    if (r->packed_train.block)
        fc_packed_fill(&r->packed_train, &r->net.shape, r->w_train);
}

unsigned fc_server_groups(const fc_run *r, int round)
{
    static const unsigned all[] = {[FC_TRAIN_LORA] =
                                       1u << FC_GROUP_A | 1u << FC_GROUP_B | 1u << FC_GROUP_HEAD,
                                   [FC_TRAIN_FULL] = 1u << FC_GROUP_BACKBONE | 1u << FC_GROUP_HEAD,
                                   [FC_TRAIN_HEAD] = 1u << FC_GROUP_HEAD};
    return r->method->groups ? r->method->groups(r->cfg, round) : all[r->net.mode];
}

/* Numbers of the finished tasks as the clients' models hold them: factors, or dense layers. */
static size_t delta_numbers(const fc_run *r, int tasks)
{
    size_t one = r->deltas.n_A + r->deltas.n_B;
    for (int i = 0; r->deltas.W && i < r->slots; i++) {
        int out, in;
        fc_slot_dims(&r->net.shape, i, &out, &in);
        one += (size_t)out * (size_t)in;
    }
    return (size_t)tasks * one;
}

/* Numbers of what the last round folded into the weights, or (all) all rounds of the task: the
 * stacked factors of its clients, where the rule is a sum of them and they are the smaller form. */
static size_t folded_numbers(const fc_run *r, bool all)
{
    const fc_merge_job job = fc_server_merge_job(r, 0, 0, fc_cohort_max(r));
    bool stack = r->cfg->rule->scale && fc_merge_streams(r->cfg->rule, &job) && !all;
    size_t n = 0, rank = (size_t)r->net.rank * (size_t)job.clients;
    for (int i = 0; i < r->slots; i++) {
        int out, in;
        fc_slot_dims(&r->net.shape, i, &out, &in);
        size_t dense = (size_t)out * (size_t)in, thin = rank * (size_t)(out + in);
        n += stack && thin < dense ? thin : dense;
    }
    return n;
}

/* Down: what the last round merged; at the start of a task the fresh A (B is 0) and the head, and
 * the finished tasks where the clients' models hold them. Where a client may
 * have missed a round, each one gets all that its model holds. At the end of a task the head
 * is not needed. */
fc_status fc_server_bytes_down(size_t *bytes, const fc_run *r, int t, int round, fc_error *err)
{
    const unsigned A = 1u << FC_GROUP_A, B = 1u << FC_GROUP_B, head = 1u << FC_GROUP_HEAD;
    enum { PER_ROUND = 1 };
    bool lora = r->net.mode == FC_TRAIN_LORA, end = round == r->cfg->fed.rounds;
    bool strangers =
        (r->cfg->fed.participation < 1 && r->cfg->fed.participation_draw == PER_ROUND) ||
        fc_devices_come_and_go(&r->devices);
    *bytes = 0;
    if (r->method->centralised)
        return FC_OK;
    unsigned groups = fc_server_groups(r, round > 0 ? round - 1 : 0);
    if (lora && round == 0)
        groups = A | head;
    else if (lora && strangers)
        groups = A | B | head;
    if (r->folded) /* B is 0 */
        groups = A | head;
    if (end)
        groups &= ~head;
    bool deltas = lora && (round == 0 || strangers) && r->method->sends_deltas &&
                  r->method->sends_deltas(r->cfg);
    size_t numbers = deltas ? delta_numbers(r, t) : 0;
    if (r->folded && round > 0)
        numbers += folded_numbers(r, strangers);
    return fc_message_down_size(bytes, &r->global, groups, numbers, err);
}

/* The merge of what was folded becomes the global state, which stays as it was if that is nothing.
 */
static fc_status merge(fc_exchange *x, fc_run *r, fc_error *err)
{
    fc_params merged;
    if (x->loss_n == 0)
        return fc_runlog_event(&r->log, "no_update", x->row.task, x->row.round,
                               "no update with a sample: the model stays as it was", err);
    double lost = NAN;
    x->merge.lost = &lost;
    FC_TRY(fc_params_alloc(&merged, &r->global, &r->arena, err));
    FC_TRY(fc_merge_finish(x->merge_state, r->cfg->rule, &x->merge, &merged, err));
    memcpy(r->global.p, merged.p, merged.n * sizeof *merged.p);
    if (isnan(lost))
        return FC_OK;
    char text[96];
    snprintf(text, sizeof text, "cut to rank %d, which lost %.2f %% of its norm", r->net.rank,
             100 * lost);
    return fc_runlog_event(&r->log, "truncated", x->row.task, x->row.round, text, err);
}

fc_merge_job fc_server_merge_job(const fc_run *r, int t, int round, int clients)
{
    const fc_config *c = r->cfg;
    return (fc_merge_job){
        .base = &r->global,
        .groups = fc_server_groups(r, round),
        .slots = r->slots,
        .slot_A = r->slot_A,
        .slot_B = r->slot_B,
        .slot_W = r->slot_W,
        .head_W = fc_train_head(&r->global),
        .shape = r->gram_shape.n ? &r->gram_shape : NULL,
        .weighted = c->merge.weighted,
        .options = c->rule_options,
        .clients = clients,
        .space = {(fc_space_kind)c->merge.space, c->merge.isotropise, (fc_knots_form)c->merge.knots,
                  c->merge.knots_eps},
        .key = {.seed = fc_seed(c, c->seed.train), .task = (uint32_t)t, .round = (uint32_t)round},
        .product = r->method->products,
        .sum = r->folded,
        .sum_offset = r->slot_offset};
}

fc_status fc_server_round(fc_run *r, int t, int round, fc_error *err)
{
    fc_mark mark = fc_arena_mark(&r->arena);
    fc_exchange x;
    if (r->folded && round > 0)
        fc_server_prepare_task(r);
    FC_TRY(fc_exchange_init(&x, r, t, round, fc_server_groups(r, round), err));
    set_gram_model(&x, r);
    x.merge = fc_server_merge_job(r, t, round, x.n);
    FC_TRY(fc_merge_begin(&x.merge_state, r->cfg->rule, &x.merge, &r->arena, err));
    FC_TRY(fc_exchange_run(&x, r, err));

    double begin = fc_wall();
    fc_status s = r->ranks.me == 0 ? merge(&x, r, err) : FC_OK;
    s = fc_ranks_share(&r->ranks, s, r->global.p, r->global.n * sizeof *r->global.p, err);
    if (r->folded) {
        s = fc_ranks_share(&r->ranks, s, r->folded, r->w0.n * sizeof *r->folded, err);
        fresh_lora(r, t, round + 1);
    }
    FC_TRY(s);
    x.row.merge_s = fc_wall() - begin;

    begin = fc_wall();
    if (fc_server_evaluates(r, t, round)) {
        fc_model m;
        FC_TRY(fc_server_model(&m, r, false, err));
        FC_TRY(fc_eval_run(r, &m, t, NULL, err));
        row_of_eval(&x.row, &r->eval);
    }
    x.row.eval_s = fc_wall() - begin;
    fc_arena_release(&r->arena, mark);
    return log_round(&x, r, err);
}

/* Row t of the task matrix, from the evaluation at the end of task t. */
static fc_status log_task(fc_run *r, int t, fc_error *err)
{
    int ld = r->acc.ld;
    if (r->ranks.me > 0)
        return FC_OK;
    for (int s = 0; s <= t; s++) {
        r->acc.correct[t * ld + s] = r->eval.correct[s];
        r->acc.total[t * ld + s] = r->eval.total[s];
        fc_task_row row = {.after_task = t + 1,
                           .eval_task = s + 1,
                           .correct = r->eval.correct[s],
                           .total = r->eval.total[s],
                           .correct_masked = r->eval.masked[s]};
        FC_TRY(fc_runlog_task(&r->log, &row, err));
    }
    r->acc.done = t + 1;
    char acc[64];
    if (tests_task(r, t))
        snprintf(acc, sizeof acc, "acc %.4f", fc_acc_micro(&r->acc, t));
    else
        snprintf(acc, sizeof acc, "not tested");
    FC_TRY(fc_runlog_event(&r->log, "task_end", t + 1, 0, acc, err));
    return fc_runlog_matrix(&r->log, &r->acc, err);
}

/* Clients take the Grams of the slots once more, now with the merged matrices. */
static fc_status collect_task_grams(fc_exchange *x, fc_run *r, int t, fc_error *err)
{
    FC_TRY(fc_exchange_init(x, r, t, r->cfg->fed.rounds, 0, err));
    set_gram_model(x, r);
    return fc_ranks_share(&r->ranks, fc_exchange_run(x, r, err), x->sum.g,
                          x->sum.size * sizeof *x->sum.g, err);
}

/* What the task learnt: B A, the updates that its rounds folded in, or the change of the backbone.
 */
static fc_status push_delta(fc_run *r, const fc_grams *Gs, fc_error *err)
{
    if (*r->source_hash) {
        r->deltas.tasks++; /* there from the start */
        return FC_OK;
    }
    if (r->deltas.A)
        return fc_deltas_push(&r->deltas, &r->global, Gs, err);
    if (r->folded) {
        fc_deltas_push_dense(&r->deltas, r->folded, NULL);
    } else if (r->deltas.W) { /* the backbone is the first part of the block */
        memcpy(r->w_scratch, r->w0.p, r->w0.n * sizeof *r->w0.p);
        if (!r->method->restarts || !r->method->restarts(r->cfg))
            fc_deltas_add_sum(r->w_scratch, &r->deltas, r->deltas.tasks, 1);
        fc_deltas_push_dense(&r->deltas, r->global.p, r->w_scratch);
    }
    return FC_OK;
}

/* Counts of 0 of 0. */
static void nothing_tested(fc_run *r, int t)
{
    r->eval.seen = t + 1;
    for (int s = 0; s <= t; s++)
        r->eval.correct[s] = r->eval.masked[s] = r->eval.total[s] = 0;
}

/* The model of tasks.merge, and its test. */
static fc_status eval_merged(fc_exchange *x, fc_run *r, int t, fc_error *err)
{
    fc_vit_merged m = {.w = r->w_scratch};
    double begin = fc_wall();
    FC_TRY(fc_task_merge(&m, &x->row.merge_scale, r, err));
    x->row.merge_extra = (double)fc_task_merge_extra(r, &m);
    x->row.merge_s = fc_wall() - begin;
    begin = fc_wall();
    FC_TRY(fc_task_merge_test(r, &m, t, err));
    x->row.eval_s = fc_wall() - begin;
    return FC_OK;
}

/* The model of the finished tasks, and its test. */
static fc_status eval_tasks(fc_exchange *x, fc_run *r, int t, fc_error *err)
{
    fc_model m;
    double begin = fc_wall();
    if (r->cfg->task_rule)
        return eval_merged(x, r, t, err);
    FC_TRY(fc_server_model(&m, r, true, err));
    x->row.merge_s = fc_wall() - begin;
    begin = fc_wall();
    FC_TRY(fc_eval_run(r, &m, t, NULL, err));
    x->row.eval_s = fc_wall() - begin;
    return FC_OK;
}

fc_status fc_server_end_task(fc_run *r, int t, fc_error *err)
{
    fc_mark mark = fc_arena_mark(&r->arena);
    fc_exchange x = {.row = fc_exchange_row(t, r->cfg->fed.rounds)};
    bool grams = r->method->task_grams && r->gram_shape.n > 0;
    if (grams)
        FC_TRY(collect_task_grams(&x, r, t, err));
    if (grams && r->ranks.me == 0 && x.row.clients_ok == 0)
        FC_TRY(fc_runlog_event(&r->log, "no_update", t + 1, x.row.round,
                               "no Grams: the task has no weight in the merged model", err));
    FC_TRY(push_delta(r, grams ? &x.sum : NULL, err));
    if (r->task_head && !*r->source_hash)
        fc_task_head_keep(r, t);
    if (fc_server_evaluates(r, t, r->cfg->fed.rounds))
        FC_TRY(eval_tasks(&x, r, t, err));
    if (!tests_task(r, t))
        nothing_tested(r, t);
    fc_arena_release(&r->arena, mark);
    row_of_eval(&x.row, &r->eval);
    FC_TRY(log_round(&x, r, err));
    return log_task(r, t, err);
}
