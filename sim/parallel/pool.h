/* One pool of threads over pieces of work of very different sizes (the clients of a round).
 *
 * A piece opens its inner loops (the slices of a batch) to the pool. A thread that finds no piece
 * left helps the running ones with the items of their loops, until all pieces are done.
 *
 * The items of a loop are claimed in order, computed at the same time, each by one thread in that
 * thread's own buffers, and committed in order, one after the other. So results depend neither on
 * the number of threads nor on who computes what, and nobody waits for ever: the lowest item that
 * is not committed is always being worked on. */
#ifndef FC_POOL_H
#define FC_POOL_H

#include "core/base/arena.h"

#include <threads.h>

/* Piece or item i, on thread `thread` of the pool. */
typedef void fc_pool_fn(void *ctx, int thread, int i);

/* The open loop of a running piece; closed when done == n. */
typedef struct fc_loop {
    int n, next, done; /* items; the next to claim; committed ones */
    fc_pool_fn *item, *commit;
    void *ctx;
    cnd_t turn; /* done went up */
} fc_loop;

/* Everything but `threads`, `jitter` and `poll` under the lock. */
typedef struct fc_pool {
    int threads;
    fc_loop *loop;        /* (threads): of the piece that each thread runs */
    int next, left;       /* pieces: the next to claim; how many are not done */
    void (*jitter)(void); /* NULL but in tests: called after a claim and before a commit */
    void (*poll)(void *); /* NULL, or called with poll_ctx by thread 0 after a piece or an item */
    void *poll_ctx;
    mtx_t lock;
    cnd_t news; /* a loop was opened, or the last piece is done */
} fc_pool;

/* Memory from arena. The pool must not move until fc_pool_free. */
fc_status fc_pool_init(fc_pool *p, int threads, fc_arena *arena, fc_error *err);
void fc_pool_free(fc_pool *p); /* accepts {0} */

/* piece(ctx, thread, i) for i = 0 .. n-1, claimed in order, on all threads. Pieces run on threads
 * 0 .. min(n, threads) - 1; the others only help. */
void fc_pool_run(fc_pool *p, int n, fc_pool_fn *piece, void *ctx);

/* item(ctx, thread, i), then commit(ctx, the same thread, i), for i = 0 .. n-1: called by the piece
 * that `thread` runs, returns when all is committed. Outside fc_pool_run it is a plain loop. */
void fc_pool_loop(fc_pool *p, int thread, int n, fc_pool_fn *item, fc_pool_fn *commit, void *ctx);

#endif
