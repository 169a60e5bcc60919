/* WEMoE (core/merge/rules/wemoe.h) of tasks or files; its gates are trained by
 * sim/train/wemoe_gates.h. In a file of experts, beside those of the MLPs' layers:
 *
 *   wemoe.<gate tensor>
 *
 * metadata: router_layers, batch_reduce. */
#include "sim/train/vit_rule.h"
#include "sim/train/wemoe_gates.h"

#include <stddef.h>

/* What the network depends on. */
static const fc_opt rows[] = {{.key = "router_layers",
                               .type = FC_OPT_INT,
                               .offset = offsetof(fc_wemoe_options, router_layers),
                               .low = 0,
                               .high = 2},
                              {.key = "batch_reduce",
                               .type = FC_OPT_BOOL,
                               .offset = offsetof(fc_wemoe_options, batch_reduce)}};
enum { ROWS = sizeof rows / sizeof *rows };

static fc_acts_size wemoe_acts(const void *options, int n)
{
    const fc_wemoe_training *o = options;
    return (fc_acts_size){.experts = n, .gates = true, .whole = o->options.batch_reduce};
}

/* Gates see all layers, whose weights have no gradient. */
static double training_flop(const void *options, const fc_net *net, int n, int samples)
{
    const fc_wemoe_training *o = options;
    (void)samples; /* they come as often as the steps take them */
    return 2 * fc_vit_flop(&net->shape, 0, net->classes, FC_TRAIN_FULL, 0, false) * n * o->steps *
           o->batch;
}

static fc_status make_wemoe(const fc_vit_making *k, fc_error *err)
{
    const fc_vit_merge_job *j = k->job;
    const fc_wemoe_training *o = j->options;
    fc_wemoe *w = fc_arena_alloc(k->arena, 1, sizeof *w, err);
    if (!w)
        return FC_EFAIL;
    FC_TRY(fc_wemoe_init(w, k->out->w, &j->net->shape, j->in, &o->options, j->seed, k->arena, err));
    const fc_model m = fc_vit_rule_model(j, k->out->w);
    const fc_wemoe_gates_job gates = {
        .wemoe = w, .m = &m, .lr = o->lr, .entropy = fc_vit_rule_entropy(j, o->steps, o->batch)};
    fc_entropy_result result;
    FC_TRY(fc_wemoe_gates_run(&result, &gates, err));
    k->out->wemoe = w;
    return FC_OK;
}

static size_t wemoe_extra(const fc_vit_merged *m, const fc_vit_shape *shape)
{
    size_t n = m->wemoe->gates.n;
    for (int i = 0; i < 2 * shape->depth; i++)
        n += fc_experts_numbers(&m->wemoe->mlp[i]);
    return n;
}

/* --- as a file ----------------------------------------------------------------------------------
 */

static fc_acts_size wemoe_expert_acts(const fc_vit_merged *m, const fc_vit_shape *shape, int n)
{
    (void)shape;
    return (fc_acts_size){.experts = n, .gates = true, .whole = m->wemoe->batch_reduce};
}

static fc_status write_wemoe(fc_expert_writer *w, const fc_vit_merged *m, fc_error *err)
{
    const fc_wemoe *x = m->wemoe;
    const fc_wemoe_options o = {.router_layers = x->router_layers, .batch_reduce = x->batch_reduce};
    for (int i = 0; i < fc_vit_slots(w->shape); i++) {
        const fc_experts *mlp = fc_wemoe_experts(x, i);
        if (mlp)
            FC_TRY(fc_expert_put_layer(w, mlp, w->layout.spec[fc_slot_tensor(i)].name, err));
    }
    for (int i = 0; i < x->gates.nspec; i++) {
        const fc_spec *s = &x->gates.spec[i];
        FC_TRY(fc_expert_put_reals(w, fc_arena_format(w->arena, err, "wemoe.%s", s->name), s->rows,
                                   s->cols, x->gates.p + s->offset, err));
    }
    for (int i = 0; i < ROWS; i++)
        FC_TRY(fc_expert_say(w, rows[i].key, fc_opt_print(&o, &rows[i], w->arena, err)));
    return FC_OK;
}

static fc_status read_options(fc_wemoe_options *o, const fc_expert_reader *r, fc_error *err)
{
    for (int i = 0; i < ROWS; i++) {
        const char *text = fc_st_metadata(&r->file, rows[i].key);
        fc_error why = {0};
        if (fc_opt_set(o, &rows[i], text ? text : "", rows[i].key, r->arena, &why) != FC_OK)
            return fc_fail(err, FC_EDATA, "%s: metadata: %s", r->file.path, why.msg);
    }
    return FC_OK;
}

/* The experts of an MLP's layer, if it has some. */
static fc_status read_mlp(fc_experts *of, const fc_expert_reader *r, const char *weight,
                          fc_error *err)
{
    bool has;
    FC_TRY(fc_expert_has_layer(&has, r, of, weight, err));
    return has ? fc_expert_read_layer(of, r, weight, err) : FC_OK;
}

static fc_status read_wemoe(fc_vit_merged *m, const fc_expert_reader *r, fc_error *err)
{
    fc_wemoe_options o = {0};
    fc_wemoe *x = fc_arena_alloc(r->arena, 1, sizeof *x, err);
    if (!x)
        return FC_EFAIL;
    m->wemoe = x;
    FC_TRY(read_options(&o, r, err));
    FC_TRY(fc_wemoe_alloc(x, r->shape, r->n, &o, r->arena, err));
    fc_experts *of = x->mlp; /* in the order of their slots */
    for (int i = 0; i < fc_vit_slots(r->shape); i++)
        if (fc_wemoe_experts(x, i))
            FC_TRY(read_mlp(of++, r, r->layout.spec[fc_slot_tensor(i)].name, err));
    for (int i = 0; i < x->gates.nspec; i++) {
        const fc_spec *s = &x->gates.spec[i];
        const fc_tensor *t;
        FC_TRY(fc_expert_need(&t, r, fc_arena_format(r->arena, err, "wemoe.%s", s->name), s->rows,
                              s->cols, err));
        FC_TRY(fc_st_read(x->gates.p + s->offset, &r->file, t, err));
    }
    return FC_OK;
}

const fc_vit_rule fc_vit_rule_wemoe = {
    .name = "wemoe",
    .acts = wemoe_acts,
    .flop = training_flop,
    .make = make_wemoe,
    .extra = wemoe_extra,
    .expert_acts = wemoe_expert_acts,
    .write = write_wemoe,
    .read = read_wemoe,
};
