#include "core/parallel.h"

#include "core/threads.h"

fc_status fc_parallel_for(int n, fc_piece *piece, void *ctx, fc_error *err)
{
    int failed = n; /* lowest piece that failed */
    fc_error first = {0};
#pragma omp parallel for num_threads(fc_threads()) schedule(dynamic, 1) if (n > 1)
    for (int i = 0; i < n; i++) {
        fc_arena scratch = {0};
        fc_error e = {0};
        fc_status status = piece(ctx, i, &scratch, &e);
        fc_arena_free(&scratch);
        if (status != FC_OK) {
#pragma omp critical(fc_parallel_failed)
            if (i < failed) {
                failed = i;
                first = e;
            }
        }
    }
    return failed < n ? fc_fail(err, first.code, "%s", first.msg) : FC_OK;
}
