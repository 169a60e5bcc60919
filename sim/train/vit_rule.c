#include "sim/train/vit_rule.h"

#include <math.h>
#include <string.h>

/* vit_rule_table.inc: FC_ROW(name) for every row of vit_rule_table.def */
#define FC_ROW(name) extern const fc_vit_rule fc_vit_rule_##name;
#include "vit_rule_table.inc"
#undef FC_ROW

#define FC_ROW(name) &fc_vit_rule_##name,
const fc_vit_rule *const fc_vit_rule_table[] = {
#include "vit_rule_table.inc"
};
#undef FC_ROW

const int fc_vit_rule_count = sizeof fc_vit_rule_table / sizeof *fc_vit_rule_table;

const fc_vit_rule *fc_vit_rule_find(const char *name)
{
    for (int i = 0; i < fc_vit_rule_count; i++)
        if (strcmp(fc_vit_rule_table[i]->name, name) == 0)
            return fc_vit_rule_table[i];
    return NULL;
}

double **fc_vit_rule_tau(const fc_vit_making *k, fc_error *err)
{
    const fc_tv_set *in = k->job->in;
    double **out = fc_arena_alloc(k->arena, (size_t)in->tensors, sizeof *out, err);
    for (int t = 0; out && t < in->tensors; t++) {
        out[t] = fc_arena_alloc(k->arena, fc_tv_size(&in->shape[t]), sizeof **out, err);
        if (!out[t])
            return NULL;
    }
    return out;
}

fc_status fc_vit_rule_put(const fc_vit_making *k, double *const *tau, fc_error *err)
{
    const fc_vit_merge_job *j = k->job;
    k->out->tau = tau;
    for (int t = 0; t < j->in->tensors; t++) {
        const fc_spec *s = &j->w0->spec[j->tensor[t]];
        for (size_t e = 0; e < fc_tv_size(&j->in->shape[t]); e++) {
            fc_real *to = &k->out->w[s->offset + e];
            *to = (fc_real)(j->w0->p[s->offset + e] + tau[t][e]);
            if (!isfinite(*to))
                return fc_fail(err, FC_EFAIL,
                               "merge of %s: element %zu came out as %g, expected a finite number",
                               s->name, e, tau[t][e]);
        }
    }
    return FC_OK;
}

fc_status fc_vit_rule_add_update(fc_real *w, const fc_params *w0, const fc_tv_set *in,
                                 const int *tensor, int i, fc_error *err)
{
    size_t most = 0;
    fc_arena arena = {0};
    for (int t = 0; t < in->tensors; t++)
        most = fc_tv_size(&in->shape[t]) > most ? fc_tv_size(&in->shape[t]) : most;
    double *x = fc_arena_alloc(&arena, most, sizeof *x, err);
    for (int t = 0; x && t < in->tensors; t++) {
        fc_real *to = w + w0->spec[tensor[t]].offset;
        fc_tv_dense(x, fc_tv_at(in, i, t), &in->shape[t]); /* x = tau_it, or B A (rows, cols) */
        for (size_t e = 0; e < fc_tv_size(&in->shape[t]); e++)
            to[e] = (fc_real)(to[e] + x[e]);
    }
    fc_arena_free(&arena);
    return x ? FC_OK : FC_EFAIL;
}

fc_model fc_vit_rule_model(const fc_vit_merge_job *j, const fc_real *w)
{
    return (fc_model){.shape = &j->net->shape,
                      .classes = j->net->classes,
                      .w = w,
                      .scale = 1,
                      .head_w = j->head_w,
                      .head_b = j->head_b};
}

fc_entropy_job fc_vit_rule_entropy(const fc_vit_merge_job *j, int steps, int batch)
{
    return (fc_entropy_job){.net = j->net,
                            .crew = j->crew,
                            .split = j->split,
                            .task = j->task,
                            .tasks = j->in->n,
                            .steps = steps,
                            .batch = batch,
                            .seed = j->seed,
                            .progress = j->progress,
                            .what = j->rule->name};
}
