#include "sim/train/entropy.h"

#include "core/vit/head.h"
#include "sim/parallel/signals.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { LINE_EVERY = 100 }; /* steps */

/* One step while its slices are shared out. */
typedef struct entropy_step {
    const fc_entropy_job *a;
    const fc_entropy_model *m;
    fc_model model;
    uint32_t **order; /* (tasks) its samples in the order of the present round */
    uint32_t *image;  /* (tasks, batch) samples of this step */
    fc_real **grad;   /* (threads) gradient of one slice */
    double entropy;   /* sum over tasks of the mean */
} entropy_step;

static int slice_count(const fc_entropy_job *a)
{
    return (a->batch + FC_SLICE - 1) / FC_SLICE; /* of one task */
}

/* d/dtheta of the slice's part of H_t = mean_x -sum_c p_c log p_c, p over the task's own logits. */
static void slice_gradient(void *ctx, int thread, int i)
{
    entropy_step *s = ctx;
    const fc_entropy_job *a = s->a;
    int t = i / slice_count(a), first = i % slice_count(a) * FC_SLICE, left = a->batch - first;
    int n = left < FC_SLICE ? left : FC_SLICE;
    const fc_task_images *task = &a->task[t];
    fc_worker *w = &a->crew->worker[thread];
    fc_worker_load(w, a->net, a->split, s->image + t * a->batch + first, n, (fc_key){0}, -1);
    memset(s->grad[thread], 0, s->m->n * sizeof **s->grad);
    const fc_grads g = s->m->grads(s->m->ctx, s->grad[thread]);
    fc_vit_forward(w->acts, &s->model, w->x, n, NULL, &g);
    w->loss = fc_entropy(w->dlogits, fc_acts_logits(w->acts), n, a->net->classes, task->lo,
                         task->hi, a->batch);
    fc_vit_backward(w->acts, &s->model, w->dlogits, &g);
    if (a->progress)
        fc_progress_add(a->progress, s->m->flop * n, n, w->loss / n);
}

/* H += H_slice, g += g_slice, in order. */
static void slice_commit(void *ctx, int thread, int i)
{
    entropy_step *s = ctx;
    s->entropy += s->a->crew->worker[thread].loss / s->a->batch;
    s->m->add(s->m->ctx, s->grad[thread], i == 0);
}

/* The one piece of work of the pool: all threads help with its slices. */
static void step_piece(void *ctx, int thread, int i)
{
    entropy_step *s = ctx;
    (void)i;
    fc_pool_loop(&s->a->crew->pool, thread, s->a->tasks * slice_count(s->a), slice_gradient,
                 slice_commit, s);
}

/* The samples of a step: the next ones of each list, which starts again in another order. */
static void choose_images(entropy_step *s, int step)
{
    const fc_entropy_job *a = s->a;
    for (int t = 0; t < a->tasks; t++)
        for (int j = 0; j < a->batch; j++) {
            size_t n = a->task[t].n, at = (size_t)step * (size_t)a->batch + (size_t)j;
            if (at % n == 0) {
                fc_rng g = fc_rng_at((fc_key){.seed = a->seed,
                                              .stream = FC_STREAM_ADAPT,
                                              .task = (uint32_t)t,
                                              .epoch = (uint32_t)(at / n)});
                memcpy(s->order[t], a->task[t].sample, n * sizeof *s->order[t]);
                fc_rng_shuffle(&g, s->order[t], n);
            }
            s->image[t * a->batch + j] = s->order[t][at % n];
        }
}

/* theta of this step; H = sum_t H_t and its gradient; one step of the optimiser down it. */
static fc_status take_step(entropy_step *s, int step, fc_error *err)
{
    const fc_entropy_job *a = s->a;
    choose_images(s, step);
    FC_TRY(s->m->prepare(s->m->ctx, &s->model, err));
    s->entropy = 0;
    fc_pool_run(&a->crew->pool, 1, step_piece, s);
    if (!isfinite(s->entropy))
        return fc_fail(err, FC_EFAIL, "%s, step %d: the entropy is %s, expected a finite number",
                       a->what, step + 1, isnan(s->entropy) ? "nan" : "infinite");
    return s->m->step(s->m->ctx, err);
}

static void show_step(const fc_entropy_job *a, int done, double entropy)
{
    if (!a->progress)
        return;
    fc_progress_stage(a->progress, (fc_counter){0}, (fc_counter){a->what, done, a->steps}, 0);
    if (done > 0 && (done % LINE_EVERY == 0 || done == a->steps))
        fc_progress_line(a->progress, FC_NORMAL, "%s step %d/%d  entropy %.4f", a->what, done,
                         a->steps, entropy);
}

static fc_status allocate_step(entropy_step *s, fc_arena *arena, fc_error *err)
{
    const fc_entropy_job *a = s->a;
    size_t threads = (size_t)a->crew->pool.threads;
    s->order = fc_arena_alloc(arena, (size_t)a->tasks, sizeof *s->order, err);
    s->image = fc_arena_alloc(arena, (size_t)a->tasks * (size_t)a->batch, sizeof *s->image, err);
    s->grad = fc_arena_alloc(arena, threads, sizeof *s->grad, err);
    if (!s->order || !s->image || !s->grad)
        return FC_EFAIL;
    for (int t = 0; t < a->tasks; t++)
        if (!(s->order[t] = fc_arena_alloc(arena, a->task[t].n, sizeof **s->order, err)))
            return FC_EFAIL;
    for (size_t i = 0; i < threads; i++)
        if (!(s->grad[i] = fc_arena_alloc(arena, s->m->n, sizeof **s->grad, err)))
            return FC_EFAIL;
    return FC_OK;
}

static fc_status run_steps(fc_entropy_result *out, entropy_step *s, fc_error *err)
{
    const fc_entropy_job *a = s->a;
    show_step(a, 0, NAN);
    for (int step = 0; step < a->steps; step++) {
        FC_TRY(take_step(s, step, err));
        out->last = s->entropy / a->tasks;
        if (step == 0)
            out->first = out->last;
        show_step(a, step + 1, out->last);
        if (fc_stop_requested())
            return fc_fail(err, FC_ESTOP, "stopped on request");
    }
    return FC_OK;
}

double fc_entropy_flop(const fc_entropy_job *a, const fc_entropy_model *m)
{
    return m->flop * a->steps * a->tasks * a->batch;
}

fc_status fc_entropy_run(fc_entropy_result *out, const fc_entropy_job *a, const fc_entropy_model *m,
                         fc_error *err)
{
    assert(a->tasks >= 1 && a->steps >= 0 && a->batch >= 1);
    entropy_step s = {.a = a, .m = m};
    fc_arena arena = {0};
    *out = (fc_entropy_result){NAN, NAN};
    fc_status status = allocate_step(&s, &arena, err);
    if (status == FC_OK)
        status = run_steps(out, &s, err);
    fc_arena_free(&arena);
    return status;
}
