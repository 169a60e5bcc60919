#include "sim/parallel/pool.h"

#include <omp.h>
#include <stdbool.h>

static void poll_outside(fc_pool *p, int thread)
{
    if (thread == 0 && p->poll)
        p->poll(p->poll_ctx);
}

/* Claim an item of a loop, compute and commit it. Called and left with the lock held; false: no
 * item is left to claim. The loop cannot change under a claimed item, so its fields are read
 * without the lock. */
static bool take_item(fc_pool *p, fc_loop *l, int thread)
{
    if (l->next == l->n)
        return false;
    int i = l->next++;
    mtx_unlock(&p->lock);
    if (p->jitter)
        p->jitter();
    l->item(l->ctx, thread, i);
    if (p->jitter)
        p->jitter();
    mtx_lock(&p->lock);
    while (l->done < i)
        cnd_wait(&l->turn, &p->lock);
    mtx_unlock(&p->lock);
    l->commit(l->ctx, thread, i);
    poll_outside(p, thread);
    mtx_lock(&p->lock);
    l->done++;
    cnd_broadcast(&l->turn);
    return true;
}

void fc_pool_loop(fc_pool *p, int thread, int n, fc_pool_fn *item, fc_pool_fn *commit, void *ctx)
{
    fc_loop *l = &p->loop[thread];
    mtx_lock(&p->lock);
    l->item = item;
    l->commit = commit;
    l->ctx = ctx;
    l->n = n;
    l->next = l->done = 0;
    for (int i = 1; i < n && i < p->threads; i++) /* one helper per item, beside this thread */
        cnd_signal(&p->news);
    while (take_item(p, l, thread))
        ;
    while (l->done < n)
        cnd_wait(&l->turn, &p->lock);
    mtx_unlock(&p->lock);
}

/* Work on the loops of others until no piece is left. With the lock held. */
static void help_others(fc_pool *p, int thread)
{
    while (p->left > 0) {
        bool found = false;
        for (int i = 0; i < p->threads && !found; i++)
            found = take_item(p, &p->loop[i], thread);
        if (!found)
            cnd_wait(&p->news, &p->lock);
    }
}

void fc_pool_run(fc_pool *p, int n, fc_pool_fn *piece, void *ctx)
{
    p->next = 0;
    p->left = n;
#pragma omp parallel num_threads(p->threads)
    {
        int thread = omp_get_thread_num();
        mtx_lock(&p->lock);
        while (thread < n && p->next < n) {
            int i = p->next++;
            mtx_unlock(&p->lock);
            piece(ctx, thread, i);
            poll_outside(p, thread);
            mtx_lock(&p->lock);
            if (--p->left == 0)
                cnd_broadcast(&p->news);
        }
        help_others(p, thread);
        mtx_unlock(&p->lock);
    }
}

fc_status fc_pool_init(fc_pool *p, int threads, fc_arena *arena, fc_error *err)
{
    *p = (fc_pool){.threads = threads};
    p->loop = fc_arena_alloc(arena, (size_t)threads, sizeof *p->loop, err);
    if (!p->loop)
        return FC_EFAIL;
    bool ok = mtx_init(&p->lock, mtx_plain) == thrd_success;
    ok = cnd_init(&p->news) == thrd_success && ok;
    for (int i = 0; i < threads; i++)
        ok = cnd_init(&p->loop[i].turn) == thrd_success && ok;
    return ok ? FC_OK : fc_fail(err, FC_EFAIL, "no lock for %d threads: out of resources", threads);
}

void fc_pool_free(fc_pool *p)
{
    for (int i = 0; p->loop && i < p->threads; i++)
        cnd_destroy(&p->loop[i].turn);
    if (p->loop) {
        cnd_destroy(&p->news);
        mtx_destroy(&p->lock);
    }
    *p = (fc_pool){0};
}
