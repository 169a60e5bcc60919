#include "core/vit/optim.h"

#include <string.h>

fc_optim_config fc_optim_adam(double lr)
{
    return (fc_optim_config){.kind = FC_ADAM,
                             .lr = {[FC_GROUP_BACKBONE] = lr},
                             .groups = 1u << FC_GROUP_BACKBONE,
                             .beta1 = 0.9,
                             .beta2 = 0.999,
                             .eps = 1e-8};
}

fc_status fc_optim_init(fc_optim *o, const fc_optim_config *cfg, const fc_params *p,
                        fc_arena *arena, fc_error *err)
{
    *o = (fc_optim){.cfg = *cfg};
    o->m = fc_arena_alloc(arena, p->n, sizeof *o->m, err);
    if (!o->m)
        return FC_EFAIL;
    if (cfg->kind != FC_SGD && !(o->v = fc_arena_alloc(arena, p->n, sizeof *o->v, err)))
        return FC_EFAIL;
    return FC_OK;
}

void fc_optim_reset(fc_optim *o, const fc_optim_config *cfg, const fc_params *p)
{
    o->cfg = *cfg;
    o->step = 0;
    memset(o->m, 0, p->n * sizeof *o->m);
    if (o->v)
        memset(o->v, 0, p->n * sizeof *o->v);
}

static bool is_trained(const fc_optim *o, const fc_spec *s)
{
    return o->cfg.groups & 1u << s->group;
}

/* torch.nn.utils.clip_grad_norm_: g *= min(1, max_norm / (norm + 1e-6)), norm over all tensors. */
static void clip_gradient(const fc_optim *o, const fc_params *p, fc_real *grad)
{
    double square = 0;
    for (int i = 0; i < p->nspec; i++) {
        if (!is_trained(o, &p->spec[i]))
            continue;
        const fc_real *g = grad + p->spec[i].offset;
        double part = 0;
        for (size_t j = 0; j < fc_spec_size(&p->spec[i]); j++)
            part += (double)g[j] * (double)g[j];
        square += part;
    }
    double factor = o->cfg.clip_norm / (sqrt(square) + 1e-6);
    if (factor >= 1)
        return;
    for (int i = 0; i < p->nspec; i++) {
        if (!is_trained(o, &p->spec[i]))
            continue;
        fc_real *g = grad + p->spec[i].offset;
        for (size_t j = 0; j < fc_spec_size(&p->spec[i]); j++)
            g[j] *= (fc_real)factor;
    }
}

/* The numbers of one tensor in one step; scalars are made in double and rounded once, as torch
 * does. */
typedef struct rule {
    fc_real decay;  /* Adam, SGD: L2 factor added to the gradient */
    fc_real shrink; /* AdamW: 1 - lr wd, else 1 */
    fc_real beta1, rest1, beta2, rest2, eps;
    fc_real rate;  /* lr / (1 - beta1^s); SGD: lr */
    fc_real root2; /* sqrt(1 - beta2^s) */
    fc_real momentum;
} rule;

/* w = (1 - lr wd) p, d = g (+ wd w for Adam), m = b1 m + (1 - b1) d, v = b2 v + (1 - b2) d^2,
 * p = w - lr / (1 - b1^s) m / (sqrt(v) / sqrt(1 - b2^s) + eps) */
static void adam_tensor(fc_real *restrict p, fc_real *restrict m, fc_real *restrict v,
                        const fc_real *g, size_t n, const rule *u)
{
    rule r = *u;
    for (size_t i = 0; i < n; i++) {
        fc_real w = p[i] * r.shrink, d = g[i] + r.decay * w;
        m[i] = m[i] * r.beta1 + r.rest1 * d;
        v[i] = v[i] * r.beta2 + r.rest2 * d * d;
        p[i] = w - r.rate * m[i] / (sqrt(v[i]) / r.root2 + r.eps);
    }
}

/* m = momentum m + g + wd p, p -= lr m */
static void sgd_tensor(fc_real *restrict p, fc_real *restrict m, const fc_real *g, size_t n,
                       const rule *r)
{
    for (size_t i = 0; i < n; i++) {
        m[i] = m[i] * r->momentum + (g[i] + r->decay * p[i]);
        p[i] -= r->rate * m[i];
    }
}

static bool decays(const fc_spec *s, int no_decay_1d)
{
    return !no_decay_1d || !(s->ndim <= 1 || strcmp(s->name, "cls_token") == 0 ||
                             strcmp(s->name, "pos_embed") == 0);
}

void fc_optim_step(fc_optim *o, fc_params *p, fc_real *grad, double lr_scale, int no_decay_1d)
{
    const fc_optim_config *c = &o->cfg;
    if (c->clip_norm > 0)
        clip_gradient(o, p, grad);
    o->step++;
    double fix1 = 1 - pow(c->beta1, (double)o->step), fix2 = 1 - pow(c->beta2, (double)o->step);
    rule r = {.beta1 = (fc_real)c->beta1,
              .rest1 = (fc_real)(1 - c->beta1),
              .beta2 = (fc_real)c->beta2,
              .rest2 = (fc_real)(1 - c->beta2),
              .eps = (fc_real)c->eps,
              .root2 = (fc_real)sqrt(fix2),
              .momentum = (fc_real)c->momentum};
    for (int i = 0; i < p->nspec; i++) {
        const fc_spec *s = &p->spec[i];
        if (!is_trained(o, s))
            continue;
        double lr = c->lr[s->group] * lr_scale;
        double decay = decays(s, no_decay_1d) ? c->weight_decay : 0;
        r.decay = c->kind == FC_ADAMW ? 0 : (fc_real)decay;
        r.shrink = c->kind == FC_ADAMW ? (fc_real)(1 - lr * decay) : 1;
        r.rate = (fc_real)(c->kind == FC_SGD ? lr : lr / fix1);
        if (c->kind == FC_SGD)
            sgd_tensor(p->p + s->offset, o->m + s->offset, grad + s->offset, fc_spec_size(s), &r);
        else
            adam_tensor(p->p + s->offset, o->m + s->offset, o->v + s->offset, grad + s->offset,
                        fc_spec_size(s), &r);
    }
}

double fc_schedule_at(fc_schedule kind, long s, long n, long warmup)
{
    if (s < warmup)
        return (double)(s + 1) / (double)warmup;
    if (kind == FC_CONSTANT)
        return 1;
    return 0.5 * (1 + cos(3.14159265358979323846 * (double)(s - warmup) / (double)(n - warmup)));
}

double fc_optim_plain_steps(const fc_optim_config *cfg, long k)
{
    double n = (double)k, rho = cfg->kind == FC_SGD ? cfg->momentum : 0;
    return rho == 0 ? n : (n - rho * (1 - pow(rho, n)) / (1 - rho)) / (1 - rho);
}
