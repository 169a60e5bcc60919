#include "sim/train/regmean_pp.h"

#include "core/merge/rules/rule_regmean.h"

#include <string.h>

typedef struct regmean_pp {
    const fc_regmean_pp_job *j;
    double *const *out;
    fc_real *w;       /* merged below the present block, which is one task's */
    fc_packed packed; /* of w */
    fc_arena arena;   /* of all this */
    fc_arena part;    /* of the present part */
} regmean_pp;

/* Parts of the network in the order in which they are merged: -1 the embeddings, 0 .. depth-1 the
 * blocks, depth the final norm. */
static int part_of(int tensor)
{
    return tensor < FC_VIT_BLOCK0 ? -1 : (tensor - FC_VIT_BLOCK0) / FC_VIT_PER_BLOCK;
}

/* The slot of a tensor among the four of its block, -1: none. */
static int slot_of(int tensor)
{
    for (int i = 0; i < 4 && tensor >= FC_VIT_BLOCK0; i++)
        if ((tensor - FC_VIT_BLOCK0) % FC_VIT_PER_BLOCK == fc_slot_tensor(i) - FC_VIT_BLOCK0)
            return i;
    return -1;
}

/* theta_t = theta_0,t + delta (rows, cols), for one tensor. */
static void place_update(regmean_pp *s, int t, const double *delta)
{
    size_t at = s->j->w0->spec[s->j->tensor[t]].offset;
    for (size_t e = 0; e < fc_tv_size(&s->j->in->shape[t]); e++)
        s->w[at + e] = (fc_real)((double)s->j->w0->p[at + e] + delta[e]);
}

/* Block `part` of model i into w. */
static fc_status place_block(regmean_pp *s, int part, int i, fc_error *err)
{
    const fc_tv_set *in = s->j->in;
    for (int t = 0; t < in->tensors; t++) {
        if (part_of(s->j->tensor[t]) != part)
            continue;
        fc_mark mark = fc_arena_mark(&s->part);
        double *dense = fc_arena_alloc(&s->part, fc_tv_scratch(in, t), sizeof *dense, err);
        if (!dense)
            return FC_EFAIL;
        place_update(s, t, fc_tv_view(in, i, t, dense));
        fc_arena_release(&s->part, mark);
    }
    return FC_OK;
}

/* Grams of the four slots of a block; the slots below it have none. */
static fc_status block_grams(fc_grams *g, const fc_vit_shape *shape, int block, fc_arena *arena,
                             fc_error *err)
{
    int slots = 4 * block + 4, d_out;
    int *dims = fc_arena_alloc(arena, (size_t)slots, sizeof *dims, err);
    double *alphas = fc_arena_alloc(arena, (size_t)slots, sizeof *alphas, err);
    if (!dims || !alphas)
        return FC_EFAIL;
    for (int i = 4 * block; i < slots; i++) {
        fc_slot_dims(shape, i, &d_out, &dims[i]);
        alphas[i] = 1;
    }
    return fc_grams_init(g, slots, dims, alphas, arena, err);
}

/* gram (n): M_i = X_i^T X_i / rows_i of all tasks at a block, X_i (rows_i, d_in) the inputs of its
 * layers under w = merged blocks, then block of model i. */
static fc_status tasks_grams(fc_grams *gram, regmean_pp *s, int block, fc_error *err)
{
    const fc_regmean_pp_job *j = s->j;
    const fc_net *net = j->net;
    const fc_model m = {.shape = &net->shape, .w = s->w, .scale = 1, .packed = &s->packed};
    for (int i = 0; i < j->crew->pool.threads; i++)
        FC_TRY(block_grams(&j->crew->worker[i].grams, &net->shape, block, &s->part, err));
    for (int i = 0; i < j->in->n; i++) {
        FC_TRY(block_grams(&gram[i], &net->shape, block, &s->part, err));
        FC_TRY(place_block(s, block, i, err));
        fc_packed_fill(&s->packed, &net->shape, s->w);
        const fc_gram_job g = {.net = net,
                               .crew = j->crew,
                               .m = &m,
                               .split = j->split,
                               .sample = j->task[i].sample,
                               .n = j->task[i].n,
                               .progress = j->progress};
        FC_TRY(fc_fit_grams_alone(&gram[i], &g, err));
    }
    return FC_OK;
}

/* The tensors of one part through RegMean, which takes the mean where there are no Grams. */
static fc_status merge_part(regmean_pp *s, int part, fc_error *err)
{
    const fc_regmean_pp_job *j = s->j;
    const fc_tv_set *in = j->in;
    size_t n = (size_t)in->n, most = (size_t)in->tensors, count = 0;
    int *t_of = fc_arena_alloc(&s->part, most, sizeof *t_of, err);
    fc_tv_shape *shape = fc_arena_alloc(&s->part, most, sizeof *shape, err);
    fc_tv *tv = fc_arena_alloc(&s->part, n * most, sizeof *tv, err);
    const double **gram = fc_arena_alloc(&s->part, n * most, sizeof *gram, err);
    double **out = fc_arena_alloc(&s->part, most, sizeof *out, err);
    double *rows = fc_arena_alloc(&s->part, n, sizeof *rows, err);
    fc_grams *grams = fc_arena_alloc(&s->part, n, sizeof *grams, err);
    if (!t_of || !shape || !tv || !gram || !out || !rows || !grams)
        return FC_EFAIL;
    for (int t = 0; t < in->tensors; t++)
        if (part_of(j->tensor[t]) == part)
            t_of[count++] = t;
    if (part >= 0 && part < j->net->shape.depth)
        FC_TRY(tasks_grams(grams, s, part, err));
    for (size_t k = 0; k < count; k++) {
        int slot = slot_of(j->tensor[t_of[k]]);
        shape[k] = in->shape[t_of[k]];
        out[k] = s->out[t_of[k]];
        for (size_t i = 0; i < n; i++) {
            tv[i * count + k] = *fc_tv_at(in, (int)i, t_of[k]);
            if (slot >= 0)
                gram[i * count + k] = grams[i].g + grams[i].slot[4 * part + slot].offset;
        }
    }
    for (size_t i = 0; i < n; i++)
        rows[i] = (double)j->task[i].n * fc_vit_tokens(&j->net->shape);
    const fc_tv_set set = {.n = in->n,
                           .tensors = (int)count,
                           .shape = shape,
                           .tv = tv,
                           .gram = gram,
                           .gram_rows = rows};
    const fc_regmean_options o = {j->off_diagonal};
    /* tau_t = (sum_i tau_i M_i) (sum_i M_i)^+, or without Grams the mean of tau_i */
    FC_TRY(fc_rule_regmean(out, &set, &o, &s->part, err));
    for (size_t k = 0; k < count; k++)
        place_update(s, t_of[k], out[k]);
    return FC_OK;
}

static fc_status merge_all_parts(regmean_pp *s, fc_error *err)
{
    const fc_regmean_pp_job *j = s->j;
    FC_TRY(fc_packed_new(&s->packed, &j->net->shape, false, &j->net->engine, err));
    s->w = fc_arena_alloc(&s->arena, j->w0->n, sizeof *s->w, err);
    if (!s->w)
        return FC_EFAIL;
    memcpy(s->w, j->w0->p, j->w0->n * sizeof *s->w);
    for (int part = -1; part <= j->net->shape.depth; part++) {
        FC_TRY(merge_part(s, part, err));
        fc_arena_free(&s->part);
    }
    return FC_OK;
}

double fc_regmean_pp_flop(const fc_regmean_pp_job *j)
{
    const fc_net *net = j->net;
    double images = 0;
    for (int i = 0; i < j->in->n; i++)
        images += (double)j->task[i].n;
    return images * net->shape.depth * fc_vit_flop(&net->shape, 0, 0, net->mode, 0, false);
}

fc_status fc_regmean_pp_run(double *const *out, const fc_regmean_pp_job *j, fc_error *err)
{
    regmean_pp s = {.j = j, .out = out};
    int threads = j->crew->pool.threads;
    FC_TRY(fc_tv_check(j->in, err));
    fc_grams *kept = fc_arena_alloc(&s.arena, (size_t)threads, sizeof *kept, err);
    if (!kept)
        return FC_EFAIL;
    for (int i = 0; i < threads; i++)
        kept[i] = j->crew->worker[i].grams;
    fc_status status = merge_all_parts(&s, err);
    for (int i = 0; i < threads; i++)
        j->crew->worker[i].grams = kept[i];
    fc_packed_free(&s.packed);
    fc_arena_free(&s.part);
    fc_arena_free(&s.arena);
    return status;
}
