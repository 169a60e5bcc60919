#include "core/merge/wemoe.h"

#include "core/kernels.h"
#include "core/merge/backbone.h"
#include "core/rng.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- construction ------------------------------------------------------------------------- */

enum { MLP_SLOT = 2, SLOTS = 4 }; /* fc1 is slot 2 of the four of a block, fc2 slot 3 */

int fc_wemoe_slot(int i)
{
    return i / 2 * SLOTS + MLP_SLOT + i % 2;
}

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

const fc_experts *fc_wemoe_experts(const fc_wemoe *m, int slot)
{
    return slot % SLOTS < MLP_SLOT ? NULL : &m->mlp[slot / SLOTS * 2 + slot % SLOTS - MLP_SLOT];
}

double fc_wemoe_flop(const fc_wemoe *m, int T, int depth)
{
    double D = m->width, sum = m->router_layers == 2 ? 2 * D * D * depth : 0;
    for (int i = 0; i < 2 * depth; i++)
        sum += fc_experts_flop(&m->mlp[i]);
    return sum * T;
}

fc_gate fc_wemoe_gate(const fc_wemoe *m, fc_real *block, int l)
{
    size_t D = (size_t)m->width, E = (size_t)m->tasks;
    size_t first = m->router_layers == 2 ? D * D + D : 0, second = m->router_layers > 0 ? E * D : 0;
    fc_real *p = block + (size_t)l * (first + second + E);
    return (fc_gate){.width = m->width,
                     .tasks = m->tasks,
                     .layers = m->router_layers,
                     .batch_reduce = m->batch_reduce,
                     .W1 = p,
                     .b1 = p + D * D,
                     .W2 = p + first,
                     .b2 = p + first + second};
}

/* ---- forward and backward ----------------------------------------------------------------- */

size_t fc_gate_bytes(const fc_engine *e, int width, int images, int rows)
{
    enum { ALIGN = 64 };
    size_t D = (size_t)width;
    return ((size_t)images + 2 * (size_t)rows) * D * sizeof(fc_real) + 3 * ALIGN +
           fc_linear_bytes(e, width, width, 0, rows);
}

static fc_linear first_gate_layer(const fc_gate *g)
{
    return (fc_linear){.d_in = g->width, .d_out = g->width, .W = g->W1, .b = g->b1};
}

/* Each of the n rows of w (n, E) becomes their mean. */
static void average_rows(double *w, int n, int E)
{
    for (int i = 0; i < E; i++) {
        double sum = 0;
        for (int j = 0; j < n; j++)
            sum += w[j * E + i];
        for (int j = 0; j < n; j++)
            w[j * E + i] = sum / n;
    }
}

/* mean (D) over the T rows of x. */
static void mean_row(fc_real *mean, const fc_real *x, size_t T, size_t D)
{
    memset(mean, 0, D * sizeof *mean);
    for (size_t t = 0; t < T; t++)
        for (size_t j = 0; j < D; j++)
            mean[j] += x[t * D + j];
    for (size_t j = 0; j < D; j++)
        mean[j] /= (fc_real)T;
}

/* The mean over tokens is taken before W2, which is linear. */
void fc_gate_forward(const fc_engine *e, double *w, fc_real *mean, fc_real *z, const fc_gate *g,
                     const fc_real *h, int n, int T)
{
    size_t N = (size_t)n, rows = (size_t)T, D = (size_t)g->width, E = (size_t)g->tasks;
    if (g->layers == 2) {
        fc_linear l = first_gate_layer(g);
        fc_linear_forward(e, z, NULL, &l, h, NULL, n * T);
        for (size_t i = 0; i < N * rows * D; i++)
            z[i] = z[i] < 0 ? 0 : z[i]; /* NaN stays */
    }
    const fc_real *x = g->layers == 2 ? z : h;
    for (size_t i = 0; i < N; i++) {
        if (g->layers > 0)
            mean_row(mean + i * D, x + i * rows * D, rows, D);
        for (size_t k = 0; k < E; k++) {
            double sum = (double)g->b2[k];
            for (size_t j = 0; g->layers > 0 && j < D; j++)
                sum += (double)g->W2[k * D + j] * (double)mean[i * D + j];
            w[i * E + k] = sum;
        }
    }
    if (g->batch_reduce)
        average_rows(w, n, g->tasks);
}

/* W2 and b2: their gradients, and dmean (n, D). */
static void second_layer_backward(fc_real *dmean, const fc_gate *d, const fc_gate *g,
                                  const double *dw, const fc_real *mean, int n)
{
    size_t D = (size_t)g->width, E = (size_t)g->tasks;
    memset(dmean, 0, (size_t)n * D * sizeof *dmean);
    for (size_t i = 0; i < (size_t)n; i++)
        for (size_t k = 0; k < E; k++) {
            fc_real dy = (fc_real)dw[i * E + k];
            if (d)
                d->b2[k] += dy;
            for (size_t j = 0; g->layers > 0 && j < D; j++) {
                dmean[i * D + j] += dy * g->W2[k * D + j];
                if (d)
                    d->W2[k * D + j] += dy * mean[i * D + j];
            }
        }
}

void fc_gate_backward(const fc_engine *e, fc_real *dh, const fc_gate *d, const fc_gate *g,
                      double *dw, const fc_real *h, const fc_real *mean, const fc_real *z, int n,
                      int T)
{
    size_t D = (size_t)g->width, rows = (size_t)n * (size_t)T;
    fc_engine work = *e;
    if (g->batch_reduce)
        average_rows(dw, n, g->tasks);
    fc_real *dmean = fc_engine_take(&work, (size_t)n * D * sizeof *dmean);
    second_layer_backward(dmean, d, g, dw, mean, n);
    if (g->layers == 0)
        return;
    fc_real *dx = fc_engine_take(&work, rows * D * sizeof *dx); /* of W2's input, token by token */
    for (size_t i = 0; i < rows * D; i++) {
        bool on = g->layers == 1 || z[i] > 0;
        dx[i] = on ? dmean[i / D / (size_t)T * D + i % D] / (fc_real)T : 0;
    }
    if (g->layers == 2) {
        fc_real *dz = dx;
        fc_linear l = first_gate_layer(g);
        fc_linear_grads grads = {.W = d ? d->W1 : NULL, .b = d ? d->b1 : NULL};
        dx = fc_engine_take(&work, rows * D * sizeof *dx);
        fc_linear_backward(&work, dx, &grads, &l, dz, h, NULL, n * T);
    }
    for (size_t i = 0; i < rows * D; i++)
        dh[i] += dx[i];
}
