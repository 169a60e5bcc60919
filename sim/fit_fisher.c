#include "sim/fit_fisher.h"

#include "sim/signals.h"

#include <assert.h>
#include <math.h>
#include <string.h>

typedef struct pass {
    const fc_fisher_job *j;
    double *F;
    size_t n;          /* numbers in F */
    fc_fisher *fisher; /* (threads) */
    fc_real **sum;     /* (threads) over a slice */
} pass;

static double image_flop(const fc_fisher_job *j)
{
    const fc_net *net = j->net;
    double flop[2]; /* forward, forward and backward */
    for (int b = 0; b < 2; b++)
        flop[b] = fc_vit_flop(&net->shape, j->m->rank, net->classes, FC_TRAIN_FULL, ~0u, b == 1);
    int backward = j->kind == FC_FISHER_EXPECTED ? j->hi - j->lo : 1;
    return flop[0] + backward * (flop[1] - flop[0]);
}

static void slice_sum(void *ctx, int thread, int i)
{
    const pass *p = ctx;
    const fc_fisher_job *j = p->j;
    fc_worker *w = &j->crew->worker[thread];
    size_t at = (size_t)i * FC_SLICE;
    int n = j->n - at < FC_SLICE ? (int)(j->n - at) : FC_SLICE;
    if (fc_stop_requested())
        return;
    fc_worker_load(w, j->net, j->split, j->sample + at, n, (fc_key){0}, -1);
    memset(p->sum[thread], 0, p->n * sizeof **p->sum);
    fc_fisher_add(p->sum[thread], &p->fisher[thread], j->m, w->x, w->label, n);
    if (j->progress)
        fc_progress_add(j->progress, image_flop(j) * n, n, NAN);
}

static void slice_commit(void *ctx, int thread, int i)
{
    const pass *p = ctx;
    (void)i;
    for (size_t k = 0; k < p->n; k++)
        p->F[k] += (double)p->sum[thread][k];
}

/* The one piece of work of the pool: all threads help with its slices. */
static void piece(void *ctx, int thread, int i)
{
    const pass *p = ctx;
    (void)i;
    fc_pool_loop(&p->j->crew->pool, thread, (int)((p->j->n + FC_SLICE - 1) / FC_SLICE), slice_sum,
                 slice_commit, ctx);
}

static fc_status allocate(pass *p, const fc_params *layout, fc_arena *arena, fc_error *err)
{
    const fc_fisher_job *j = p->j;
    size_t threads = (size_t)j->crew->pool.threads;
    p->fisher = fc_arena_alloc(arena, threads, sizeof *p->fisher, err);
    p->sum = fc_arena_alloc(arena, threads, sizeof *p->sum, err);
    if (!p->fisher || !p->sum)
        return FC_EFAIL;
    for (size_t i = 0; i < threads; i++) {
        fc_worker *w = &j->crew->worker[i];
        p->fisher[i] = (fc_fisher){j->kind, j->lo, j->hi, .acts = w->acts, .dlogits = w->dlogits};
        FC_TRY(fc_params_alloc(&p->fisher[i].grad, layout, arena, err));
        p->sum[i] = fc_arena_alloc(arena, layout->n, sizeof **p->sum, err);
        if (!p->sum[i])
            return FC_EFAIL;
    }
    return FC_OK;
}

double fc_fit_fisher_flop(const fc_fisher_job *j)
{
    return image_flop(j) * (double)j->n;
}

fc_status fc_fit_fisher(double *F, const fc_params *layout, const fc_fisher_job *j, fc_error *err)
{
    assert(j->n >= 1);
    fc_arena arena = {0};
    pass p = {.j = j, .F = F, .n = layout->n};
    fc_status status = allocate(&p, layout, &arena, err);
    if (status == FC_OK) {
        memset(F, 0, p.n * sizeof *F);
        fc_pool_run(&j->crew->pool, 1, piece, &p);
        for (size_t k = 0; k < p.n; k++)
            F[k] /= (double)j->n;
        if (fc_stop_requested())
            status = fc_fail(err, FC_ESTOP, "stopped on request");
    }
    fc_arena_free(&arena);
    return status;
}
