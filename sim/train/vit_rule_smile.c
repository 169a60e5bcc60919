/* SMILE (core/merge/rules/smile.h) of tasks or files. In a file of experts, beside those of each
 * layer:
 *
 *   smile.<weight>.gate (1, experts)   singular vectors that the router has of each
 *   smile.<weight>.router (sum of gate, n)
 *
 * metadata: top_k. */
#include "sim/train/vit_rule.h"

#include <stdlib.h>

static fc_acts_size smile_acts(const void *options, int n)
{
    const fc_smile_options *o = options;
    return (fc_acts_size){.experts = n, .gate_k = o->gate_k};
}

static fc_status make_smile(const fc_vit_making *k, fc_error *err)
{
    const fc_vit_merge_job *j = k->job;
    const fc_vit_shape *shape = &j->net->shape;
    fc_smile *s = fc_arena_alloc(k->arena, (size_t)fc_vit_slots(shape), sizeof *s, err);
    if (!s)
        return FC_EFAIL;
    FC_TRY(fc_smile_backbone(s, k->out->w, shape, j->in, j->options, k->arena, err));
    k->out->smile = s;
    return FC_OK;
}

/* Rows of a router: the vectors of all experts. */
static int64_t router_rows(const fc_smile *s)
{
    int64_t n = 0;
    for (int e = 0; e < s->of.n; e++)
        n += s->gate[e];
    return n;
}

static size_t smile_extra(const fc_vit_merged *m, const fc_vit_shape *shape)
{
    size_t n = 0;
    for (int i = 0; i < fc_vit_slots(shape); i++) {
        const fc_smile *s = &m->smile[i];
        n += fc_experts_numbers(&s->of) + (size_t)router_rows(s) * (size_t)s->of.cols;
    }
    return n;
}

/* --- as a file ----------------------------------------------------------------------------------
 */

static fc_acts_size smile_expert_acts(const fc_vit_merged *m, const fc_vit_shape *shape, int n)
{
    fc_acts_size size = {.experts = n, .gate_k = 1};
    for (int i = 0; i < fc_vit_slots(shape); i++)
        for (int e = 0; e < m->smile[i].of.n; e++)
            size.gate_k = m->smile[i].gate[e] > size.gate_k ? m->smile[i].gate[e] : size.gate_k;
    return size;
}

static fc_status write_smile_layer(fc_expert_writer *w, const fc_smile *s, const char *weight,
                                   fc_error *err)
{
    fc_arena *a = w->arena;
    int64_t *gate = fc_arena_alloc(a, (size_t)s->of.n, sizeof *gate, err);
    if (!gate)
        return FC_EFAIL;
    for (int e = 0; e < s->of.n; e++)
        gate[e] = s->gate[e];
    FC_TRY(fc_expert_put_layer(w, &s->of, weight, err));
    FC_TRY(fc_expert_put(w, fc_arena_format(a, err, "smile.%s.gate", weight), FC_I64, 1, s->of.n,
                         gate, err));
    return fc_expert_put_reals(w, fc_arena_format(a, err, "smile.%s.router", weight),
                               router_rows(s), s->of.cols, s->G, err);
}

static fc_status write_smile(fc_expert_writer *w, const fc_vit_merged *m, fc_error *err)
{
    int top_k = 1, layers = 0;
    for (int i = 0; i < fc_vit_slots(w->shape); i++) {
        const fc_smile *s = &m->smile[i];
        if (s->of.n == 0)
            continue;
        FC_TRY(write_smile_layer(w, s, w->layout.spec[fc_slot_tensor(i)].name, err));
        top_k = layers++ == 0 ? s->top_k : top_k;
    }
    return fc_expert_say(w, "top_k", fc_arena_format(w->arena, err, "%d", top_k));
}

static fc_status read_gates(fc_smile *s, const fc_expert_reader *r, const char *weight,
                            fc_error *err)
{
    const fc_tensor *gate, *router;
    fc_arena *a = r->arena;
    double *v = fc_arena_alloc(a, (size_t)r->n, sizeof *v, err);
    s->gate = fc_arena_alloc(a, (size_t)r->n, sizeof *s->gate, err);
    if (!v || !s->gate)
        return FC_EFAIL;
    FC_TRY(
        fc_expert_need(&gate, r, fc_arena_format(a, err, "smile.%s.gate", weight), 1, r->n, err));
    FC_TRY(fc_st_read_double(v, &r->file, gate, err));
    for (int e = 0; e < r->n; e++) {
        if (!(v[e] >= 0 && v[e] <= s->of.cols && v[e] <= s->of.rows))
            return fc_fail(err, FC_EDATA, "%s: tensor %s: %g vectors of a (%d, %d) weight",
                           r->file.path, gate->name, v[e], s->of.rows, s->of.cols);
        s->gate[e] = (int)v[e];
    }
    FC_TRY(fc_expert_need(&router, r, fc_arena_format(a, err, "smile.%s.router", weight),
                          router_rows(s), s->of.cols, err));
    return fc_expert_reals(&s->G, r, router, err);
}

static fc_status read_smile(fc_vit_merged *m, const fc_expert_reader *r, fc_error *err)
{
    const char *text = fc_st_metadata(&r->file, "top_k");
    long k = text ? strtol(text, NULL, 10) : 0;
    int slots = fc_vit_slots(r->shape);
    if (!(k >= 1 && k <= r->n))
        return fc_fail(err, FC_EDATA, "%s: metadata: top_k: expected 1 to %d", r->file.path, r->n);
    fc_smile *smile = fc_arena_alloc(r->arena, (size_t)slots, sizeof *smile, err);
    if (!smile)
        return FC_EFAIL;
    m->smile = smile;
    for (int i = 0; i < slots; i++) {
        const fc_tensor *gate;
        fc_smile *s = &smile[i];
        const char *weight = r->layout.spec[fc_slot_tensor(i)].name;
        const char *name = fc_arena_format(r->arena, err, "smile.%s.gate", weight);
        FC_TRY(fc_expert_find(&gate, r, name, 1, r->n, err));
        if (!gate)
            continue;
        s->top_k = (int)k;
        fc_slot_dims(r->shape, i, &s->of.rows, &s->of.cols);
        FC_TRY(fc_expert_read_layer(&s->of, r, weight, err));
        FC_TRY(read_gates(s, r, weight, err));
    }
    return FC_OK;
}

const fc_vit_rule fc_vit_rule_smile = {
    .name = "smile",
    .acts = smile_acts,
    .make = make_smile,
    .extra = smile_extra,
    .expert_acts = smile_expert_acts,
    .write = write_smile,
    .read = read_smile,
};
