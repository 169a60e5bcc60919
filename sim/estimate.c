/* What a run costs: FLOP of every step (for the ETA), and the dry run's time, memory and bytes. */
#include "core/rng.h"
#include "sim/exchange.h"
#include "sim/task_merge.h"

#include <math.h>
#include <string.h>

/* Of one image through the network as the clients hold it: a Gram pass. */
static double forward_flop(const fc_run *r)
{
    return fc_vit_flop(&r->net.shape, r->net.rank, r->net.classes, r->net.mode, 0, false);
}

/* Of the Fisher information of a client with n samples of a task. */
static double fisher_flop(const fc_run *r, int task, double n)
{
    int classes = r->tasks.first[task + 1] - r->tasks.first[task];
    double most = r->cfg->merge.samples;
    return (most > 0 && most < n ? most : n) * fc_fisher_flop((fc_fisher_kind)r->cfg->merge.fisher,
                                                              &r->net.shape, r->net.rank,
                                                              r->net.classes, classes);
}

double fc_client_flop(const fc_run *r, const fc_client_job *job, int client)
{
    const size_t *start = r->partition.start[job->task];
    double n = (double)(start[client + 1] - start[client]), flop = 0;
    if (job->groups)
        flop += n * r->cfg->train.epochs * fc_fit_flop(&r->net, job->groups);
    if (job->grams)
        flop += n * r->grams.passes * forward_flop(r);
    if (job->fisher)
        flop += fisher_flop(r, job->task, n);
    return flop;
}

typedef struct cost {
    double train, eval, done; /* FLOP */
    double bytes_up, bytes_down;
    double sim_s; /* simulated clock */
    long late, lost;
} cost;

/* Test of tasks 0 .. t, under weights that hold the LoRA already. */
static double eval_flop(const fc_run *r, int t)
{
    double n = 0;
    for (int s = 0; s <= t; s++)
        n += (double)r->tasks.n_test[s];
    return n * fc_vit_flop(&r->net.shape, 0, r->net.classes, r->net.mode, 0, false);
}

/* One round, or (round == fed.rounds) the end of a task. */
static fc_status add_round(cost *c, const fc_run *r, fc_cohort *who, int t, int round,
                           fc_error *err)
{
    bool end = round == r->cfg->fed.rounds, grams = r->gram_shape.n > 0;
    fc_client_job job = {.task = t,
                         .round = round,
                         .groups = end ? 0 : fc_server_groups(r, round),
                         .grams = grams,
                         .fisher = !end && r->fisher.part.n > 0};
    if (*r->source_hash && !end)
        return FC_OK; /* nothing is trained */
    if (fc_server_evaluates(r, t, round))
        c->eval += eval_flop(r, t);
    if (end && r->cfg->task_rule && fc_server_evaluates(r, t, round))
        c->eval += fc_task_merge_flop(r, t + 1);
    if (end && !(grams && r->method->task_grams))
        return FC_OK;
    FC_TRY(fc_cohort_draw(who, r, &job, c->sim_s, err));
    c->sim_s += who->sim_s;
    for (int i = 0; i < who->n; i++) {
        const fc_member *m = &who->member[i];
        c->bytes_down += (double)who->bytes_down;
        c->bytes_up += m->fate == FC_FATE_LOST ? 0 : (double)who->bytes_up;
        c->train += m->fate == FC_FATE_OK ? fc_client_flop(r, &job, m->client) : 0;
        c->late += m->fate == FC_FATE_LATE;
        c->lost += m->fate == FC_FATE_LOST;
    }
    return FC_OK;
}

static fc_status rounds_cost(cost *c, const fc_run *r, fc_arena *scratch, fc_error *err)
{
    fc_cohort who;
    FC_TRY(fc_cohort_init(&who, r, scratch, err));
    for (int t = 0; t < r->tasks.n; t++)
        for (int round = 0; round <= r->cfg->fed.rounds; round++) {
            if (t == (int)r->at.next_task && round == (int)r->at.next_round)
                c->done = c->train + c->eval;
            FC_TRY(add_round(c, r, &who, t, round, err));
        }
    if ((int)r->at.next_task >= r->tasks.n)
        c->done = c->train + c->eval;
    return FC_OK;
}

static fc_status cost_of(cost *c, const fc_run *r, fc_error *err)
{
    fc_arena scratch = {0};
    *c = (cost){0};
    fc_status s = rounds_cost(c, r, &scratch, err);
    fc_arena_free(&scratch);
    return s;
}

double fc_estimate_flop(const fc_run *r, double *done)
{
    cost c;
    cost_of(&c, r, NULL);
    *done = c.done;
    return c.train + c.eval;
}

/* One step of training on the first images of task 0, and their Grams and Fisher information, by
 * each of the clients in flight. */
typedef struct measurement {
    fc_run *r;
    unsigned groups;
    size_t n;
    fc_status status; /* of client 0: all do the same */
    fc_error *err;
} measurement;

static void measured_step(void *ctx, int thread, int i)
{
    measurement *m = ctx;
    const fc_run *r = m->r;
    fc_trainer *t = &r->crew.trainer[thread];
    fc_fit_result result;
    fc_fit f = {.w = r->w_train,
                .packed = fc_run_packed(r),
                .groups = m->groups,
                .optim = fc_optim_of(r->cfg, m->groups),
                .epochs = 1,
                .batch = (int)m->n,
                .lo = r->tasks.first[0],
                .hi = r->tasks.first[1],
                .sample = r->tasks.train[0],
                .n = m->n,
                .key = {.stream = FC_STREAM_TEST},
                .what = "measurement"};
    memcpy(t->local.p, r->global.p, t->local.n * sizeof *t->local.p);
    fc_status status = fc_fit_run(&result, t, &f, i == 0 ? m->err : NULL);
    if (status == FC_OK && r->gram_shape.n > 0) {
        fc_model model = fc_model_of(&r->net.shape, r->net.mode, r->net.rank, r->net.classes,
                                     r->w_train, &t->local);
        model.packed = f.packed;
        status = fc_fit_grams(&t->grams, t, &model, f.sample, m->n, 1, f.key, NULL,
                              i == 0 ? m->err : NULL);
    }
    if (status == FC_OK && r->fisher.part.n > 0) {
        const fc_params *sent;
        status = fc_client_fisher(&sent, r, t, &f, i == 0 ? m->err : NULL);
    }
    if (i == 0)
        m->status = status;
}

/* Seconds per FLOP of all threads together, from training steps on real images for so many seconds,
 * two of them at least. */
static fc_status measure(double *per_flop, fc_run *r, double budget, fc_error *err)
{
    enum { STEPS_MAX = 200 };
    size_t n = r->tasks.n_train[0], most = r->crew.trainer[0].order_max;
    n = n < most ? n : most;
    n = n < (size_t)r->cfg->train.batch ? n : (size_t)r->cfg->train.batch;
    measurement m = {.r = r, .groups = fc_server_groups(r, 0), .n = n, .err = err};
    double begin = fc_wall(), flop = 0, one = (double)n * fc_fit_flop(&r->net, m.groups);
    if (r->gram_shape.n > 0)
        one += (double)n * forward_flop(r);
    if (r->fisher.part.n > 0)
        one += fisher_flop(r, 0, (double)n);
    for (int step = 0;
         step < STEPS_MAX && m.status == FC_OK && (step < 2 || fc_wall() - begin < budget);
         step++) {
        if (step == 1) { /* the first one warms the caches up */
            begin = fc_wall();
            flop = 0;
        }
        fc_pool_run(&r->crew.pool, r->crew.trainers, measured_step, &m);
        flop += one * r->crew.trainers;
    }
    *per_flop = (fc_wall() - begin) / flop;
    return m.status;
}

fc_status fc_estimate_make(fc_estimate *e, fc_run *r, double s_per_flop, fc_error *err)
{
    cost c;
    double measured;
    FC_TRY(cost_of(&c, r, err));
    fc_server_prepare_task(r);
    FC_TRY(measure(&measured, r, s_per_flop > 0 ? 0 : 1, err));
    /* All buffers of a run exist and were used by now, except: the weights packed for evaluation,
     * one message unpacked (4 bytes a number), the sums (8) and the result (4) of the merge; all
     * updates or running sums of a rule over task vectors; and what comes and goes: the messages of
     * one wave and a checkpoint, or what the rule works with. */
    double packed = (double)fc_packed_bytes(&r->net.shape, false, &r->net.engine);
    size_t message;
    FC_TRY(fc_message_size(&message, &r->global, fc_server_groups(r, 0),
                           r->gram_shape.n ? &r->gram_shape : NULL,
                           r->fisher.part.n ? &r->fisher.part : NULL, err));
    double wave = (double)message * fc_exchange_wave(r, message, fc_cohort_max(r));
    double grams = (double)r->gram_shape.size * sizeof(double);
    *e = (fc_estimate){.train_flop = c.train,
                       .eval_flop = c.eval,
                       .bytes_up = c.bytes_up,
                       .bytes_down = c.bytes_down,
                       .sim_s = c.sim_s,
                       .clients_late = c.late,
                       .clients_lost = c.lost,
                       .tasks_first = *r->source_hash,
                       .s_per_flop = s_per_flop > 0 ? s_per_flop : measured};
    e->seconds = (c.train + c.eval) * e->s_per_flop;
    const fc_merge_job job = fc_server_merge_job(r, 0, 0, fc_cohort_max(r));
    double kept = (double)fc_merge_kept_bytes(r->cfg->rule, &job);
    double work = (double)fc_merge_work_bytes(r->cfg->rule, &job);
    double passing = fmax(wave + (double)fc_run_state_bytes(r), work);
    double merge = 16.0 * (double)r->global.n + 4.0 * (double)r->fisher.part.n + 2 * grams;
    e->memory_mib = fc_rss_peak() + (packed + passing + kept + merge) / 1048576;
    return FC_OK;
}
