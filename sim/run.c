#include "sim/run.h"

#include "core/file.h"
#include "core/safetensors.h"
#include "core/threads.h"
#include "sim/message.h"
#include "sim/outfile.h"
#include "sim/signals.h"
#include "sim/task_merge.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* --- the loop -----------------------------------------------------------------------------------
 */

fc_status fc_run_loop(fc_run *r, fc_error *err)
{
    int R = *r->source_hash ? 0 : r->cfg->fed.rounds;
    if (r->at.seq == 0) /* so that clients of the first round are worth saving */
        FC_TRY(fc_run_checkpoint(r, 0, 0, err));
    for (int t = (int)r->at.next_task; t < r->tasks.n; t++) {
        if (r->at.next_round == 0)
            FC_TRY(fc_server_begin_task(r, t, err));
        fc_server_prepare_task(r);
        for (int round = (int)r->at.next_round; round < R; round++) {
            FC_TRY(fc_server_round(r, t, round, err));
            FC_TRY(fc_run_checkpoint(r, t, round + 1, err));
            fc_reporter_round(&r->reporter);
        }
        FC_TRY(fc_server_end_task(r, t, err));
        FC_TRY(fc_run_checkpoint(r, t + 1, 0, err));
        fc_reporter_round(&r->reporter);
    }
    if (r->ranks.me > 0)
        return FC_OK;
    FC_TRY(fc_checkpoint_client_clear(r->log.dir, err));
    return fc_run_summary(r, err);
}

/* --- checkpoints --------------------------------------------------------------------------------
 */

enum { FIELDS_MAX = 20 };

/* All mutable state of a run: the one list that is saved and loaded. */
static int state_fields(fc_run *r, fc_state_field f[FIELDS_MAX])
{
    int n = 0;
    size_t T = (size_t)r->tasks.n;
    fc_deltas *d = &r->deltas;
    f[n++] = (fc_state_field){"global", FC_F32, r->global.n, r->global.p};
    if (d->A) {
        f[n++] = (fc_state_field){"deltas.A", FC_F32, T * d->n_A, d->A};
        f[n++] = (fc_state_field){"deltas.B", FC_F32, T * d->n_B, d->B};
    }
    if (d->W)
        f[n++] = (fc_state_field){"deltas.W", FC_F32, T * d->n_W, d->W};
    if (r->folded)
        f[n++] = (fc_state_field){"folded", FC_F32, r->w0.n, r->folded};
    if (r->task_head)
        f[n++] = (fc_state_field){"task_head", FC_F32, fc_task_head_size(r), r->task_head};
    if (d->AG) {
        f[n++] = (fc_state_field){"deltas.AG", FC_F64, T * d->n_A, d->AG};
        f[n++] = (fc_state_field){"deltas.Q", FC_F64, d->Q.size, d->Q.g};
    }
    f[n++] = (fc_state_field){"acc.correct", FC_I64, T * T, r->acc.correct};
    f[n++] = (fc_state_field){"acc.total", FC_I64, T * T, r->acc.total};
    f[n++] = (fc_state_field){"eval.correct", FC_I64, T, r->eval.correct};
    f[n++] = (fc_state_field){"eval.masked", FC_I64, T, r->eval.masked};
    f[n++] = (fc_state_field){"eval.total", FC_I64, T, r->eval.total};
    f[n++] = (fc_state_field){"eval.loss", FC_F64, 1, &r->eval.loss};
    f[n++] = (fc_state_field){"position", FC_I64, sizeof r->at / sizeof(int64_t), &r->at};
    f[n++] = (fc_state_field){"sim_s", FC_F64, 1, &r->sim_s};
    f[n++] = (fc_state_field){"clock", FC_F64, 2, r->clock};
    f[n++] = (fc_state_field){"log", FC_I64, FC_LOG_N, r->log_offset};
    return n;
}
_Static_assert(sizeof(long) == sizeof(int64_t), "counts are saved as 64-bit integers");

size_t fc_run_state_bytes(fc_run *r)
{
    fc_state_field field[FIELDS_MAX];
    size_t bytes = 0;
    for (int i = 0, n = state_fields(r, field); i < n; i++)
        bytes += field[i].n * (field[i].dtype == FC_F32 ? 4 : 8);
    return bytes;
}

fc_ckpt_id fc_run_ckpt_id(const fc_run *r)
{
    return (fc_ckpt_id){r->hash, r->data.sha256, r->weights_sha256, r->partition.sha256};
}

fc_status fc_run_checkpoint(fc_run *r, int task, int round, fc_error *err)
{
    fc_state_field field[FIELDS_MAX];
    char text[96];
    double begin = r->clock[0], begin_cpu = r->clock[1];
    r->at.next_task = task;
    r->at.next_round = round;
    r->at.seq++;
    if (r->ranks.me > 0)
        return FC_OK;
    r->clock[0] += fc_wall() - r->start_wall; /* stored as spent so far */
    r->clock[1] += fc_cpu() - r->start_cpu;
    snprintf(text, sizeof text, "%d of %d tasks and %d of %d rounds of the next one are done", task,
             r->tasks.n, round, r->cfg->fed.rounds);
    fc_ckpt_id id = fc_run_ckpt_id(r);
    fc_status s = fc_runlog_sync(&r->log, r->log_offset, err);
    if (s == FC_OK)
        s = fc_checkpoint_save(r->log.dir, (long)r->at.seq, &id, text, field,
                               state_fields(r, field), err);
    r->clock[0] = begin;
    r->clock[1] = begin_cpu;
    return s == FC_OK ? fc_checkpoint_client_clear(r->log.dir, err) : s;
}

/* What follows from the loaded position. */
static void derive_state(fc_run *r)
{
    r->deltas.tasks = r->deltas.tasks_max ? (int)r->at.next_task : 0;
    r->acc.done = (int)r->at.next_task;
    r->eval.seen = (int)r->at.next_task + (r->at.next_round > 0);
    r->progress.total = fc_estimate_flop(r, &r->progress.done);
    r->progress.start_done = r->progress.done;
}

fc_status fc_run_restore(fc_run *r, const char *dir, bool *found, fc_error *err)
{
    fc_state_field field[FIELDS_MAX];
    fc_ckpt_id id = fc_run_ckpt_id(r);
    long seq = -1;
    FC_TRY(fc_checkpoint_load(dir, &seq, &id, field, state_fields(r, field), err));
    *found = seq >= 0;
    derive_state(r);
    return FC_OK;
}

fc_status fc_run_share(fc_run *r, fc_status s, fc_error *err)
{
    fc_state_field field[FIELDS_MAX];
    int n = state_fields(r, field);
    for (int i = 0; i < n; i++) {
        size_t size = field[i].dtype == FC_F32 ? 4 : 8;
        s = fc_ranks_share(&r->ranks, s, field[i].data, field[i].n * size, err);
    }
    if (s == FC_OK)
        derive_state(r);
    return s;
}

fc_status fc_run_start(fc_run *r, const char *dir, bool resumed, fc_error *err)
{
    derive_state(r);
    r->progress.start = r->start_wall = fc_wall();
    r->start_cpu = fc_cpu();
    fc_log_options o = {.clients = r->cfg->log.clients,
                        .tensorboard = r->cfg->log.tensorboard,
                        .rounds = r->cfg->fed.rounds};
    return fc_runlog_open(&r->log, dir, resumed ? r->log_offset : NULL, &o, err);
}

/* --- the end ------------------------------------------------------------------------------------
 */

fc_status fc_run_summary(fc_run *r, fc_error *err)
{
    const fc_config *c = r->cfg;
    fc_summary s = {.acc = &r->acc,
                    .bytes_up = (uint64_t)r->at.bytes_up,
                    .bytes_down = (uint64_t)r->at.bytes_down,
                    .clients_late = (long)r->at.clients_late,
                    .clients_lost = (long)r->at.clients_lost,
                    .sim_s = r->devices.on ? r->sim_s : NAN,
                    .wall_s = r->clock[0] + fc_wall() - r->start_wall,
                    .cpu_s = r->clock[1] + fc_cpu() - r->start_cpu,
                    .rss_mib = fc_rss_peak(),
                    .seed = (uint64_t)c->run.seed,
                    .seed_order = fc_seed(c, c->seed.order),
                    .seed_partition = fc_seed(c, c->seed.partition),
                    .seed_init = fc_seed(c, c->seed.init),
                    .seed_train = fc_seed(c, c->seed.train),
                    .seed_device = fc_seed(c, c->seed.device),
                    .method = r->method->name,
                    .rule = c->rule->name,
                    .name = c->run.name,
                    .config_hash = r->hash,
                    .steps = (long)r->at.steps};
    return fc_runlog_summary(&r->log, &s, err);
}

const char *fc_run_dir(fc_run *r, fc_error *err)
{
    char dir[4096];
    const fc_config *c = r->cfg;
    if (!fc_out_is_name(c->run.name)) {
        fc_fail(err, FC_EUSAGE, "run.name: '%s', expected the name of a folder", c->run.name);
        return NULL;
    }
    int n = snprintf(dir, sizeof dir, "%s/%s/%s-s%lld-%s", c->run.out, c->run.name, r->method->name,
                     (long long)c->run.seed, r->hash);
    if (n < 0 || (size_t)n >= sizeof dir) {
        fc_fail(err, FC_EUSAGE, "run.out: path is longer than %zu bytes", sizeof dir);
        return NULL;
    }
    return fc_arena_strdup(&r->arena, dir, err);
}
