#include "sim/fed/state.h"

#include "core/vit/head.h"
#include "sim/fed/down.h"
#include "sim/fed/pieces.h"
#include "sim/fed/plan.h"
#include "sim/train/vit_merge.h"

#include <stdio.h>
#include <string.h>

int fc_client_classes(const fc_setup *s, int t, int client)
{
    const size_t *start = s->partition.start[t];
    const uint32_t *sample = s->partition.sample[t];
    int count = 0;
    for (int c = s->tasks.first[t]; c < s->tasks.first[t + 1]; c++)
        for (size_t i = start[client]; i < start[client + 1]; i++)
            if (s->net.logit[s->data.train.label[sample[i]]] == c) {
                count++;
                break;
            }
    return count;
}

size_t fc_client_samples(const fc_setup *s, int t, int client)
{
    const size_t *start = s->partition.start[t];
    return start[client + 1] - start[client];
}

size_t fc_task_head_size(const fc_setup *s)
{
    return (size_t)s->net.classes * ((size_t)s->net.shape.width + 1);
}

void fc_task_head_keep(fc_state *st, const fc_setup *s, int t)
{
    const fc_spec *head = &st->global.spec[fc_train_head(&st->global)];
    size_t D = (size_t)s->net.shape.width, C = (size_t)s->net.classes;
    size_t lo = (size_t)s->tasks.first[t], hi = (size_t)s->tasks.first[t + 1];
    memcpy(st->task_head + lo * D, st->global.p + head[0].offset + lo * D,
           (hi - lo) * D * sizeof *st->task_head);
    memcpy(st->task_head + C * D + lo, st->global.p + head[1].offset + lo,
           (hi - lo) * sizeof *st->task_head);
}

/* --- fresh --------------------------------------------------------------------------------------
 */

static fc_status counts_init(fc_run *r, fc_error *err)
{
    size_t T = (size_t)r->setup->tasks.n;
    r->state.acc =
        (fc_acc_matrix){.tasks = r->setup->tasks.n,
                        .ld = r->setup->tasks.n,
                        .correct = fc_arena_alloc(&r->scratch.arena, T * T, sizeof(long), err),
                        .total = fc_arena_alloc(&r->scratch.arena, T * T, sizeof(long), err)};
    if (!r->state.acc.correct || !r->state.acc.total)
        return FC_EFAIL;
    return fc_eval_init(&r->state.eval, r->setup->tasks.n, &r->scratch.arena, err);
}

static fc_status backbone_copy(fc_real **out, fc_run *r, fc_error *err)
{
    *out = fc_arena_alloc(&r->scratch.arena, r->setup->w0.n, sizeof **out, err);
    return *out ? FC_OK : FC_EFAIL;
}

/* The server's block and the copies of the backbone that the method asks for. */
static fc_status state_init(fc_run *r, fc_error *err)
{
    const fc_setup *s = r->setup;
    const fc_vit_shape *shape = &s->net.shape;
    fc_state *st = &r->state;
    fc_arena *arena = &r->scratch.arena;
    FC_TRY(fc_params_alloc(&st->global, &s->layout, arena, err));
    if (s->net.mode == FC_TRAIN_FULL)
        memcpy(st->global.p, s->w0.p, s->w0.n * sizeof *s->w0.p);
    fc_head_init(&st->global, fc_seed(s->cfg, s->cfg->seed.init));
    FC_TRY(counts_init(r, err));
    FC_TRY(fc_pieces_state(st, s, arena, err));
    FC_TRY(fc_params_alloc(&r->scratch.received, &s->layout, arena, err));
    r->scratch.w_train = s->w0.p;
    if (s->keeps_rows) {
        st->task_head = fc_arena_alloc(arena, fc_task_head_size(s), sizeof *st->task_head, err);
        if (!st->task_head)
            return FC_EFAIL;
    }
    if (s->net.mode == FC_TRAIN_FULL && s->keeps_rows) {
        FC_TRY(fc_deltas_init_dense(&st->deltas, shape, s->w0.n, s->tasks.n, arena, err));
        FC_TRY(backbone_copy(&r->scratch.w_scratch, r, err));
    }
    if (s->net.mode != FC_TRAIN_LORA)
        return FC_OK;
    const fc_grams slots = fc_grams_first(&s->gram_shape, s->slots);
    if (s->trained.folds) {
        FC_TRY(fc_deltas_init_dense(&st->deltas, shape, s->w0.n, s->tasks.n, arena, err));
        FC_TRY(backbone_copy(&st->folded, r, err));
        size_t stack = fc_down_stack_size(s);
        st->stack = stack ? fc_arena_alloc(arena, stack, sizeof *st->stack, err) : NULL;
        if (stack && !st->stack)
            return FC_EFAIL;
    } else {
        FC_TRY(fc_deltas_init(&st->deltas, shape, s->net.rank, s->tasks.n,
                              s->task_grams ? &slots : NULL, arena, err));
    }
    if (s->method->train_base || s->trained.folds)
        FC_TRY(backbone_copy(&r->scratch.w_buffer, r, err));
    return backbone_copy(&r->scratch.w_scratch, r, err);
}

/* Threads, and the buffers that they train and test with. */
static fc_status crew_init(fc_run *r, fc_error *err)
{
    const fc_setup *s = r->setup;
    const fc_merge_method *rule = s->cfg->task_rule;
    size_t longest = 0;
    for (int t = 0; t < s->partition.tasks; t++)
        for (int k = 0; k < s->partition.clients; k++) {
            size_t n = fc_client_samples(s, t, k);
            longest = n > longest ? n : longest;
        }
    fc_crew_plan plan = {.net = &s->net,
                         .like = &s->layout,
                         .threads = s->threads,
                         .clients = s->partition.clients,
                         .batch = s->cfg->train.batch,
                         .samples = longest,
                         .grams = s->gram_shape.n ? &s->gram_shape : NULL,
                         .slice_terms = s->slice_terms,
                         .teacher = s->has_teacher,
                         .max_side = s->max_side};
    fc_grams full;
    if (rule) {
        plan.acts = fc_vit_merge_acts(rule, s->cfg->task_rule_options, s->tasks.n);
        if (!plan.grams && fc_vit_merge_needs_grams(rule)) {
            FC_TRY(fc_vit_grams(&full, &s->net.shape, 1, 1, &r->scratch.arena, err));
            plan.grams = &full;
        }
    }
    FC_TRY(fc_crew_init(&r->scratch.crew, &plan, err));
    return s->fisher.n > 0 ? fc_fisher_room_init(&r->scratch.fisher, &s->net, &r->scratch.crew,
                                                 &r->scratch.arena, err)
                           : FC_OK;
}

/* Frozen weights as the kernels want them: one set to train on, one for what is only evaluated. */
static fc_status packed_init(fc_run *r, fc_error *err)
{
    const fc_net *n = &r->setup->net;
    FC_TRY(fc_packed_new(&r->scratch.packed_scratch, &n->shape, false, &n->engine, err));
    if (n->mode == FC_TRAIN_FULL)
        return r->setup->has_teacher
                   ? fc_packed_new(&r->scratch.packed_start, &n->shape, false, &n->engine, err)
                   : FC_OK;
    return fc_packed_new(&r->scratch.packed_train, &n->shape, n->mode == FC_TRAIN_LORA, &n->engine,
                         err);
}

const fc_packed *fc_run_packed(const fc_run *r)
{
    return r->scratch.packed_train.block ? &r->scratch.packed_train : NULL;
}

/* Buffers of the trainers for what pieces want, and the file of clients. */
static fc_status rooms_init(fc_run *r, fc_error *err)
{
    const fc_setup *s = r->setup;
    fc_scratch *x = &r->scratch;
    size_t trainers = (size_t)x->crew.trainers;
    x->sent = fc_arena_alloc(&x->arena, trainers, sizeof *x->sent, err);
    x->gradient = fc_arena_alloc(&x->arena, trainers, sizeof *x->gradient, err);
    if (!x->sent || !x->gradient)
        return FC_EFAIL;
    for (size_t i = 0; i < trainers; i++) {
        if (s->sent_numbers)
            x->sent[i] = fc_arena_alloc(&x->arena, s->sent_numbers, sizeof **x->sent, err);
        if (s->gradient)
            x->gradient[i] = fc_arena_alloc(&x->arena, s->layout.n, sizeof **x->gradient, err);
        if ((s->sent_numbers && !x->sent[i]) || (s->gradient && !x->gradient[i]))
            return FC_EFAIL;
    }
    return s->own_numbers ? fc_client_store_init(&x->store, s->own_numbers, s->partition.clients,
                                                 fc_plan_cohort_max(s), &x->arena, err)
                          : FC_OK;
}

fc_status fc_run_init(fc_run *r, const fc_setup *s, fc_error *err)
{
    r->setup = s;
    FC_TRY(state_init(r, err));
    FC_TRY(packed_init(r, err));
    FC_TRY(crew_init(r, err));
    return rooms_init(r, err);
}

void fc_run_free(fc_run *r)
{
    fc_crew_free(&r->scratch.crew);
    fc_packed_free(&r->scratch.packed_train);
    fc_packed_free(&r->scratch.packed_scratch);
    fc_packed_free(&r->scratch.packed_start);
    fc_runlog_close(&r->scratch.log);
    fc_client_store_close(&r->scratch.store);
    fc_arena_free(&r->scratch.arena);
    *r = (fc_run){0};
}

/* --- checkpoints --------------------------------------------------------------------------------
 */

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
