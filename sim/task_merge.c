#include "sim/task_merge.h"

#include <math.h>
#include <string.h>

/* LoRM's rule across tasks needs Grams, not a form over task vectors. */
static bool by_grams(const fc_merge_method *rule)
{
    return !rule->combine && rule->needs & FC_MERGE_NEEDS_GRAMS;
}

static fc_space space_of(const fc_run *r)
{
    return (fc_space){(fc_space_kind)r->cfg->task_merge.space, r->cfg->task_merge.isotropise,
                      (fc_knots_form)r->cfg->task_merge.knots, r->cfg->task_merge.knots_eps};
}

fc_status fc_task_merge_check(const fc_run *r, fc_error *err)
{
    const fc_merge_method *rule = r->cfg->task_rule;
    const fc_space space = space_of(r);
    fc_error why = {0};
    if (!rule)
        return FC_OK;
    if (r->method->single_task || r->net.mode == FC_TRAIN_HEAD)
        return fc_fail(err, FC_EUSAGE, "tasks.merge: method %s leaves no delta per task",
                       r->method->name);
    if (by_grams(rule) && !r->deltas.AG)
        return fc_fail(
            err, FC_EUSAGE,
            "tasks.merge: %s needs the Grams of each task, which method %s does not send",
            rule->name, r->method->name);
    if (space.kind != FC_SPACE_FULL && !r->deltas.A)
        return fc_fail(err, FC_EUSAGE,
                       "task_merge.space: it is made of LoRA factors, and the tasks of method %s "
                       "leave full weights",
                       r->method->name);
    if (rule->factors && !r->deltas.A)
        return fc_fail(err, FC_EUSAGE,
                       "tasks.merge: %s merges LoRA factors, and the tasks of method %s leave full "
                       "weights",
                       rule->name, r->method->name);
    if (!by_grams(rule) && fc_merge_check(rule, &space, true, &why) != FC_OK)
        return fc_fail(err, FC_EUSAGE, "tasks.merge: %s", why.msg);
    if (!by_grams(rule) && rule->needs)
        return fc_fail(err, FC_EUSAGE, "tasks.merge: %s needs statistics of each task", rule->name);
    return FC_OK;
}

/* --- the head -----------------------------------------------------------------------------------
 */

size_t fc_task_head_size(const fc_run *r)
{
    return (size_t)r->net.classes * ((size_t)r->net.shape.width + 1);
}

void fc_task_head_keep(fc_run *r, int t)
{
    const fc_spec *head = &r->global.spec[fc_train_head(&r->global)];
    size_t D = (size_t)r->net.shape.width, C = (size_t)r->net.classes;
    size_t lo = (size_t)r->tasks.first[t], hi = (size_t)r->tasks.first[t + 1];
    memcpy(r->task_head + lo * D, r->global.p + head[0].offset + lo * D,
           (hi - lo) * D * sizeof *r->task_head);
    memcpy(r->task_head + C * D + lo, r->global.p + head[1].offset + lo,
           (hi - lo) * sizeof *r->task_head);
}

/* --- the backbone -------------------------------------------------------------------------------
 */

/* The deltas as task vectors in double. */
typedef struct task_vectors {
    fc_tv_set set;
    fc_tv_shape *shape;
    fc_tv *tv;
    int *id;
    size_t *offset; /* (tensors) in a backbone block */
    double **out;   /* (tensors) */
} task_vectors;

static double *as_double(const fc_real *x, size_t n, fc_arena *arena, fc_error *err)
{
    double *y = fc_arena_alloc(arena, n, sizeof *y, err);
    for (size_t i = 0; y && i < n; i++)
        y[i] = x[i];
    return y;
}

/* Tensor t of task k. */
static fc_status load_tensor(task_vectors *v, const fc_run *r, int k, int t, fc_arena *arena,
                             fc_error *err)
{
    const fc_deltas *d = &r->deltas;
    const fc_tv_shape *s = &v->shape[t];
    fc_tv *tv = &v->tv[fc_tv_index(&v->set, k, t)];
    if (d->W) {
        tv->dense = as_double(d->W + (size_t)k * d->n_W + v->offset[t], fc_tv_size(s), arena, err);
        return tv->dense ? FC_OK : FC_EFAIL;
    }
    size_t A, B, rank = (size_t)d->rank;
    fc_slot_offsets(d->shape, t, d->rank, &A, &B);
    tv->rank = d->rank;
    tv->A = as_double(d->A + (size_t)k * d->n_A + A, rank * (size_t)s->cols, arena, err);
    tv->B = as_double(d->B + (size_t)k * d->n_B + B, rank * (size_t)s->rows, arena, err);
    return tv->A && tv->B ? FC_OK : FC_EFAIL;
}

/* Names and sizes: of the adapted layers, or of the whole backbone. */
static void describe(task_vectors *v, const fc_run *r)
{
    bool linear[FC_VIT_PER_BLOCK] = {
        [FC_QKVW] = true, [FC_PROJW] = true, [FC_FC1W] = true, [FC_FC2W] = true};
    for (int t = 0; t < v->set.tensors; t++) {
        int tensor = r->deltas.W ? t : fc_slot_tensor(t), in_block = tensor - FC_VIT_BLOCK0;
        bool block = in_block >= 0 && in_block < r->net.shape.depth * FC_VIT_PER_BLOCK;
        const fc_spec *s = &r->w0.spec[tensor];
        v->shape[t] =
            (fc_tv_shape){s->name, s->rows, s->cols, block && linear[in_block % FC_VIT_PER_BLOCK]};
        v->offset[t] = s->offset;
    }
}

static fc_status load(task_vectors *v, const fc_run *r, fc_arena *arena, fc_error *err)
{
    int tensors = r->deltas.W ? r->w0.nspec : fc_vit_slots(&r->net.shape), n = r->deltas.tasks;
    size_t T = (size_t)tensors, N = (size_t)n;
    v->shape = fc_arena_alloc(arena, T, sizeof *v->shape, err);
    v->offset = fc_arena_alloc(arena, T, sizeof *v->offset, err);
    v->out = fc_arena_alloc(arena, T, sizeof *v->out, err);
    v->tv = fc_arena_alloc(arena, N * T, sizeof *v->tv, err);
    v->id = fc_arena_alloc(arena, N, sizeof *v->id, err);
    if (!v->shape || !v->offset || !v->out || !v->tv || !v->id)
        return FC_EFAIL;
    v->set = (fc_tv_set){.n = n,
                         .tensors = tensors,
                         .shape = v->shape,
                         .tv = v->tv,
                         .kind = "task",
                         .id = v->id,
                         .key = {.seed = fc_seed(r->cfg, r->cfg->seed.train), .task = (uint32_t)n}};
    describe(v, r);
    for (int t = 0; t < tensors; t++) {
        v->out[t] = fc_arena_alloc(arena, fc_tv_size(&v->shape[t]), sizeof **v->out, err);
        if (!v->out[t])
            return FC_EFAIL;
        for (int k = 0; k < n; k++)
            FC_TRY(load_tensor(v, r, k, t, arena, err));
    }
    for (int k = 0; k < n; k++)
        v->id[k] = k + 1;
    return FC_OK;
}

static fc_status merge(fc_real *w, const fc_run *r, fc_arena *arena, fc_error *err)
{
    const fc_config *c = r->cfg;
    const fc_space space = space_of(r);
    task_vectors v;
    FC_TRY(load(&v, r, arena, err));
    FC_TRY(fc_space_combine(v.out, &v.set, c->task_rule->combine, c->task_rule_options, &space,
                            arena, err));
    for (int t = 0; t < v.set.tensors; t++)
        for (size_t i = 0; i < fc_tv_size(&v.shape[t]); i++) {
            fc_real *to = &w[v.offset[t] + i];
            *to = (fc_real)(*to + v.out[t][i]);
            if (!isfinite(*to))
                return fc_fail(err, FC_EFAIL, "tasks.merge of %s: element %zu came out as %g",
                               v.shape[t].name, i, v.out[t][i]);
        }
    return FC_OK;
}

fc_status fc_task_merge(fc_real *w, fc_run *r, fc_error *err)
{
    if (by_grams(r->cfg->task_rule)) {
        if (r->deltas.tasks == 1) /* its Grams need not have full rank */
            fc_deltas_add_sum(w, &r->deltas, 1, 1);
        return r->deltas.tasks == 1 ? FC_OK : fc_deltas_add_gram_merge(w, &r->deltas, err);
    }
    fc_arena arena = {0};
    fc_status s = merge(w, r, &arena, err);
    fc_arena_free(&arena);
    return s;
}
