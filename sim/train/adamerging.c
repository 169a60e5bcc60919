#include "sim/train/adamerging.h"

#include <string.h>

/* Theta and its gradient as the coefficients' training has them. */
typedef struct adamerging {
    const fc_adamerging_job *j;
    fc_adamerging *a;
    double *const *out; /* merged task vector */
    double **dtheta;    /* (tensors) gradient of a step */
    fc_real *w;         /* merged backbone */
    fc_packed packed;   /* of w */
} adamerging;

/* Where tensor t of the set begins in the backbone. */
static size_t offset_of(const adamerging *s, int t)
{
    return s->j->w0->spec[s->j->tensor[t]].offset;
}

/* w = theta = theta_0 + sum_i lambda_i tau_i */
static fc_status merge_backbone(adamerging *s, fc_error *err)
{
    const fc_adamerging_job *j = s->j;
    FC_TRY(fc_ada_merge(s->out, s->a, err));
    for (int t = 0; t < j->in->tensors; t++)
        for (size_t e = 0, at = offset_of(s, t); e < fc_tv_size(&j->in->shape[t]); e++)
            s->w[at + e] = (fc_real)((double)j->w0->p[at + e] + s->out[t][e]);
    return FC_OK;
}

static fc_status prepare_backbone(void *ctx, fc_model *m, fc_error *err)
{
    adamerging *s = ctx;
    const fc_net *net = s->j->entropy.net;
    FC_TRY(merge_backbone(s, err));
    fc_packed_fill(&s->packed, &net->shape, s->w);
    *m = (fc_model){.shape = &net->shape,
                    .classes = net->classes,
                    .w = s->w,
                    .scale = 1,
                    .head_w = s->j->head_w,
                    .head_b = s->j->head_b,
                    .packed = &s->packed};
    return FC_OK;
}

static fc_grads backbone_grads(void *ctx, fc_real *gradient)
{
    (void)ctx;
    return (fc_grads){.w = gradient};
}

/* dtheta_t = sum over slices, of the tensors of the set only */
static void add_backbone_gradient(void *ctx, const fc_real *gradient, bool first)
{
    adamerging *s = ctx;
    for (int t = 0; t < s->j->in->tensors; t++) {
        const fc_real *g = gradient + offset_of(s, t);
        double *sum = s->dtheta[t];
        for (size_t e = 0; e < fc_tv_size(&s->j->in->shape[t]); e++)
            sum[e] = (first ? 0 : sum[e]) + (double)g[e];
    }
}

/* lambda -= Adam(dH / dlambda), dH / dlambda_it = <dtheta_t, tau_it> */
static fc_status step_coefficients(void *ctx, fc_error *err)
{
    adamerging *s = ctx;
    FC_TRY(fc_ada_gradient(s->a, (const double *const *)s->dtheta, err));
    fc_ada_step(s->a);
    return FC_OK;
}

static fc_status allocate_backbone(adamerging *s, fc_arena *arena, fc_error *err)
{
    const fc_adamerging_job *j = s->j;
    const fc_net *net = j->entropy.net;
    s->w = fc_arena_alloc(arena, j->w0->n, sizeof *s->w, err);
    s->dtheta = fc_arena_alloc(arena, (size_t)j->in->tensors, sizeof *s->dtheta, err);
    if (!s->w || !s->dtheta)
        return FC_EFAIL;
    memcpy(s->w, j->w0->p, j->w0->n * sizeof *s->w);
    for (int t = 0; t < j->in->tensors; t++) {
        size_t n = fc_tv_size(&j->in->shape[t]);
        if (!(s->dtheta[t] = fc_arena_alloc(arena, n, sizeof **s->dtheta, err)))
            return FC_EFAIL;
    }
    return fc_packed_new(&s->packed, &net->shape, true, &net->engine, err);
}

static fc_entropy_model model_of(const fc_adamerging_job *j, adamerging *s)
{
    const fc_net *net = j->entropy.net;
    return (fc_entropy_model){.ctx = s,
                              .flop = fc_vit_flop(&net->shape, 0, net->classes, FC_TRAIN_FULL,
                                                  1u << FC_GROUP_BACKBONE, true),
                              .n = j->w0->n,
                              .prepare = prepare_backbone,
                              .grads = backbone_grads,
                              .add = add_backbone_gradient,
                              .step = step_coefficients};
}

double fc_adamerging_flop(const fc_adamerging_job *j)
{
    fc_entropy_model m = model_of(j, NULL);
    return fc_entropy_flop(&j->entropy, &m);
}

fc_status fc_adamerging_run(fc_adamerging *a, double *const *out, fc_entropy_result *result,
                            const fc_adamerging_job *j, fc_arena *arena, fc_error *err)
{
    adamerging s = {.j = j, .a = a, .out = out};
    fc_entropy_model m = model_of(j, &s);
    FC_TRY(fc_ada_init(a, j->in, &j->options, arena, err));
    fc_arena scratch = {0};
    fc_status status = allocate_backbone(&s, &scratch, err);
    if (status == FC_OK)
        status = fc_entropy_run(result, &j->entropy, &m, err);
    if (status == FC_OK)
        status = fc_ada_merge(out, a, err);
    fc_packed_free(&s.packed);
    fc_arena_free(&scratch);
    return status;
}
