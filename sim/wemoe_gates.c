#include "sim/wemoe_gates.h"

#include "core/optim.h"

#include <string.h>

typedef struct state {
    const fc_wemoe_gates_job *j;
    fc_optim optim;
    fc_real *sum;   /* gradient of a step */
    fc_real **grad; /* (threads) of one slice */
} state;

static fc_status prepare(void *ctx, fc_model *m, fc_error *err)
{
    (void)err;
    const state *s = ctx;
    *m = *s->j->m;
    m->wemoe = s->j->wemoe;
    return FC_OK;
}

static fc_entropy_pass pass(void *ctx, int thread)
{
    state *s = ctx;
    memset(s->grad[thread], 0, s->j->wemoe->gates.n * sizeof **s->grad);
    return (fc_entropy_pass){.grads = {.gates = s->grad[thread]}};
}

static void add(void *ctx, int thread, bool first)
{
    state *s = ctx;
    for (size_t i = 0; i < s->j->wemoe->gates.n; i++)
        s->sum[i] = (first ? 0 : s->sum[i]) + s->grad[thread][i];
}

static fc_status step(void *ctx, fc_error *err)
{
    (void)err;
    state *s = ctx;
    fc_optim_step(&s->optim, &s->j->wemoe->gates, s->sum, 1, 0);
    return FC_OK;
}

static fc_status allocate(state *s, fc_arena *arena, fc_error *err)
{
    const fc_wemoe_gates_job *j = s->j;
    const fc_params *gates = &j->wemoe->gates;
    int threads = j->entropy.crew->pool.threads;
    const fc_optim_config adam = {.kind = FC_ADAM,
                                  .lr = {[FC_GROUP_BACKBONE] = j->lr},
                                  .groups = 1u << FC_GROUP_BACKBONE,
                                  .beta1 = 0.9,
                                  .beta2 = 0.999,
                                  .eps = 1e-8};
    FC_TRY(fc_optim_init(&s->optim, &adam, gates, arena, err));
    s->sum = fc_arena_alloc(arena, gates->n, sizeof *s->sum, err);
    s->grad = fc_arena_alloc(arena, (size_t)threads, sizeof *s->grad, err);
    if (!s->sum || !s->grad)
        return FC_EFAIL;
    for (int i = 0; i < threads; i++)
        if (!(s->grad[i] = fc_arena_alloc(arena, gates->n, sizeof **s->grad, err)))
            return FC_EFAIL;
    return FC_OK;
}

static fc_entropy_model model_of(const fc_wemoe_gates_job *j, state *s)
{
    const fc_net *net = j->entropy.net;
    double forward = fc_vit_flop(&net->shape, 0, net->classes, FC_TRAIN_HEAD, 0, false) +
                     fc_wemoe_flop(j->wemoe, fc_vit_tokens(&net->shape), net->shape.depth);
    return (fc_entropy_model){.ctx = s,
                              .flop = 2 * forward, /* weights are frozen: backward is as much */
                              .prepare = prepare,
                              .pass = pass,
                              .add = add,
                              .step = step};
}

double fc_wemoe_gates_flop(const fc_wemoe_gates_job *j)
{
    fc_entropy_model m = model_of(j, NULL);
    return fc_entropy_flop(&j->entropy, &m);
}

fc_status fc_wemoe_gates_run(fc_entropy_result *result, const fc_wemoe_gates_job *j, fc_error *err)
{
    state s = {.j = j};
    fc_entropy_model m = model_of(j, &s);
    fc_arena arena = {0};
    fc_status status = allocate(&s, &arena, err);
    if (status == FC_OK)
        status = fc_entropy_run(result, &j->entropy, &m, err);
    fc_arena_free(&arena);
    return status;
}
