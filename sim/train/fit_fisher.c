#include "sim/train/fit_fisher.h"

#include "sim/parallel/signals.h"

#include <assert.h>
#include <math.h>
#include <string.h>

typedef struct pass {
    const fc_fisher_job *j;
    double *F;
    size_t n;                       /* numbers in F */
    const fc_fisher_worker *worker; /* (threads) */
} pass;

/* sum = F(x_1) + .. + F(x_n) of a slice, F(x) = E_y (d log p(y | x) / d theta)^2 */
static void slice_sum(void *ctx, int thread, int i)
{
    const pass *p = ctx;
    const fc_fisher_job *j = p->j;
    fc_worker *w = &j->crew->worker[thread];
    const fc_fisher_worker *mine = &p->worker[thread];
    const fc_fisher f = {j->kind, j->lo, j->hi, w->acts, mine->grad, w->dlogits};
    size_t at = (size_t)i * FC_SLICE;
    int n = j->n - at < FC_SLICE ? (int)(j->n - at) : FC_SLICE;
    if (fc_stop_requested())
        return;
    fc_worker_load(w, j->net, j->split, j->sample + at, n, (fc_key){0}, -1);
    memset(mine->sum, 0, p->n * sizeof *mine->sum);
    fc_fisher_add(mine->sum, &f, j->m, w->x, w->label, n);
    double flop =
        fc_fisher_flop(j->kind, &j->net->shape, j->m->rank, j->net->classes, j->hi - j->lo);
    if (j->progress)
        fc_progress_add(j->progress, flop * n, n, NAN);
}

/* F += sum, slice by slice */
static void slice_commit(void *ctx, int thread, int i)
{
    const pass *p = ctx;
    (void)i;
    for (size_t k = 0; k < p->n; k++)
        p->F[k] += (double)p->worker[thread].sum[k];
}

fc_status fc_fisher_workers(fc_fisher_worker **out, const fc_params *layout, int threads,
                            fc_arena *arena, fc_error *err)
{
    fc_fisher_worker *w = *out = fc_arena_alloc(arena, (size_t)threads, sizeof *w, err);
    for (int i = 0; w && i < threads; i++) {
        FC_TRY(fc_params_alloc(&w[i].grad, layout, arena, err));
        w[i].sum = fc_arena_alloc(arena, layout->n, sizeof *w->sum, err);
        if (!w[i].sum)
            return FC_EFAIL;
    }
    return w ? FC_OK : FC_EFAIL;
}

fc_status fc_fit_fisher(double *F, const fc_params *layout, const fc_fisher_job *j,
                        const fc_fisher_worker *worker, int thread, fc_error *err)
{
    assert(j->n >= 1);
    pass p = {.j = j, .F = F, .n = layout->n, .worker = worker};
    memset(F, 0, p.n * sizeof *F);
    fc_pool_loop(&j->crew->pool, thread, (int)((j->n + FC_SLICE - 1) / FC_SLICE), slice_sum,
                 slice_commit, &p);
    for (size_t k = 0; k < p.n; k++) /* the mean over all images */
        F[k] /= (double)j->n;
    return fc_stop_requested() ? fc_fail(err, FC_ESTOP, "stopped on request") : FC_OK;
}

/* The one piece of work of the pool: all threads help with its slices. */
typedef struct fisher_alone {
    double *F;
    const fc_params *layout;
    const fc_fisher_job *j;
    const fc_fisher_worker *worker;
    fc_status status;
    fc_error *err;
} fisher_alone;

static void fisher_piece(void *ctx, int thread, int i)
{
    fisher_alone *a = ctx;
    (void)i;
    a->status = fc_fit_fisher(a->F, a->layout, a->j, a->worker, thread, a->err);
}

fc_status fc_fit_fisher_alone(double *F, const fc_params *layout, const fc_fisher_job *j,
                              fc_error *err)
{
    fc_arena arena = {0};
    fc_fisher_worker *worker;
    fisher_alone a = {.F = F, .layout = layout, .j = j, .err = err};
    a.status = fc_fisher_workers(&worker, layout, j->crew->pool.threads, &arena, err);
    a.worker = worker;
    if (a.status == FC_OK)
        fc_pool_run(&j->crew->pool, 1, fisher_piece, &a);
    fc_arena_free(&arena);
    return a.status;
}

/* --- clients ------------------------------------------------------------------------------------
 */

fc_status fc_fisher_room_init(fc_fisher_room *room, const fc_net *net, const fc_crew *crew,
                              fc_arena *arena, fc_error *err)
{
    const fc_vit_shape *s = &net->shape;
    size_t trainers = (size_t)crew->trainers;
    FC_TRY(fc_train_layout(&room->full, s, FC_TRAIN_FULL, 0, net->classes, arena, err));
    FC_TRY(fc_fisher_layout(&room->part, s, net->mode, net->classes, arena, err));
    FC_TRY(fc_fisher_workers(&room->worker, &room->full, crew->pool.threads, arena, err));
    room->F = fc_arena_alloc(arena, trainers, sizeof *room->F, err);
    room->sent = fc_arena_alloc(arena, trainers, sizeof *room->sent, err);
    if (!room->F || !room->sent)
        return FC_EFAIL;
    for (size_t i = 0; i < trainers; i++) {
        FC_TRY(fc_params_alloc(&room->sent[i], &room->part, arena, err));
        room->F[i] = fc_arena_alloc(arena, room->full.n, sizeof **room->F, err);
        if (!room->F[i])
            return FC_EFAIL;
    }
    return FC_OK;
}

/* The tensors of `sent`, out of F. */
static void select_part(fc_params *sent, const double *F, const fc_params *full)
{
    for (int t = 0; t < sent->nspec; t++) {
        const fc_spec *to = &sent->spec[t], *from = fc_params_find(full, to->name);
        for (size_t i = 0; i < fc_spec_size(to); i++)
            sent->p[to->offset + i] = (fc_real)F[from->offset + i];
    }
}

/* Its list, shuffled where it is cut to `most`: into t->order. */
static size_t draw_samples(fc_trainer *t, const fc_fit *f, size_t most)
{
    fc_key key = f->key;
    memcpy(t->order, f->sample, f->n * sizeof *t->order);
    if (most == 0 || most >= f->n)
        return f->n;
    key.stream = FC_STREAM_MERGE;
    fc_rng g = fc_rng_at(key);
    fc_rng_shuffle(&g, t->order, f->n);
    return most;
}

fc_status fc_fit_fisher_client(const fc_params **sent, const fc_fisher_room *room, fc_trainer *t,
                               const fc_fit *f, fc_fisher_kind kind, size_t most, fc_error *err)
{
    const fc_net *net = t->net;
    fc_params *out = &room->sent[t->thread];
    double *F = room->F[t->thread];
    *sent = out;
    if (f->n == 0) {
        memset(out->p, 0, out->n * sizeof *out->p);
        return FC_OK;
    }
    fc_model m = fc_fit_model(t, f);
    const fc_fisher_job j = {.net = net,
                             .crew = t->crew,
                             .m = &m,
                             .kind = kind,
                             .lo = f->lo,
                             .hi = f->hi,
                             .split = net->train,
                             .sample = t->order,
                             .n = draw_samples(t, f, most),
                             .progress = f->progress};
    FC_TRY(fc_fit_fisher(F, &room->full, &j, room->worker, t->thread, err));
    select_part(out, F, &room->full);
    return FC_OK;
}
