#include "sim/run.h"

#include "core/head.h"
#include "sim/message.h"
#include "sim/signals.h"

#include <omp.h>

typedef struct block {
    long correct, masked;
    double loss;
} block;

/* Images [at, at + n) of task s: counts over the logits seen so far, and over the task's own. */
static block eval_block(const fc_run *r, fc_worker *w, const fc_model *m, int s, int seen,
                        size_t at, int n)
{
    const fc_tasks *k = &r->tasks;
    int hi = k->first[seen];
    block b = {0};
    fc_worker_load(w, &r->net, &r->data.test, k->test[s] + at, n, (fc_key){0}, -1);
    fc_vit_forward(w->acts, m, w->x, n, NULL);
    const fc_real *z = fc_acts_logits(w->acts);
    for (int i = 0; i < n; i++, z += m->classes) {
        b.correct += fc_argmax(z, 0, hi) == w->label[i];
        b.masked += fc_argmax(z, k->first[s], k->first[s + 1]) == w->label[i];
    }
    b.loss = fc_ce(NULL, fc_acts_logits(w->acts), w->label, n, m->classes, 0, hi, n);
    return b;
}

fc_status fc_eval_run(fc_run *r, const fc_real *w, int t, fc_error *err)
{
    int size = FC_SLICE, seen = t + 1, n_blocks = 0;
    size_t images = 0;
    fc_mark mark = fc_arena_mark(&r->arena);
    for (int s = 0; s < seen; s++)
        n_blocks += (int)((r->tasks.n_test[s] + (size_t)size - 1) / (size_t)size);
    block *part = fc_arena_alloc(&r->arena, (size_t)n_blocks, sizeof *part, err);
    int *task_of = fc_arena_alloc(&r->arena, (size_t)n_blocks, sizeof *task_of, err);
    size_t *at = fc_arena_alloc(&r->arena, (size_t)n_blocks, sizeof *at, err);
    if (!part || !task_of || !at)
        return FC_EFAIL;
    for (int s = 0, b = 0; s < seen; s++)
        for (size_t i = 0; i < r->tasks.n_test[s]; i += (size_t)size, b++) {
            task_of[b] = s;
            at[b] = i;
        }

    fc_model m = fc_model_of(&r->net.shape, r->net.mode, 0, r->net.classes, w, &r->global);
    fc_packed_fill(&r->packed_scratch, &r->net.shape, w);
    m.packed = &r->packed_scratch;
    double flop = fc_vit_flop(&r->net.shape, m.rank, m.classes, r->net.mode, 0, false);
    int per_trainer = r->trainer[0].workers, workers = r->trainers * per_trainer;
    /* Blocks of fixed size over all workers; counts are added in order below. */
#pragma omp parallel for num_threads(workers) schedule(dynamic, 1)
    for (int b = 0; b < n_blocks; b++) {
        int me = omp_get_thread_num();
        size_t left = r->tasks.n_test[task_of[b]] - at[b];
        int n = left < (size_t)size ? (int)left : size;
        if (fc_stop_requested())
            continue;
        part[b] = eval_block(r, &r->trainer[me / per_trainer].worker[me % per_trainer], &m,
                             task_of[b], seen, at[b], n);
        fc_progress_add(&r->progress, flop * n, "test");
    }

    fc_eval *e = &r->eval;
    e->seen = seen;
    e->loss = 0;
    for (int s = 0; s < seen; s++) {
        e->correct[s] = e->masked[s] = 0;
        e->total[s] = (long)r->tasks.n_test[s];
        images += r->tasks.n_test[s];
    }
    for (int b = 0; b < n_blocks; b++) {
        e->correct[task_of[b]] += part[b].correct;
        e->masked[task_of[b]] += part[b].masked;
        e->loss += part[b].loss;
    }
    e->loss /= (double)images;
    fc_arena_release(&r->arena, mark);
    return fc_stop_requested() ? fc_fail(err, FC_ESTOP, "stopped on request") : FC_OK;
}
