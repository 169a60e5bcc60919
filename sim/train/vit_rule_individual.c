/* The updates as they are, one model for each task: the upper bound that merges are measured by. */
#include "sim/train/vit_rule.h"

static fc_status make_individual(const fc_vit_making *k, fc_error *err)
{
    fc_tv_set *set = fc_arena_alloc(k->arena, 1, sizeof *set, err);
    FC_TRY(fc_tv_check(k->job->in, err));
    if (!set)
        return FC_EFAIL;
    *set = *k->job->in;
    k->out->of = set;
    k->out->tensor = k->job->tensor;
    return FC_OK;
}

/* w = w0 + tau_s */
static fc_status individual_expert(fc_real *w, const fc_vit_merged *m, const fc_params *w0, int s,
                                   fc_error *err)
{
    return fc_vit_rule_add_update(w, w0, m->of, m->tensor, s, err);
}

static size_t individual_extra(const fc_vit_merged *m, const fc_vit_shape *shape)
{
    size_t n = 0;
    (void)shape;
    for (int i = 0; i < m->of->n; i++)
        for (int t = 0; t < m->of->tensors; t++) {
            const fc_tv_shape *s = &m->of->shape[t];
            int rank = fc_tv_at(m->of, i, t)->rank;
            n += rank ? (size_t)rank * (size_t)(s->rows + s->cols) : fc_tv_size(s);
        }
    return n;
}

const fc_vit_rule fc_vit_rule_individual = {
    .name = "individual",
    .make = make_individual,
    .expert = individual_expert,
    .extra = individual_extra,
};
