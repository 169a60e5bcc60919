#include "sim/fed/cohort.h"

#include "core/base/rng.h"
#include "core/base/select.h"
#include "sim/fed/down.h"
#include "sim/fed/flop.h"

#include <math.h>
#include <stdlib.h>

/* --- who --------------------------------------------------------------------------------------
 */

/* The first moment from `clock` on at which one of the clients id (n) is in a window; id NULL:
 * clients 0 .. n-1. If there is none any more, or a deadline closes idle rounds: clock itself. */
static double wait_for(const fc_setup *s, const int *id, int n, double clock)
{
    if (!s->devices.on || s->cfg->fed.deadline_s > 0)
        return clock;
    double first = INFINITY;
    for (int i = 0; i < n && first > clock; i++)
        first = fmin(first, fc_device_opens(&s->devices, id ? id[i] : i, clock));
    return isfinite(first) ? first : clock;
}

int fc_participants(const fc_setup *s, int t, int round, double *clock, int *id)
{
    const fc_devices *d = &s->devices;
    bool per_round = s->cfg->fed.participation_draw == 1;
    int K = s->partition.clients, pool = K, n = fc_plan_cohort_max(s), chosen = 0, kept = 0;
    fc_rng g = fc_rng_at((fc_key){.seed = fc_seed(s->cfg, s->cfg->seed.train),
                                  .stream = FC_STREAM_CLIENTS,
                                  .task = (uint32_t)t,
                                  .round = per_round ? (uint32_t)round : 0});
    if (per_round) {
        *clock = wait_for(s, NULL, K, *clock);
        for (int k = 0; k < K; k++)
            pool -= !fc_device_reachable(d, k, t, round, *clock);
    }
    n = n < pool ? n : pool;
    /* Selection sampling (Knuth, TAOCP 3.4.2, algorithm S): ascending, each subset equally likely.
     */
    for (int k = 0; chosen < n; k++) {
        if (per_round && !fc_device_reachable(d, k, t, round, *clock))
            continue;
        if ((int)fc_rng_below(&g, (uint32_t)pool--) < n - chosen)
            id[chosen++] = k;
    }
    if (per_round)
        return n;
    *clock = wait_for(s, id, n, *clock);
    for (int i = 0; i < n; i++)
        if (fc_device_reachable(d, id[i], t, round, *clock))
            id[kept++] = id[i];
    return kept;
}

fc_status fc_cohort_init(fc_cohort *c, const fc_setup *s, fc_arena *arena, fc_error *err)
{
    size_t n = (size_t)fc_plan_cohort_max(s);
    *c = (fc_cohort){.member = fc_arena_alloc(arena, n, sizeof *c->member, err),
                     .id = fc_arena_alloc(arena, n, sizeof *c->id, err),
                     .arrival = fc_arena_alloc(arena, n, sizeof *c->arrival, err)};
    return c->member && c->id && c->arrival ? FC_OK : FC_EFAIL;
}

/* --- when -------------------------------------------------------------------------------------
 */

/* The time of a member, and whether it is lost in it. */
static void run_member(fc_member *m, const fc_cohort *c, const fc_setup *s, const fc_work *work,
                       double start)
{
    fc_device device = fc_device_at(&s->devices, m->client, start);
    m->seconds = (double)c->bytes_down / device.down_s +
                 fc_client_flop(s, work, m->client) / device.flop_s +
                 (double)c->bytes_up / device.up_s;
    double lost = fc_device_lost(&s->devices, m->client, work->task, work->round, m->seconds);
    lost = fmin(lost, device.until - start);
    m->fate = FC_FATE_OK;
    if (lost < m->seconds) {
        m->fate = FC_FATE_LOST;
        m->seconds = lost;
    }
}

/* Seconds after which the round is closed, whoever is still at work. */
static double closing(fc_cohort *c, const fc_setup *s)
{
    double deadline = s->cfg->fed.deadline_s;
    int n = 0, want = fc_plan_wanted(s);
    if (deadline <= 0)
        deadline = INFINITY;
    for (int i = 0; i < c->n; i++)
        if (c->member[i].fate == FC_FATE_OK)
            c->arrival[n++] = c->member[i].seconds;
    if (n < want)
        return deadline;
    qsort(c->arrival, (size_t)n, sizeof *c->arrival, fc_ascending);
    return fmin(deadline, c->arrival[want - 1]);
}

fc_status fc_cohort_draw(fc_cohort *c, const fc_setup *s, const fc_work *work, double clock,
                         fc_error *err)
{
    double start = clock, last = 0;
    c->sim_s = 0;
    FC_TRY(fc_down_size(&c->bytes_down, s, work->task, work->round, err));
    FC_TRY(fc_plan_bytes_up(&c->bytes_up, s, work, err));
    c->n = fc_participants(s, work->task, work->round, &start, c->id);
    for (int i = 0; i < c->n; i++)
        c->member[i] = (fc_member){c->id[i], FC_FATE_OK, NAN};
    if (!s->devices.on)
        return FC_OK;
    for (int i = 0; i < c->n; i++)
        run_member(&c->member[i], c, s, work, start);
    double close = closing(c, s);
    for (int i = 0; i < c->n; i++) {
        fc_member *m = &c->member[i];
        if (m->fate == FC_FATE_OK && m->seconds > close)
            m->fate = FC_FATE_LATE;
        last = fmax(last, m->seconds);
    }
    c->sim_s = start - clock + (c->n ? fmin(close, last) : s->cfg->fed.deadline_s);
    return FC_OK;
}
