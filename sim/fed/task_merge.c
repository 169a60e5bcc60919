#include "sim/fed/task_merge.h"

#include "sim/fed/evaluate.h"
#include "sim/fed/plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* LoRM's rule across tasks needs Grams, not a form over task vectors. */
static bool by_grams(const fc_merge_method *rule)
{
    return !rule->combine && rule->needs & FC_MERGE_NEEDS_GRAMS;
}

static fc_space space_of(const fc_setup *s)
{
    return (fc_space){(fc_space_kind)s->cfg->task_merge.space, s->cfg->task_merge.isotropise,
                      (fc_knots_form)s->cfg->task_merge.knots, s->cfg->task_merge.knots_eps};
}

/* The list of task_merge.scales. */
static fc_status read_scales(const double **out, int *n, const fc_setup *s, fc_arena *arena,
                             fc_error *err)
{
    const char *text = s->cfg->task_merge.scales;
    double *list = fc_arena_alloc(arena, strlen(text) + 1, sizeof *list, err);
    if (!list)
        return FC_EFAIL;
    *out = list;
    for (*n = 0; *text;) {
        char *end;
        double x = strtod(text, &end);
        if (end == text || !isfinite(x) || (*end && *end != ','))
            return fc_fail(
                err, FC_EUSAGE,
                "task_merge.scales: found '%s', expected numbers with commas between them",
                s->cfg->task_merge.scales);
        list[(*n)++] = x;
        text = *end ? end + 1 : end;
    }
    if (*n > 0 && s->cfg->data.hold_out_per_class == 0)
        return fc_fail(err, FC_EUSAGE,
                       "task_merge.scales: the best is found on held-out images, and "
                       "data.hold_out_per_class is 0");
    return FC_OK;
}

fc_status fc_task_merge_check(const fc_setup *s, fc_error *err)
{
    const fc_merge_method *rule = s->cfg->task_rule;
    const fc_space space = space_of(s);
    const double *scales;
    fc_error why = {0};
    fc_arena arena = {0};
    int n;
    if (!rule)
        return FC_OK;
    if (s->method->single_task || s->net.mode == FC_TRAIN_HEAD)
        return fc_fail(err, FC_EUSAGE, "tasks.merge: method %s leaves no delta per task",
                       s->method->name);
    fc_status status = read_scales(&scales, &n, s, &arena, err);
    fc_arena_free(&arena);
    FC_TRY(status);
    if (rule->experts && (n > 0 || s->cfg->task_merge.scale != 1))
        return fc_fail(err, FC_EUSAGE,
                       "task_merge.scale: %s keeps the updates apart, there is nothing to scale",
                       rule->name);
    if (by_grams(rule) && (s->net.mode != FC_TRAIN_LORA || s->trained.folds || !s->task_grams))
        return fc_fail(
            err, FC_EUSAGE,
            "tasks.merge: %s needs the Grams of each task, which method %s does not send",
            rule->name, s->method->name);
    if (by_grams(rule))
        return FC_OK;
    if (fc_vit_merge_needs_grams(rule) && s->gram_shape.n > 0)
        return fc_fail(err, FC_EUSAGE,
                       "tasks.merge: %s takes Grams of its own, and so does method %s: lorm merges "
                       "by those that are there",
                       rule->name, s->method->name);
    if (fc_vit_merge_check(rule, &space, s->net.mode == FC_TRAIN_LORA && !s->trained.folds, true,
                           &why) != FC_OK)
        return fc_fail(err, FC_EUSAGE, "tasks.merge: %s", why.msg);
    return FC_OK;
}

/* --- the backbone -------------------------------------------------------------------------------
 */

/* The deltas as task vectors in double. */
typedef struct task_vectors {
    fc_tv_set set;
    fc_tv_shape *shape;
    fc_tv *tv;
    int *id;
    int *tensor; /* (tensors) of the backbone */
} task_vectors;

static double *as_double(const fc_real *x, size_t n, fc_arena *arena, fc_error *err)
{
    double *y = fc_arena_alloc(arena, n, sizeof *y, err);
    for (size_t i = 0; y && i < n; i++)
        y[i] = x[i];
    return y;
}

/* Tensor t of task k. */
static fc_status load_tensor(task_vectors *v, fc_run *r, int k, int t, fc_error *err)
{
    const fc_deltas *d = &r->state.deltas;
    const fc_tv_shape *s = &v->shape[t];
    fc_tv *tv = &v->tv[fc_tv_index(&v->set, k, t)];
    fc_arena *arena = &r->scratch.arena;
    if (d->W) {
        const fc_real *W = d->W + (size_t)k * d->n_W + r->setup->w0.spec[v->tensor[t]].offset;
        tv->dense = as_double(W, fc_tv_size(s), arena, err);
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
static void describe_vectors(task_vectors *v, const fc_run *r)
{
    for (int t = 0; t < v->set.tensors; t++) {
        int tensor = v->tensor[t] = r->state.deltas.W ? t : fc_slot_tensor(t);
        const fc_spec *s = &r->setup->w0.spec[tensor];
        v->shape[t] = (fc_tv_shape){s->name, s->rows, s->cols, false};
    }
    for (int i = 0; i < fc_vit_slots(&r->setup->net.shape); i++)
        v->shape[r->state.deltas.W ? fc_slot_tensor(i) : i].linear = true;
}

static fc_status load_deltas(task_vectors *v, fc_run *r, fc_error *err)
{
    fc_arena *arena = &r->scratch.arena;
    int tensors = r->state.deltas.W ? r->setup->w0.nspec : fc_vit_slots(&r->setup->net.shape),
        n = r->state.deltas.tasks;
    size_t T = (size_t)tensors, N = (size_t)n;
    v->shape = fc_arena_alloc(arena, T, sizeof *v->shape, err);
    v->tensor = fc_arena_alloc(arena, T, sizeof *v->tensor, err);
    v->tv = fc_arena_alloc(arena, N * T, sizeof *v->tv, err);
    v->id = fc_arena_alloc(arena, N, sizeof *v->id, err);
    if (!v->shape || !v->tensor || !v->tv || !v->id)
        return FC_EFAIL;
    v->set = (fc_tv_set){
        .n = n,
        .tensors = tensors,
        .shape = v->shape,
        .tv = v->tv,
        .kind = "task",
        .id = v->id,
        .key = {.seed = fc_seed(r->setup->cfg, r->setup->cfg->seed.train), .task = (uint32_t)n}};
    describe_vectors(v, r);
    for (int k = 0; k < n; k++) {
        v->id[k] = k + 1;
        for (int t = 0; t < tensors; t++)
            FC_TRY(load_tensor(v, r, k, t, err));
    }
    return FC_OK;
}

static const fc_real *head_bias(const fc_run *r)
{
    return r->state.task_head + (size_t)r->setup->net.classes * (size_t)r->setup->net.shape.width;
}

static fc_status merge_deltas(fc_vit_merged *out, fc_run *r, fc_error *err)
{
    const fc_config *c = r->setup->cfg;
    task_vectors v;
    fc_task_images *task =
        fc_arena_alloc(&r->scratch.arena, (size_t)r->state.deltas.tasks, sizeof *task, err);
    if (!task)
        return FC_EFAIL;
    uint64_t seed = fc_seed(c, c->seed.train);
    FC_TRY(load_deltas(&v, r, err));
    for (int k = 0; k < r->state.deltas.tasks; k++)
        FC_TRY(fc_task_images_draw(
            &task[k], &r->setup->tasks, k, k + 1, (size_t)c->task_merge.samples,
            (fc_key){.seed = seed, .task = (uint32_t)k}, &r->scratch.arena, err));
    const fc_vit_merge_job job = {.rule = c->task_rule,
                                  .options = c->task_rule_options,
                                  .space = space_of(r->setup),
                                  .w0 = &r->setup->w0,
                                  .in = &v.set,
                                  .tensor = v.tensor,
                                  .head_w = r->state.task_head,
                                  .head_b = head_bias(r),
                                  .task = task,
                                  .net = &r->setup->net,
                                  .crew = &r->scratch.crew,
                                  .split = &r->setup->data.train,
                                  .seed = seed,
                                  .progress = &r->scratch.progress};
    return fc_vit_merge_make(out, &job, &r->scratch.arena, err);
}

static fc_status by_lorm(fc_vit_merged *out, fc_run *r, fc_error *err)
{
    memcpy(out->w, r->setup->w0.p, r->setup->w0.n * sizeof *out->w);
    if (r->state.deltas.tasks > 1)
        return fc_deltas_add_gram_merge(out->w, &r->state.deltas, err);
    fc_deltas_add_sum(out->w, &r->state.deltas, 1,
                      1); /* Grams of one task need not have full rank */
    return FC_OK;
}

/* --- the test, and the scale --------------------------------------------------------------------
 */

static fc_model model_of(const fc_run *r, const fc_vit_merged *m)
{
    return (fc_model){.shape = &r->setup->net.shape,
                      .classes = r->setup->net.classes,
                      .w = m->w,
                      .scale = 1,
                      .head_w = r->state.task_head,
                      .head_b = head_bias(r),
                      .smile = m->smile,
                      .wemoe = m->wemoe};
}

fc_status fc_task_merge_model(fc_model *out, const fc_run *r, const fc_vit_merged *m, fc_error *err)
{
    *out = model_of(r, m);
    return fc_vit_merge_per_task(m)
               ? fc_fail(err, FC_EUSAGE, "tasks.merge: %s makes a model for each task, not one",
                         r->setup->cfg->task_rule->name)
               : FC_OK;
}

/* Each task by its own expert: the task of an image is known. */
static fc_status test_experts(fc_run *r, const fc_vit_merged *m, int t, fc_error *err)
{
    const fc_setup *s = r->setup;
    fc_eval *e = &r->state.eval, sum;
    fc_arena arena = {0};
    bool *skip = fc_arena_alloc(&arena, (size_t)s->tasks.n, sizeof *skip, err);
    fc_vit_merged one = {.w = fc_arena_alloc(&arena, s->w0.n, sizeof *one.w, err)};
    fc_status status = skip && one.w ? fc_eval_init(&sum, s->tasks.n, &arena, err) : FC_EFAIL;
    double images = 0;
    for (int k = 0; status == FC_OK && k <= t; k++) {
        for (int i = 0; i <= t; i++)
            skip[i] = i != k;
        memcpy(one.w, m->w, s->w0.n * sizeof *one.w);
        status = fc_vit_merge_expert(one.w, m, &s->w0, k, err);
        fc_model model = model_of(r, &one);
        if (status == FC_OK)
            status = fc_eval_run(r, &model, t, skip, err);
        sum.correct[k] = e->correct[k];
        sum.masked[k] = e->masked[k];
        sum.total[k] = e->total[k];
        sum.loss += e->loss * (double)e->total[k];
    }
    for (int k = 0; status == FC_OK && k <= t; k++) {
        e->correct[k] = sum.correct[k];
        e->masked[k] = sum.masked[k];
        e->total[k] = sum.total[k];
        images += (double)sum.total[k];
    }
    if (status == FC_OK)
        e->loss = sum.loss / images;
    fc_arena_free(&arena);
    return status;
}

fc_status fc_task_merge_test(fc_run *r, const fc_vit_merged *m, int t, fc_error *err)
{
    if (fc_vit_merge_per_task(m))
        return test_experts(r, m, t, err);
    fc_model model = model_of(r, m);
    return fc_eval_run(r, &model, t, NULL, err);
}

/* w = W0 + c (merged - W0) */
static void scale_update(fc_real *w, const fc_run *r, const fc_real *merged, double c)
{
    for (size_t i = 0; i < r->setup->w0.n; i++)
        w[i] = c == 1 ? merged[i]
                      : (fc_real)(r->setup->w0.p[i] +
                                  c * ((double)merged[i] - (double)r->setup->w0.p[i]));
}

/* Images of the held-out ones that model m gets right. */
static fc_status count_held(long *right, fc_run *r, const fc_vit_merged *m, fc_error *err)
{
    enum { ACC, ACC_MASKED };
    int seen = r->state.deltas.tasks;
    fc_tasks held = r->setup->tasks;
    fc_arena arena = {0};
    fc_eval e;
    fc_status s = fc_eval_init(&e, seen, &arena, err);
    fc_model model = model_of(r, m);
    model.packed = &r->scratch.packed_scratch;
    fc_packed_fill(&r->scratch.packed_scratch, &r->setup->net.shape, m->w);
    held.test = r->setup->tasks.held;
    held.n_test = r->setup->tasks.n_held;
    const fc_test test = {.net = &r->setup->net,
                          .model = &model,
                          .images = &r->setup->data.train,
                          .tasks = &held,
                          .seen = seen,
                          .crew = &r->scratch.crew,
                          .progress = &r->scratch.progress,
                          .ranks = &r->scratch.ranks};
    if (s == FC_OK)
        s = fc_test_run(&e, &test, &arena, err);
    *right = 0;
    for (int k = 0; s == FC_OK && k < seen; k++)
        *right += r->setup->cfg->task_merge.criterion == ACC_MASKED ? e.masked[k] : e.correct[k];
    fc_arena_free(&arena);
    return s;
}

static fc_status choose_scale(double *best, fc_run *r, const fc_vit_merged *m, fc_error *err)
{
    const double *scales;
    int n;
    long most = -1, right;
    *best = r->setup->cfg->task_merge.scale;
    FC_TRY(read_scales(&scales, &n, r->setup, &r->scratch.arena, err));
    fc_vit_merged trial = {
        .w = n ? fc_arena_alloc(&r->scratch.arena, r->setup->w0.n, sizeof *trial.w, err) : NULL};
    if (n && !trial.w)
        return FC_EFAIL;
    for (int i = 0; i < n; i++) {
        scale_update(trial.w, r, m->w, scales[i]);
        FC_TRY(count_held(&right, r, &trial, err));
        if (right > most) {
            most = right;
            *best = scales[i];
        }
    }
    return FC_OK;
}

fc_status fc_task_merge(fc_vit_merged *out, double *scale, fc_run *r, fc_error *err)
{
    FC_TRY(by_grams(r->setup->cfg->task_rule) ? by_lorm(out, r, err) : merge_deltas(out, r, err));
    FC_TRY(choose_scale(scale, r, out, err));
    if (*scale != 1)
        scale_update(out->w, r, out->w, *scale);
    return FC_OK;
}

size_t fc_task_merge_extra(const fc_setup *s, const fc_vit_merged *m)
{
    return fc_vit_merge_extra(m, &s->net.shape);
}

double fc_task_merge_bytes(const fc_setup *s, int threads)
{
    const fc_merge_method *rule = s->cfg->task_rule;
    bool factors = s->net.mode == FC_TRAIN_LORA && !s->trained.folds;
    size_t numbers = 0, update = 0; /* of what is merged, and of an update as it is kept */
    if (!rule || by_grams(rule))
        return 0;
    for (int i = 0, m, n; i < fc_vit_slots(&s->net.shape); i++) {
        fc_slot_dims(&s->net.shape, i, &m, &n);
        numbers += (size_t)m * (size_t)n;
        update += (size_t)s->net.rank * (size_t)(m + n);
    }
    if (!factors)
        numbers = update = s->w0.n;
    return (double)s->tasks.n * (double)update * sizeof(double) +
           fc_vit_merge_bytes(rule, &s->net, &s->w0, numbers, s->tasks.n, threads);
}

double fc_task_merge_flop(const fc_setup *s, int n)
{
    const fc_merge_method *rule = s->cfg->task_rule;
    const fc_vit_shape *shape = &s->net.shape;
    double forward = fc_vit_flop(shape, 0, s->net.classes, FC_TRAIN_FULL, 0, false), held = 0;
    const double *scales;
    int n_scales = 0;
    fc_arena arena = {0};
    if (read_scales(&scales, &n_scales, s, &arena, NULL) != FC_OK)
        n_scales = 0;
    fc_arena_free(&arena);
    for (int k = 0; k < n; k++)
        held += (double)s->tasks.n_held[k];
    return forward * held * n_scales +
           (by_grams(rule)
                ? 0
                : fc_vit_merge_flop(rule, s->cfg->task_rule_options, &s->net, n,
                                    s->cfg->task_merge.samples, s->net.classes / s->tasks.n));
}
