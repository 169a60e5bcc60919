#include "core/base/parallel.h"

#include "core/base/threads.h"

fc_status fc_parallel_for(int n, fc_parallel_piece *piece, void *ctx, fc_error *err)
{
    int failed = n; /* lowest piece that failed */
    fc_error first = {0};
#pragma omp parallel num_threads(fc_threads()) if (n > 1)
    {
        fc_arena scratch = {0};
        const fc_mark empty = fc_arena_mark(&scratch);
#pragma omp for schedule(dynamic, 1)
        for (int i = 0; i < n; i++) {
            fc_error e = {0};
            fc_status status = piece(ctx, i, &scratch, &e);
            fc_arena_release(&scratch, empty); /* kept for the next piece of this thread */
            if (status != FC_OK) {
#pragma omp critical(fc_parallel_failed)
                if (i < failed) {
                    failed = i;
                    first = e;
                }
            }
        }
        fc_arena_free(&scratch);
    }
    return failed < n ? fc_fail(err, first.code, "%s", first.msg) : FC_OK;
}
