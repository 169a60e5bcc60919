#include "sim/run/estimate.h"

#include "core/base/rng.h"
#include "sim/config/make.h"
#include "sim/fed/client.h"
#include "sim/fed/flop.h"
#include "sim/fed/saved.h"
#include "sim/fed/server.h"
#include "sim/fed/task_merge.h"
#include "sim/run/cost.h"

#include <math.h>
#include <string.h>

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
    fc_trainer *t = &r->scratch.crew.trainer[thread];
    fc_fit_result result;
    fc_fit f = {.w = r->scratch.w_train,
                .packed = fc_run_packed(r),
                .groups = m->groups,
                .optim = fc_optim_of(r->setup->cfg, m->groups),
                .epochs = 1,
                .batch = (int)m->n,
                .lo = r->setup->tasks.first[0],
                .hi = r->setup->tasks.first[1],
                .sample = r->setup->tasks.train[0],
                .n = m->n,
                .key = {.stream = FC_STREAM_TEST},
                .what = "measurement"};
    memcpy(t->local.p, r->state.global.p, t->local.n * sizeof *t->local.p);
    fc_status status = fc_fit_run(&result, t, &f, i == 0 ? m->err : NULL);
    if (status == FC_OK && r->setup->gram_shape.n > 0) {
        fc_model model = fc_model_of(&r->setup->net.shape, r->setup->net.mode, r->setup->net.rank,
                                     r->setup->net.classes, r->scratch.w_train, &t->local);
        model.packed = f.packed;
        status = fc_fit_grams(&t->grams, t, &model, f.sample, m->n, 1, f.key, NULL,
                              i == 0 ? m->err : NULL);
    }
    if (status == FC_OK && r->setup->fisher.n > 0) {
        const fc_params *sent;
        status = fc_client_fisher(&sent, r, t, &f, i == 0 ? m->err : NULL);
    }
    if (i == 0)
        m->status = status;
}

/* Seconds per FLOP of all threads together, from training steps on real images for so many seconds,
 * two of them at least. */
static fc_status measure_speed(double *per_flop, fc_run *r, double budget, fc_error *err)
{
    enum { STEPS_MAX = 200 };
    size_t n = r->setup->tasks.n_train[0], most = r->scratch.crew.trainer[0].order_max;
    n = n < most ? n : most;
    n = n < (size_t)r->setup->cfg->train.batch ? n : (size_t)r->setup->cfg->train.batch;
    measurement m = {.r = r, .groups = fc_plan_groups(r->setup, 0), .n = n, .err = err};
    double begin = fc_wall(), flop = 0, one = (double)n * fc_fit_flop(&r->setup->net, m.groups);
    if (r->setup->gram_shape.n > 0)
        one += (double)n * fc_forward_flop(r->setup);
    if (r->setup->fisher.n > 0)
        one += fc_client_fisher_flop(r->setup, 0, (double)n);
    for (int step = 0;
         step < STEPS_MAX && m.status == FC_OK && (step < 2 || fc_wall() - begin < budget);
         step++) {
        if (step == 1) { /* the first one warms the caches up */
            begin = fc_wall();
            flop = 0;
        }
        fc_pool_run(&r->scratch.crew.pool, r->scratch.crew.trainers, measured_step, &m);
        flop += one * r->scratch.crew.trainers;
    }
    *per_flop = (fc_wall() - begin) / flop;
    return m.status;
}

/* All buffers of a run exist and were used by now, except: the weights packed for evaluation, one
 * message unpacked (4 bytes a number), the sums (8) and the result (4) of the merge; all updates or
 * running sums of a rule over task vectors; and what comes and goes: the messages of one wave and a
 * checkpoint, or what the rule works with; or at the end of a task what tasks.merge works with. */
fc_status fc_estimate_memory(double *bytes, const fc_setup *s, int threads, fc_error *err)
{
    const fc_work first = fc_plan_work(s, 0, 0);
    const fc_grams grams = fc_plan_grams(s, &first);
    int clients = fc_plan_cohort_max(s);
    size_t message;
    FC_TRY(fc_plan_message(&message, s, &first, err));
    message += s->own_numbers * sizeof(fc_real);
    /* that there is a sum is all that counts here: nothing is merged */
    fc_real *sum = s->trained.folds ? s->w0.p : NULL;
    const fc_merge_job job = fc_plan_merge_job(s, &s->layout, sum, 0, 0, clients);
    double packed = (double)fc_packed_bytes(&s->net.shape, false, &s->net.engine);
    double wave = (double)message * fc_plan_wave(message, clients, threads);
    double kept = (double)fc_merge_kept_bytes(s->cfg->rule, &job);
    double work = (double)fc_merge_work_bytes(s->cfg->rule, &job);
    double merge = 16.0 * (double)s->layout.n + 4.0 * (double)s->fisher.n +
                   2.0 * sizeof(double) * (double)grams.size;
    double round = fmax(wave + (double)fc_state_bytes(s), work) + kept + merge;
    *bytes = packed + fmax(round, fc_task_merge_bytes(s, s->threads));
    return FC_OK;
}

fc_status fc_estimate_make(fc_estimate *e, fc_run *r, double s_per_flop, fc_error *err)
{
    fc_cost c;
    double measured, more;
    FC_TRY(fc_cost_make(&c, r->setup, &r->state.at, err));
    fc_server_prepare_task(r);
    FC_TRY(measure_speed(&measured, r, s_per_flop > 0 ? 0 : 1, err));
    FC_TRY(fc_estimate_memory(&more, r->setup, r->scratch.ranks.all_threads, err));
    *e = (fc_estimate){.train_flop = c.train,
                       .eval_flop = c.eval,
                       .bytes_up = c.bytes_up,
                       .bytes_down = c.bytes_down,
                       .sim_s = c.sim_s,
                       .clients_late = c.late,
                       .clients_lost = c.lost,
                       .tasks_first = *r->setup->source_hash,
                       .s_per_flop = s_per_flop > 0 ? s_per_flop : measured};
    e->seconds = (c.train + c.eval) * e->s_per_flop;
    e->memory_mib = fc_rss_peak() + more / 1048576;
    return FC_OK;
}
