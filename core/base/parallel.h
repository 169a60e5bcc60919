/* Independent pieces of work (slots of a merge) over the threads. */
#ifndef FC_PARALLEL_H
#define FC_PARALLEL_H

#include "core/base/arena.h"
#include "core/base/status.h"

/* One piece: writes only what belongs to i. scratch is its own, empty at the start. */
typedef fc_status fc_parallel_piece(void *ctx, int i, fc_arena *scratch, fc_error *err);

/* piece(ctx, i) for i = 0 .. n-1, in any order, on all threads: same bits for any number of them.
 * The failure of the lowest i is reported; the other pieces still run. A piece may call this
 * itself: on all threads where it is the only piece, else on its own. */
fc_status fc_parallel_for(int n, fc_parallel_piece *piece, void *ctx, fc_error *err);

#endif
