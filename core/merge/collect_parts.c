#include "core/merge/collect_parts.h"

fc_status fc_collect_tv(fc_tv *tv, const fc_tv_shape *s, int rank, fc_arena *arena, fc_error *err)
{
    size_t m = (size_t)s->rows, n = (size_t)s->cols, r = (size_t)rank;
    *tv = (fc_tv){.rank = rank};
    if (rank == 0) {
        tv->dense = fc_arena_alloc(arena, m * n, sizeof *tv->dense, err);
        return tv->dense ? FC_OK : FC_EFAIL;
    }
    tv->B = fc_arena_alloc(arena, m * r, sizeof *tv->B, err);
    tv->A = fc_arena_alloc(arena, r * n, sizeof *tv->A, err);
    return tv->B && tv->A ? FC_OK : FC_EFAIL;
}

void fc_collect_put(double *dst, int ld, int at, double c, const fc_params *p, const fc_spec *s)
{
    const fc_real *x = p->p + s->offset;
    for (int i = 0; i < s->rows; i++)
        for (int j = 0; j < s->cols; j++)
            dst[(size_t)i * (size_t)ld + (size_t)(at + j)] = c * *x++;
}
