#include "core/merge/rules/rule_emr.h"

#include "core/base/parallel.h"
#include "core/merge/backbone.h"
#include "core/merge/rule.h"

#include <math.h>

typedef struct emr_job {
    const fc_emr *emr;
    const fc_tv_set *in;
    double *size, *masked; /* (n, tensors) mean |tau_i|, mean |mask_i u| */
} emr_job;

static bool is_set(const unsigned char *mask, size_t e)
{
    return mask[e / 8] >> e % 8 & 1;
}

/* u = g max_i (mask_i |tau_i|) and mask_i = [tau_i g > 0] of one tensor; its two means, which
 * rescaler_i adds up. */
static fc_status unify_tensor(void *ctx, int t, fc_arena *scratch, fc_error *err)
{
    const emr_job *j = ctx;
    const fc_tv_set *in = j->in;
    size_t n = fc_tv_size(&in->shape[t]), tensors = (size_t)in->tensors;
    double *u = j->emr->unified[t];
    double *dense = fc_arena_alloc(scratch, fc_tv_scratch(in, t), sizeof *dense, err);
    if (!dense)
        return FC_EFAIL;
    if (n == 0)
        return FC_OK;
    fc_tv_sum(u, 1, in, t);
    for (size_t e = 0; e < n; e++)
        u[e] = u[e] > 0 ? 0.0 : -0.0; /* its sign bit is g from here on */
    for (int i = 0; i < in->n; i++) {
        const double *x = fc_tv_view(in, i, t, dense);
        unsigned char *mask = j->emr->mask[(size_t)i * tensors + (size_t)t];
        double size = 0;
        for (size_t e = 0; e < n; e++) {
            size += fabs(x[e]);
            if (signbit(u[e]) ? x[e] < 0 : x[e] > 0) {
                mask[e / 8] |= (unsigned char)(1u << e % 8);
                if (fabs(x[e]) > fabs(u[e]))
                    u[e] = x[e];
            }
        }
        j->size[(size_t)i * tensors + (size_t)t] = size / (double)n;
    }
    for (int i = 0; i < in->n; i++) {
        const unsigned char *mask = j->emr->mask[(size_t)i * tensors + (size_t)t];
        double masked = 0;
        for (size_t e = 0; e < n; e++)
            masked += is_set(mask, e) ? fabs(u[e]) : 0;
        j->masked[(size_t)i * tensors + (size_t)t] = masked / (double)n;
    }
    return FC_OK;
}

static fc_status alloc_emr(fc_emr *emr, const fc_tv_set *in, fc_arena *arena, fc_error *err)
{
    size_t n = (size_t)in->n, tensors = (size_t)in->tensors;
    *emr = (fc_emr){.n = in->n, .tensors = in->tensors, .shape = in->shape};
    emr->unified = fc_arena_alloc(arena, tensors, sizeof *emr->unified, err);
    emr->mask = fc_arena_alloc(arena, n * tensors, sizeof *emr->mask, err);
    emr->rescaler = fc_arena_alloc(arena, n, sizeof *emr->rescaler, err);
    if (!emr->unified || !emr->mask || !emr->rescaler)
        return FC_EFAIL;
    for (size_t k = 0; k < n * tensors; k++) {
        size_t size = fc_tv_size(&in->shape[k % tensors]);
        emr->mask[k] = fc_arena_alloc(arena, (size + 7) / 8, 1, err);
        if (!emr->mask[k])
            return FC_EFAIL;
    }
    for (size_t t = 0; t < tensors; t++) {
        emr->unified[t] = fc_arena_alloc(arena, fc_tv_size(&in->shape[t]), sizeof(double), err);
        if (!emr->unified[t])
            return FC_EFAIL;
    }
    return FC_OK;
}

fc_status fc_emr_merge(fc_emr *emr, const fc_tv_set *in, fc_arena *arena, fc_error *err)
{
    FC_TRY(fc_tv_check(in, err));
    FC_TRY(alloc_emr(emr, in, arena, err));
    fc_mark mark = fc_arena_mark(arena);
    emr_job j = {.emr = emr, .in = in};
    size_t n = (size_t)in->n, tensors = (size_t)in->tensors;
    j.size = fc_arena_alloc(arena, n * tensors, sizeof *j.size, err);
    j.masked = fc_arena_alloc(arena, n * tensors, sizeof *j.masked, err);
    fc_status status = j.size && j.masked ? FC_OK : FC_EFAIL;
    if (status == FC_OK)
        status = fc_parallel_for(in->tensors, unify_tensor, &j, err);
    for (size_t i = 0; status == FC_OK && i < n; i++) {
        double size = 0, masked = 0;
        for (size_t t = 0; t < tensors; t++) {
            size += j.size[i * tensors + t];
            masked += j.masked[i * tensors + t];
        }
        emr->rescaler[i] = masked > 0 ? size / masked : 1;
    }
    fc_arena_release(arena, mark);
    return status;
}

static double expert_entry(const fc_emr *emr, int update, int tensor, size_t e)
{
    const unsigned char *mask = emr->mask[(size_t)update * (size_t)emr->tensors + (size_t)tensor];
    return is_set(mask, e) ? emr->rescaler[update] * emr->unified[tensor][e] : 0;
}

void fc_emr_expert(double *out, const fc_emr *emr, int update, int tensor)
{
    for (size_t e = 0; e < fc_tv_size(&emr->shape[tensor]); e++)
        out[e] = expert_entry(emr, update, tensor, e);
}

fc_status fc_emr_apply(fc_real *w, const fc_params *layout, const fc_emr *emr, int update,
                       fc_error *err)
{
    for (int t = 0; t < emr->tensors; t++)
        if (!fc_backbone_tensor(layout, &emr->shape[t], err))
            return FC_EUSAGE;
    for (int t = 0; t < emr->tensors; t++) {
        fc_real *p = w + fc_backbone_tensor(layout, &emr->shape[t], err)->offset;
        for (size_t e = 0; e < fc_tv_size(&emr->shape[t]); e++)
            p[e] = (fc_real)((double)p[e] + expert_entry(emr, update, t, e));
    }
    return FC_OK;
}

const fc_merge_method fc_merge_emr = {
    .name = "emr",
    .paper = "Huang et al., NeurIPS 2024, arXiv 2405.17461",
    .help =
        "one task vector, and a mask and a factor for each update; a test needs to know the task",
    .experts = true,
};
