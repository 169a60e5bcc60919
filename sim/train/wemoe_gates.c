#include "sim/train/wemoe_gates.h"

#include "core/vit/optim.h"

typedef struct wemoe_gates {
    const fc_wemoe_gates_job *j;
    fc_optim optim;
    fc_real *sum; /* gradient of a step */
} wemoe_gates;

static fc_status prepare_gates(void *ctx, fc_model *m, fc_error *err)
{
    (void)err;
    const wemoe_gates *s = ctx;
    *m = *s->j->m;
    m->wemoe = s->j->wemoe;
    return FC_OK;
}

static fc_grads gates_grads(void *ctx, fc_real *gradient)
{
    (void)ctx;
    return (fc_grads){.gates = gradient};
}

/* dH / dgates = sum over slices */
static void add_gates_gradient(void *ctx, const fc_real *gradient, bool first)
{
    wemoe_gates *s = ctx;
    for (size_t i = 0; i < s->j->wemoe->gates.n; i++)
        s->sum[i] = (first ? 0 : s->sum[i]) + gradient[i];
}

/* gates -= Adam(dH / dgates) */
static fc_status step_gates(void *ctx, fc_error *err)
{
    (void)err;
    wemoe_gates *s = ctx;
    fc_optim_step(&s->optim, &s->j->wemoe->gates, s->sum, 1, 0);
    return FC_OK;
}

static fc_status allocate_gates(wemoe_gates *s, fc_arena *arena, fc_error *err)
{
    const fc_wemoe_gates_job *j = s->j;
    const fc_params *gates = &j->wemoe->gates;
    const fc_optim_config adam = {.kind = FC_ADAM,
                                  .lr = {[FC_GROUP_BACKBONE] = j->lr},
                                  .groups = 1u << FC_GROUP_BACKBONE,
                                  .beta1 = 0.9,
                                  .beta2 = 0.999,
                                  .eps = 1e-8};
    FC_TRY(fc_optim_init(&s->optim, &adam, gates, arena, err));
    s->sum = fc_arena_alloc(arena, gates->n, sizeof *s->sum, err);
    return s->sum ? FC_OK : FC_EFAIL;
}

static fc_entropy_model model_of(const fc_wemoe_gates_job *j, wemoe_gates *s)
{
    const fc_net *net = j->entropy.net;
    double forward = fc_vit_flop(&net->shape, 0, net->classes, FC_TRAIN_HEAD, 0, false) +
                     fc_wemoe_flop(j->wemoe, fc_vit_tokens(&net->shape), net->shape.depth);
    return (fc_entropy_model){.ctx = s,
                              .flop = 2 * forward, /* weights are frozen: backward is as much */
                              .n = j->wemoe->gates.n,
                              .prepare = prepare_gates,
                              .grads = gates_grads,
                              .add = add_gates_gradient,
                              .step = step_gates};
}

double fc_wemoe_gates_flop(const fc_wemoe_gates_job *j)
{
    fc_entropy_model m = model_of(j, NULL);
    return fc_entropy_flop(&j->entropy, &m);
}

fc_status fc_wemoe_gates_run(fc_entropy_result *result, const fc_wemoe_gates_job *j, fc_error *err)
{
    wemoe_gates s = {.j = j};
    fc_entropy_model m = model_of(j, &s);
    fc_arena arena = {0};
    fc_status status = allocate_gates(&s, &arena, err);
    if (status == FC_OK)
        status = fc_entropy_run(result, &j->entropy, &m, err);
    fc_arena_free(&arena);
    return status;
}
