#include "sim/spread.h"

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
    block *block; /* of this rank */
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
    int seen = t + 1, n_blocks = 0, lo, hi;
    size_t images = 0, size = FC_SLICE;
    fc_mark mark = fc_arena_mark(&r->arena);
    for (int s = 0; s < seen; s++)
        n_blocks += (int)((r->tasks.n_test[s] + size - 1) / size);
    eval_job job = {.r = r,
                    .m = fc_model_of(&r->net.shape, r->net.mode, 0, r->net.classes, w, &r->global),
                    .seen = seen};
    block *all = fc_arena_alloc(&r->arena, (size_t)n_blocks, sizeof *all, err);
    if (!all)
        return FC_EFAIL;
    fc_packed_fill(&r->packed_scratch, &r->net.shape, w);
    job.m.packed = &r->packed_scratch;
    job.flop = fc_vit_flop(&r->net.shape, job.m.rank, job.m.classes, r->net.mode, 0, false);
    for (int s = 0, b = 0; s < seen; s++)
        for (size_t at = 0; at < r->tasks.n_test[s]; at += size, b++) {
            size_t left = r->tasks.n_test[s] - at;
            all[b] = (block){.task = s, .at = at, .n = (int)(left < size ? left : size)};
        }
    fc_progress_test(&r->progress);
    fc_spread_part(&lo, &hi, r, n_blocks);
    job.block = all + lo;
    fc_pool_run(&r->crew.pool, hi - lo, eval_block, &job);
    fc_status s = fc_stop_requested() ? fc_fail(err, FC_ESTOP, "stopped on request") : FC_OK;
    FC_TRY(fc_ranks_unite(&r->ranks, s, all, (size_t)n_blocks * sizeof *all, err));

    fc_eval *e = &r->eval;
    e->seen = seen;
    e->loss = 0;
    for (int k = 0; k < seen; k++) {
        e->correct[k] = e->masked[k] = 0;
        e->total[k] = (long)r->tasks.n_test[k];
        images += r->tasks.n_test[k];
    }
    for (int i = 0; i < n_blocks; i++) { /* in order */
        const block *b = &all[i];
        e->correct[b->task] += b->correct;
        e->masked[b->task] += b->masked;
        e->loss += b->loss;
        if (i < lo || i >= hi) /* tested by another rank */
            fc_progress_add(&r->progress, job.flop * b->n, 0, NAN);
    }
    e->loss /= (double)images;
    fc_arena_release(&r->arena, mark);
    return FC_OK;
}
