#include "core/vit/fisher.h"

#include "core/vit/head.h"

#include <string.h>

/* F += p_c (d log p_c)^2 of the image that went forward; FC_FISHER_LABELS: with p_c = 1. */
static void add_class(fc_real *F, const fc_fisher *f, const fc_model *m, const fc_grads *grads,
                      int c)
{
    double loss = fc_ce(f->dlogits, fc_acts_logits(f->acts), &c, 1, m->classes, f->lo, f->hi, 1);
    fc_real p = f->kind == FC_FISHER_LABELS ? 1 : (fc_real)exp(-loss), *g = f->grad.p;
    memset(g, 0, f->grad.n * sizeof *g);
    fc_vit_backward(f->acts, m, f->dlogits, grads);
    for (size_t i = 0; i < f->grad.n; i++)
        F[i] += p * g[i] * g[i];
}

void fc_fisher_add(fc_real *F, const fc_fisher *f, const fc_model *m, const fc_real *x,
                   const int *label, int n)
{
    size_t pixels = 3 * (size_t)m->shape->image * (size_t)m->shape->image;
    fc_grads grads = fc_grads_of(FC_TRAIN_FULL, &f->grad, ~0u);
    for (int i = 0; i < n; i++) {
        fc_vit_forward(f->acts, m, x + (size_t)i * pixels, 1, NULL, &grads);
        bool expected = f->kind == FC_FISHER_EXPECTED;
        int first = expected ? f->lo : label[i], end = expected ? f->hi : first + 1;
        for (int c = first; c < end; c++)
            add_class(F, f, m, &grads, c);
    }
}

double fc_fisher_flop(fc_fisher_kind kind, const fc_vit_shape *s, int rank, int classes, int task)
{
    double forward = fc_vit_flop(s, rank, classes, FC_TRAIN_FULL, ~0u, false);
    double both = fc_vit_flop(s, rank, classes, FC_TRAIN_FULL, ~0u, true);
    return forward + (kind == FC_FISHER_EXPECTED ? task : 1) * (both - forward);
}

static bool is_slot(const fc_vit_shape *s, int tensor)
{
    for (int i = 0; i < fc_vit_slots(s); i++)
        if (fc_slot_tensor(i) == tensor)
            return true;
    return false;
}

fc_status fc_fisher_layout(fc_params *out, const fc_vit_shape *s, fc_train_mode mode, int classes,
                           fc_arena *arena, fc_error *err)
{
    fc_params full;
    FC_TRY(fc_train_layout(&full, s, FC_TRAIN_FULL, 0, classes, arena, err));
    fc_spec *spec = fc_arena_alloc(arena, (size_t)full.nspec, sizeof *spec, err);
    if (!spec)
        return FC_EFAIL;
    *out = (fc_params){0};
    for (int t = 0; t < full.nspec; t++) {
        const fc_spec *from = &full.spec[t];
        if (mode == FC_TRAIN_FULL || is_slot(s, t) || from->group == FC_GROUP_HEAD)
            fc_params_add(out, spec, from->name, from->group, from->ndim, from->dim);
    }
    return FC_OK;
}
