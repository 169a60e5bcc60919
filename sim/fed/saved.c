#include "sim/fed/saved.h"

#include "sim/fed/down.h"
#include "sim/fed/pieces.h"
#include "sim/fed/plan.h"

#include <stdio.h>
#include <string.h>

enum { FIELDS_MAX = 20 + FC_PIECE_FIELDS_MAX };

/* A member of st, or NULL. */
#define AT(member) (st ? st->member : NULL)

/* The one list of what is saved and loaded. st NULL: sizes only. */
static int state_fields(fc_state_field f[FIELDS_MAX], const fc_setup *s, fc_state *st)
{
    bool lora = s->net.mode == FC_TRAIN_LORA, factors = lora && !s->trained.folds;
    bool dense = (lora && s->trained.folds) || (s->net.mode == FC_TRAIN_FULL && s->keeps_rows);
    size_t T = (size_t)s->tasks.n, n_A = 0, n_B = 0;
    if (factors)
        fc_slot_offsets(&s->net.shape, s->slots, s->net.rank, &n_A, &n_B);
    int n = 0;
    f[n++] = (fc_state_field){"global", FC_F32, s->layout.n, AT(global.p)};
    if (factors) {
        f[n++] = (fc_state_field){"deltas.A", FC_F32, T * n_A, AT(deltas.A)};
        f[n++] = (fc_state_field){"deltas.B", FC_F32, T * n_B, AT(deltas.B)};
    }
    if (dense)
        f[n++] = (fc_state_field){"deltas.W", FC_F32, T * s->w0.n, AT(deltas.W)};
    if (s->trained.folds)
        f[n++] = (fc_state_field){"folded", FC_F32, s->w0.n, AT(folded)};
    if (fc_down_stack_size(s) > 0)
        f[n++] = (fc_state_field){"stack", FC_F32, fc_down_stack_size(s), AT(stack)};
    if (s->keeps_rows)
        f[n++] = (fc_state_field){"task_head", FC_F32, fc_task_head_size(s), AT(task_head)};
    if (factors && s->task_grams) {
        const fc_grams slots = fc_grams_first(&s->gram_shape, s->slots);
        f[n++] = (fc_state_field){"deltas.AG", FC_F64, T * n_A, AT(deltas.AG)};
        f[n++] = (fc_state_field){"deltas.Q", FC_F64, slots.size, AT(deltas.Q.g)};
    }
    f[n++] = (fc_state_field){"acc.correct", FC_I64, T * T, AT(acc.correct)};
    f[n++] = (fc_state_field){"acc.total", FC_I64, T * T, AT(acc.total)};
    f[n++] = (fc_state_field){"eval.correct", FC_I64, T, AT(eval.correct)};
    f[n++] = (fc_state_field){"eval.masked", FC_I64, T, AT(eval.masked)};
    f[n++] = (fc_state_field){"eval.total", FC_I64, T, AT(eval.total)};
    f[n++] = (fc_state_field){"eval.loss", FC_F64, 1, st ? &st->eval.loss : NULL};
    f[n++] = (fc_state_field){"position", FC_I64, sizeof(fc_position) / sizeof(int64_t),
                              st ? &st->at : NULL};
    f[n++] = (fc_state_field){"sim_s", FC_F64, 1, st ? &st->sim_s : NULL};
    f[n++] = (fc_state_field){"clock", FC_F64, 2, AT(clock)};
    f[n++] = (fc_state_field){"log", FC_I64, FC_LOG_N, AT(log_offset)};
    return n + fc_pieces_fields(f + n, s, st);
}
_Static_assert(sizeof(long) == sizeof(int64_t), "counts are saved as 64-bit integers");

size_t fc_state_bytes(const fc_setup *s)
{
    fc_state_field field[FIELDS_MAX];
    size_t bytes = 0;
    for (int i = 0, n = state_fields(field, s, NULL); i < n; i++)
        bytes += field[i].n * (field[i].dtype == FC_F32 ? 4 : 8);
    return bytes;
}

fc_ckpt_id fc_run_ckpt_id(const fc_setup *s)
{
    return (fc_ckpt_id){s->hash, s->data.sha256, s->weights_sha256, s->partition.sha256};
}

fc_status fc_run_checkpoint(fc_run *r, int task, int round, fc_error *err)
{
    fc_state_field field[FIELDS_MAX];
    char text[96];
    double begin = r->state.clock[0], begin_cpu = r->state.clock[1];
    r->state.at.next_task = task;
    r->state.at.next_round = round;
    r->state.at.seq++;
    if (r->scratch.ranks.me > 0)
        return FC_OK;
    r->state.clock[0] += fc_wall() - r->scratch.start_wall; /* stored as spent so far */
    r->state.clock[1] += fc_cpu() - r->scratch.start_cpu;
    snprintf(text, sizeof text, "%d of %d tasks and %d of %d rounds of the next one are done", task,
             r->setup->tasks.n, round, r->setup->cfg->fed.rounds);
    fc_ckpt_id id = fc_run_ckpt_id(r->setup);
    fc_status s = fc_runlog_sync(&r->scratch.log, r->state.log_offset, err);
    if (s == FC_OK)
        s = fc_client_store_sync(&r->scratch.store, err);
    if (s == FC_OK)
        s = fc_checkpoint_save(r->scratch.log.dir, (long)r->state.at.seq, &id, text, field,
                               state_fields(field, r->setup, &r->state), err);
    r->state.clock[0] = begin;
    r->state.clock[1] = begin_cpu;
    return s == FC_OK ? fc_checkpoint_client_clear(r->scratch.log.dir, err) : s;
}

void fc_run_derive(fc_run *r)
{
    fc_state *st = &r->state;
    st->deltas.tasks = st->deltas.tasks_max ? (int)st->at.next_task : 0;
    st->acc.done = (int)st->at.next_task;
    st->eval.seen = (int)st->at.next_task + (st->at.next_round > 0);
    memcpy(r->scratch.received.p, st->global.p, st->global.n * sizeof *st->global.p);
}

fc_status fc_run_restore(fc_run *r, const char *dir, bool *found, fc_error *err)
{
    fc_state_field field[FIELDS_MAX];
    fc_ckpt_id id = fc_run_ckpt_id(r->setup);
    long seq = -1;
    FC_TRY(
        fc_checkpoint_load(dir, &seq, &id, field, state_fields(field, r->setup, &r->state), err));
    *found = seq >= 0;
    fc_run_derive(r);
    return FC_OK;
}

fc_status fc_run_share(fc_run *r, fc_status s, fc_error *err)
{
    fc_state_field field[FIELDS_MAX];
    int n = state_fields(field, r->setup, &r->state);
    for (int i = 0; i < n; i++) {
        size_t size = field[i].dtype == FC_F32 ? 4 : 8;
        s = fc_ranks_share(&r->scratch.ranks, s, field[i].data, field[i].n * size, err);
    }
    if (s == FC_OK)
        fc_run_derive(r);
    return s;
}
