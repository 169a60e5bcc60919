#include "sim/run.h"

#include "core/head.h"
#include "sim/message.h"
#include "sim/signals.h"

#include <math.h>

/* Counts of one block of test images; blocks have a fixed size. */
typedef struct block {
    int task;
    size_t at; /* its images: at .. at + n - 1 of the task's */
    int n;
    long correct, masked;
    double loss;
} block;

typedef struct eval_job {
    fc_run *r;
    fc_model m;
    int seen; /* tasks */
    double flop;
    block *block;
} eval_job;

/* Counts over the logits seen so far, and over the task's own. */
static void eval_block(void *ctx, int thread, int i)
{
    const eval_job *e = ctx;
    const fc_tasks *k = &e->r->tasks;
    fc_worker *w = &e->r->crew.worker[thread];
    block *b = &e->block[i];
    int hi = k->first[e->seen];
    if (fc_stop_requested())
        return;
    fc_worker_load(w, &e->r->net, &e->r->data.test, k->test[b->task] + b->at, b->n, (fc_key){0},
                   -1);
    fc_vit_forward(w->acts, &e->m, w->x, b->n, NULL);
    const fc_real *z = fc_acts_logits(w->acts);
    for (int j = 0; j < b->n; j++, z += e->m.classes) {
        b->correct += fc_argmax(z, 0, hi) == w->label[j];
        b->masked += fc_argmax(z, k->first[b->task], k->first[b->task + 1]) == w->label[j];
    }
    b->loss = fc_ce(NULL, fc_acts_logits(w->acts), w->label, b->n, e->m.classes, 0, hi, b->n);
    fc_progress_add(&e->r->progress, e->flop * b->n, b->n, NAN);
}

fc_status fc_eval_run(fc_run *r, const fc_real *w, int t, fc_error *err)
{
    int seen = t + 1, n_blocks = 0;
    size_t images = 0, size = FC_SLICE;
    fc_mark mark = fc_arena_mark(&r->arena);
    for (int s = 0; s < seen; s++)
        n_blocks += (int)((r->tasks.n_test[s] + size - 1) / size);
    eval_job job = {.r = r,
                    .m = fc_model_of(&r->net.shape, r->net.mode, 0, r->net.classes, w, &r->global),
                    .seen = seen,
                    .block = fc_arena_alloc(&r->arena, (size_t)n_blocks, sizeof *job.block, err)};
    if (!job.block)
        return FC_EFAIL;
    fc_packed_fill(&r->packed_scratch, &r->net.shape, w);
    job.m.packed = &r->packed_scratch;
    job.flop = fc_vit_flop(&r->net.shape, job.m.rank, job.m.classes, r->net.mode, 0, false);
    for (int s = 0, b = 0; s < seen; s++)
        for (size_t at = 0; at < r->tasks.n_test[s]; at += size, b++) {
            size_t left = r->tasks.n_test[s] - at;
            job.block[b] = (block){.task = s, .at = at, .n = (int)(left < size ? left : size)};
        }
    fc_progress_test(&r->progress);
    fc_pool_run(&r->crew.pool, n_blocks, eval_block, &job);

    fc_eval *e = &r->eval;
    e->seen = seen;
    e->loss = 0;
    for (int s = 0; s < seen; s++) {
        e->correct[s] = e->masked[s] = 0;
        e->total[s] = (long)r->tasks.n_test[s];
        images += r->tasks.n_test[s];
    }
    for (int i = 0; i < n_blocks; i++) { /* in order */
        const block *b = &job.block[i];
        e->correct[b->task] += b->correct;
        e->masked[b->task] += b->masked;
        e->loss += b->loss;
    }
    e->loss /= (double)images;
    fc_arena_release(&r->arena, mark);
    return fc_stop_requested() ? fc_fail(err, FC_ESTOP, "stopped on request") : FC_OK;
}
