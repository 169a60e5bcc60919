#include "core/merge/rules/wemoe.h"

#include "core/base/rng.h"
#include "core/merge/backbone.h"

#include <stdio.h>

static void add_gate(fc_params *layout, fc_spec *spec, int l, const char *name, int ndim, int rows,
                     int cols)
{
    char full[FC_NAME_MAX];
    snprintf(full, sizeof full, "blocks.%d.mlp.gate.%s", l, name);
    fc_params_add(layout, spec, full, FC_GROUP_BACKBONE, ndim,
                  ndim == 1 ? &cols : (int[]){rows, cols});
}

/* W2 and b2 come last in all forms of a gate. */
static fc_status alloc_gates(fc_wemoe *m, int depth, fc_arena *arena, fc_error *err)
{
    fc_params layout = {0};
    fc_spec *spec = fc_arena_alloc(arena, 4 * (size_t)depth, sizeof *spec, err);
    if (!spec)
        return FC_EFAIL;
    const char *const weight[] = {NULL, "fc.weight", "fc2.weight"};
    const char *const bias[] = {"weight", "fc.bias", "fc2.bias"};
    int D = m->width, layers = m->router_layers;
    for (int l = 0; l < depth; l++) {
        if (layers == 2) {
            add_gate(&layout, spec, l, "fc1.weight", 2, D, D);
            add_gate(&layout, spec, l, "fc1.bias", 1, 1, D);
        }
        if (layers > 0)
            add_gate(&layout, spec, l, weight[layers], 2, m->tasks, D);
        add_gate(&layout, spec, l, bias[layers], 1, 1, m->tasks);
    }
    return fc_params_alloc(&m->gates, &layout, arena, err);
}

/* W1, W2 ~ N(0, 0.01^2), b1 = 0, b2 = lambda */
static void fill_gates(fc_wemoe *m, int depth, double lambda, uint64_t seed)
{
    for (int i = 0; i < m->gates.nspec; i++) {
        const fc_spec *s = &m->gates.spec[i];
        fc_rng g =
            fc_rng_at((fc_key){.seed = seed, .stream = FC_STREAM_INIT_GATE, .sample = (uint32_t)i});
        for (int j = 0; s->ndim == 2 && j < s->rows * s->cols; j++)
            m->gates.p[s->offset + (size_t)j] = (fc_real)(0.01 * fc_rng_normal(&g));
    }
    for (int l = 0; l < depth; l++) {
        fc_gate g = fc_wemoe_gate(m, m->gates.p, l);
        for (int i = 0; i < m->tasks; i++)
            g.b2[i] = (fc_real)lambda;
    }
}

/* The experts of a layer whose weight and bias are tensors t and b of the set; -1: not there. */
static fc_status make_experts(fc_experts *x, const fc_tv_set *in, int t, int b, fc_arena *arena,
                              fc_arena *scratch, fc_error *err)
{
    if (t < 0 && b < 0)
        return FC_OK;
    x->n = in->n;
    x->expert = fc_arena_alloc(arena, (size_t)in->n, sizeof *x->expert, err);
    if (!x->expert)
        return FC_EFAIL;
    for (int i = 0; i < in->n; i++) {
        fc_expert *e = &x->expert[i], bias;
        if (t >= 0)
            FC_TRY(fc_backbone_expert(e, fc_tv_at(in, i, t), &in->shape[t], arena, scratch, err));
        if (b < 0)
            continue;
        FC_TRY(fc_backbone_expert(&bias, fc_tv_at(in, i, b), &in->shape[b], arena, scratch, err));
        e->bias = bias.dense;
    }
    return FC_OK;
}

/* MLPs become experts, w += lambda sum_i tau_i for all other tensors. */
static fc_status split_updates(fc_wemoe *m, fc_real *w, const fc_vit_shape *shape,
                               const fc_tv_set *in, double lambda, fc_arena *arena,
                               fc_arena *scratch, fc_error *err)
{
    fc_params layout;
    FC_TRY(fc_tv_check(in, err));
    FC_TRY(fc_vit_layout(&layout, shape, scratch, err));
    int *at = fc_arena_alloc(scratch, (size_t)layout.nspec, sizeof *at, err);
    if (!at)
        return FC_EFAIL;
    FC_TRY(fc_backbone_find(at, &layout, in->shape, in->tensors, err));
    for (int i = 0; i < 2 * shape->depth; i++) {
        int t = fc_slot_tensor(fc_wemoe_slot(i));
        FC_TRY(make_experts(&m->mlp[i], in, at[t], at[t + 1], arena, scratch, err));
        at[t] = at[t + 1] = -1;
    }
    for (int i = 0; i < layout.nspec; i++)
        if (at[i] >= 0)
            FC_TRY(fc_backbone_add(w + layout.spec[i].offset, lambda, in, at[i], scratch, err));
    return FC_OK;
}

fc_status fc_wemoe_alloc(fc_wemoe *m, const fc_vit_shape *shape, int tasks,
                         const fc_wemoe_options *o, fc_arena *arena, fc_error *err)
{
    if (o->router_layers < 0 || o->router_layers > 2)
        return fc_fail(err, FC_EUSAGE, "WEMoE: found router_layers %d, expected 0, 1 or 2",
                       o->router_layers);
    *m = (fc_wemoe){.tasks = tasks,
                    .width = shape->width,
                    .router_layers = o->router_layers,
                    .batch_reduce = o->batch_reduce};
    m->mlp = fc_arena_alloc(arena, 2 * (size_t)shape->depth, sizeof *m->mlp, err);
    if (!m->mlp)
        return FC_EFAIL;
    for (int i = 0; i < 2 * shape->depth; i++)
        fc_slot_dims(shape, fc_wemoe_slot(i), &m->mlp[i].rows, &m->mlp[i].cols);
    return alloc_gates(m, shape->depth, arena, err);
}

fc_status fc_wemoe_init(fc_wemoe *m, fc_real *w, const fc_vit_shape *shape, const fc_tv_set *in,
                        const fc_wemoe_options *o, uint64_t seed, fc_arena *arena, fc_error *err)
{
    FC_TRY(fc_wemoe_alloc(m, shape, in->n, o, arena, err));
    fill_gates(m, shape->depth, o->lambda, seed);
    fc_arena scratch = {0};
    fc_status status = split_updates(m, w, shape, in, o->lambda, arena, &scratch, err);
    fc_arena_free(&scratch);
    return status;
}
