#include "sim/parallel/ranks.h"

#include <stdio.h>
#include <string.h>

fc_status fc_ranks_meet(fc_ranks *k, fc_status s, const char *mine, int threads, fc_arena *arena,
                        fc_error *err)
{
    char own[256] = "", first[256];
    k->threads = fc_arena_alloc(arena, (size_t)k->n, sizeof *k->threads, err);
    if (!k->threads)
        s = s == FC_OK ? FC_EFAIL : s;
    if (s == FC_OK) {
        snprintf(own, sizeof own, "%s", mine);
        k->threads[k->me] = threads;
    }
    memcpy(first, own, sizeof first);
    FC_TRY(fc_ranks_share(k, s, first, sizeof first, err));
    if (strcmp(own, first) != 0)
        s = fc_fail(err, FC_EFAIL, "ranks differ: %s; expected what rank 0 has: %s", own, first);
    FC_TRY(fc_ranks_unite(k, s, k->threads, (size_t)k->n * sizeof *k->threads, err));
    for (int i = 0; i < k->n; i++)
        k->all_threads += k->threads[i];
    return FC_OK;
}

void fc_ranks_part(int *lo, int *hi, const fc_ranks *k, int n)
{
    long before = 0;
    for (int i = 0; i < k->me; i++)
        before += k->threads[i];
    *lo = (int)(n * before / k->all_threads);
    *hi = (int)(n * (before + k->threads[k->me]) / k->all_threads);
}
