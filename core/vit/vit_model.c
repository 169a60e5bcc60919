#include "core/vit/vit_model.h"

fc_model fc_model_of(const fc_vit_shape *s, fc_train_mode mode, int rank, int classes,
                     const fc_real *w, const fc_params *t)
{
    const fc_spec *head = &t->spec[fc_train_head(t)];
    fc_model m = {.shape = s,
                  .classes = classes,
                  .w = mode == FC_TRAIN_FULL ? t->p : w,
                  .scale = 1,
                  .head_w = t->p + head[0].offset,
                  .head_b = t->p + head[1].offset};
    if (mode == FC_TRAIN_LORA) {
        m.rank = rank;
        m.A = t->p;
        m.B = t->p + t->spec[fc_train_B(s, 0)].offset;
    }
    return m;
}

fc_grads fc_grads_of(fc_train_mode mode, const fc_params *g, unsigned groups)
{
    const fc_spec *head = &g->spec[fc_train_head(g)];
    fc_grads out = {0};
    if (mode == FC_TRAIN_FULL && (groups & 1u << FC_GROUP_BACKBONE))
        out.w = g->p;
    if (mode == FC_TRAIN_LORA && (groups & 1u << FC_GROUP_A))
        out.A = g->p;
    if (mode == FC_TRAIN_LORA && (groups & 1u << FC_GROUP_B))
        out.B =
            g->p + g->spec[fc_train_head(g) / 2].offset; /* as many A as B come before the head */
    if (groups & 1u << FC_GROUP_HEAD) {
        out.head_w = g->p + head[0].offset;
        out.head_b = g->p + head[1].offset;
    }
    return out;
}
