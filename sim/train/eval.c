#include "sim/train/eval.h"

#include "core/vit/head.h"
#include "sim/parallel/signals.h"

#include <math.h>

fc_status fc_eval_init(fc_eval *e, int tasks, fc_arena *a, fc_error *err)
{
    size_t T = (size_t)tasks;
    *e = (fc_eval){.correct = fc_arena_alloc(a, T, sizeof *e->correct, err),
                   .masked = fc_arena_alloc(a, T, sizeof *e->masked, err),
                   .total = fc_arena_alloc(a, T, sizeof *e->total, err)};
    return e->correct && e->masked && e->total ? FC_OK : FC_EFAIL;
}

/* Counts of one block of test images; blocks have a fixed size. */
typedef struct block {
    int task;
    size_t at; /* its images: at .. at + n - 1 of the task's */
    int n;
    long correct, masked;
    double loss;
} block;

typedef struct job {
    const fc_test *t;
    double flop;  /* of an image */
    block *block; /* of this rank */
} job;

/* Counts over the logits seen so far, and over the task's own. */
static void test_block(void *ctx, int thread, int i)
{
    const job *j = ctx;
    const fc_test *t = j->t;
    const fc_tasks *k = t->tasks;
    fc_worker *w = &t->crew->worker[thread];
    block *b = &j->block[i];
    const uint32_t *sample = k->test[b->task] + b->at;
    int hi = k->first[t->seen], classes = t->model->classes;
    if (fc_stop_requested())
        return;
    fc_worker_load(w, t->net, t->images, sample, b->n, (fc_key){0}, -1);
    fc_vit_forward(w->acts, t->model, w->x, b->n, NULL, NULL);
    const fc_real *z = fc_acts_logits(w->acts), *scores;
    if (t->predict) {
        t->predict(w->dlogits, z, fc_acts_features(w->acts), b->n, t->server);
        z = w->dlogits;
    }
    scores = z;
    for (int n = 0; n < b->n; n++, z += classes) {
        int answer = fc_argmax(z, 0, hi);
        b->correct += answer == w->label[n];
        b->masked += fc_argmax(z, k->first[b->task], k->first[b->task + 1]) == w->label[n];
        if (t->answer)
            t->answer[sample[n]] = answer;
    }
    b->loss = fc_ce(NULL, scores, w->label, b->n, classes, 0, hi, b->n);
    fc_progress_add(t->progress, j->flop * b->n, b->n, NAN);
}

static size_t images_of(const fc_test *t, int task)
{
    return t->skip && t->skip[task] ? 0 : t->tasks->n_test[task];
}

/* The images of all tasks seen, in blocks. */
static fc_status make_blocks(block **out, int *n, const fc_test *t, fc_arena *arena, fc_error *err)
{
    size_t size = FC_SLICE;
    *n = 0;
    for (int s = 0; s < t->seen; s++)
        *n += (int)((images_of(t, s) + size - 1) / size);
    block *b = *out = fc_arena_alloc(arena, (size_t)*n, sizeof *b, err);
    if (!b)
        return FC_EFAIL;
    for (int s = 0; s < t->seen; s++)
        for (size_t at = 0; at < images_of(t, s); at += size) {
            size_t left = images_of(t, s) - at;
            *b++ = (block){.task = s, .at = at, .n = (int)(left < size ? left : size)};
        }
    return FC_OK;
}

static void add_blocks(fc_eval *e, const fc_test *t, const block *b, int n)
{
    size_t images = 0;
    e->seen = t->seen;
    e->loss = 0;
    for (int k = 0; k < t->seen; k++) {
        e->correct[k] = e->masked[k] = 0;
        e->total[k] = (long)images_of(t, k);
        images += images_of(t, k);
    }
    for (int i = 0; i < n; i++) { /* in order */
        e->correct[b[i].task] += b[i].correct;
        e->masked[b[i].task] += b[i].masked;
        e->loss += b[i].loss;
    }
    e->loss /= (double)images;
}

fc_status fc_test_run(fc_eval *out, const fc_test *t, fc_arena *scratch, fc_error *err)
{
    fc_mark mark = fc_arena_mark(scratch);
    const fc_model *m = t->model;
    job j = {.t = t, .flop = fc_vit_flop(m->shape, m->rank, m->classes, t->net->mode, 0, false)};
    block *all;
    int n, lo = 0, hi;
    FC_TRY(make_blocks(&all, &n, t, scratch, err));
    hi = n;
    if (t->ranks)
        fc_ranks_part(&lo, &hi, t->ranks, n);
    j.block = all + lo;
    fc_pool_run(&t->crew->pool, hi - lo, test_block, &j);
    fc_status s = fc_stop_requested() ? fc_fail(err, FC_ESTOP, "stopped on request") : FC_OK;
    if (t->ranks)
        s = fc_ranks_unite(t->ranks, s, all, (size_t)n * sizeof *all, err);
    FC_TRY(s);
    for (int i = 0; i < n; i++)
        if (i < lo || i >= hi) /* tested by another rank */
            fc_progress_add(t->progress, j.flop * all[i].n, 0, NAN);
    add_blocks(out, t, all, n);
    fc_arena_release(scratch, mark);
    return FC_OK;
}
