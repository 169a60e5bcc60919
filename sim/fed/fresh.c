#include "sim/fed/fresh.h"

#include "core/vit/head.h"
#include "sim/fed/down.h"
#include "sim/fed/pieces.h"
#include "sim/fed/plan.h"
#include "sim/train/vit_merge.h"

#include <string.h>

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
                         .second_batch = s->second_batch,
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
