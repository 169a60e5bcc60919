#include "sim/run/loop.h"

#include "sim/fed/saved.h"
#include "sim/fed/server.h"
#include "sim/io/outfile.h"
#include "sim/run/cost.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* --- the start ----------------------------------------------------------------------------------
 */

/* The work of the whole run, for the time that is left. */
static fc_status reckon(fc_run *r, fc_error *err)
{
    fc_cost c;
    FC_TRY(fc_cost_make(&c, r->setup, &r->state.at, err));
    r->scratch.progress.total = c.train + c.eval;
    r->scratch.progress.done = r->scratch.progress.start_done = c.done;
    return FC_OK;
}

fc_status fc_run_start(fc_run *r, const char *dir, bool resumed, fc_error *err)
{
    fc_run_derive(r);
    FC_TRY(reckon(r, err));
    r->scratch.progress.start = r->scratch.start_wall = fc_wall();
    r->scratch.start_cpu = fc_cpu();
    fc_log_options o = {.clients = r->setup->cfg->log.clients,
                        .tensorboard = r->setup->cfg->log.tensorboard,
                        .rounds = r->setup->cfg->fed.rounds};
    FC_TRY(fc_runlog_open(&r->scratch.log, dir, resumed ? r->state.log_offset : NULL, &o, err));
    return r->setup->own_numbers ? fc_client_store_open(&r->scratch.store, dir, !resumed, err)
                                 : FC_OK;
}

/* --- the end ------------------------------------------------------------------------------------
 */

static fc_status write_summary(fc_run *r, fc_error *err)
{
    const fc_config *c = r->setup->cfg;
    fc_summary s = {.acc = &r->state.acc,
                    .bytes_up = (uint64_t)r->state.at.bytes_up,
                    .bytes_down = (uint64_t)r->state.at.bytes_down,
                    .clients_late = (long)r->state.at.clients_late,
                    .clients_lost = (long)r->state.at.clients_lost,
                    .sim_s = r->setup->devices.on ? r->state.sim_s : NAN,
                    .wall_s = r->state.clock[0] + fc_wall() - r->scratch.start_wall,
                    .cpu_s = r->state.clock[1] + fc_cpu() - r->scratch.start_cpu,
                    .rss_mib = fc_rss_peak(),
                    .seed = (uint64_t)c->run.seed,
                    .seed_order = fc_seed(c, c->seed.order),
                    .seed_partition = fc_seed(c, c->seed.partition),
                    .seed_init = fc_seed(c, c->seed.init),
                    .seed_train = fc_seed(c, c->seed.train),
                    .seed_device = fc_seed(c, c->seed.device),
                    .method = r->setup->method->name,
                    .rule = c->rule->name,
                    .name = c->run.name,
                    .config_hash = r->setup->hash,
                    .steps = (long)r->state.at.steps};
    return fc_runlog_summary(&r->scratch.log, &s, err);
}

/* --- the loop -----------------------------------------------------------------------------------
 */

fc_status fc_run_loop(fc_run *r, fc_error *err)
{
    int R = *r->setup->source_hash ? 0 : r->setup->cfg->fed.rounds;
    if (r->state.at.seq == 0) /* so that clients of the first round are worth saving */
        FC_TRY(fc_run_checkpoint(r, 0, 0, err));
    for (int t = (int)r->state.at.next_task; t < r->setup->tasks.n; t++) {
        if (r->state.at.next_round == 0)
            FC_TRY(fc_server_begin_task(r, t, err));
        fc_server_prepare_task(r);
        for (int round = (int)r->state.at.next_round; round < R; round++) {
            FC_TRY(fc_server_round(r, t, round, err));
            FC_TRY(fc_run_checkpoint(r, t, round + 1, err));
            fc_reporter_round(&r->scratch.reporter);
        }
        FC_TRY(fc_server_end_task(r, t, err));
        FC_TRY(fc_run_checkpoint(r, t + 1, 0, err));
        fc_reporter_round(&r->scratch.reporter);
    }
    if (r->scratch.ranks.me > 0)
        return FC_OK;
    FC_TRY(fc_checkpoint_client_clear(r->scratch.log.dir, err));
    return write_summary(r, err);
}

const char *fc_run_dir(fc_run *r, fc_error *err)
{
    char dir[4096];
    const fc_config *c = r->setup->cfg;
    if (!fc_out_is_name(c->run.name)) {
        fc_fail(err, FC_EUSAGE, "run.name: '%s', expected the name of a folder", c->run.name);
        return NULL;
    }
    int n = snprintf(dir, sizeof dir, "%s/%s/%s-s%lld-%s", c->run.out, c->run.name,
                     r->setup->method->name, (long long)c->run.seed, r->setup->hash);
    if (n < 0 || (size_t)n >= sizeof dir) {
        fc_fail(err, FC_EUSAGE, "run.out: path is longer than %zu bytes", sizeof dir);
        return NULL;
    }
    return fc_arena_strdup(&r->scratch.arena, dir, err);
}
