#include "core/vit/stats.h"

#include "core/linalg/gemm.h"

#include <assert.h>
#include <string.h>

static size_t slot_size(const fc_gram_slot *s)
{
    return s->full ? (size_t)s->dim * (size_t)s->dim : (size_t)s->dim;
}

fc_status fc_grams_init(fc_grams *s, int n, const int *dims, const double *alphas, fc_arena *arena,
                        fc_error *err)
{
    *s = (fc_grams){.n = n};
    s->slot = fc_arena_alloc(arena, (size_t)n, sizeof *s->slot, err);
    if (!s->slot)
        return FC_EFAIL;
    int full_max = 0;
    for (int i = 0; i < n; i++) {
        bool full = alphas[i] != 0;
        s->slot[i] = (fc_gram_slot){dims[i], full, alphas[i], s->size};
        s->size += slot_size(&s->slot[i]);
        if (full && dims[i] > full_max)
            full_max = dims[i];
    }
    s->g = fc_arena_alloc(arena, s->size, sizeof *s->g, err);
    if (!s->g)
        return FC_EFAIL;
    if (full_max > 0) {
        s->scratch =
            fc_arena_alloc(arena, (size_t)full_max * (size_t)full_max, sizeof *s->scratch, err);
        if (!s->scratch)
            return FC_EFAIL;
    }
    return FC_OK;
}

fc_status fc_grams_like(fc_grams *s, const fc_grams *like, fc_arena *arena, fc_error *err)
{
    fc_mark mark = fc_arena_mark(arena);
    *s = (fc_grams){.n = like->n, .size = like->size};
    size_t n = (size_t)like->n, dim_max = 0;
    for (size_t i = 0; i < n; i++)
        if (like->slot[i].full && (size_t)like->slot[i].dim > dim_max)
            dim_max = (size_t)like->slot[i].dim;
    s->slot = fc_arena_alloc(arena, n, sizeof *s->slot, err);
    s->g = fc_arena_alloc(arena, s->size, sizeof *s->g, err);
    if (dim_max)
        s->scratch = fc_arena_alloc(arena, dim_max * dim_max, sizeof *s->scratch, err);
    if (!s->slot || !s->g || (dim_max && !s->scratch)) {
        fc_arena_release(arena, mark);
        *s = (fc_grams){0};
        return FC_EFAIL;
    }
    memcpy(s->slot, like->slot, n * sizeof *s->slot);
    return FC_OK;
}

fc_grams fc_grams_first(const fc_grams *s, int n)
{
    fc_grams first = *s;
    if (n < s->n) {
        first.n = n;
        first.size = s->slot[n].offset;
    }
    return first;
}

void fc_grams_zero(fc_grams *s)
{
    memset(s->g, 0, s->size * sizeof *s->g);
}

void fc_grams_add(fc_grams *s, int slot, const fc_real *X, int rows, int ld)
{
    const fc_gram_slot *q = &s->slot[slot];
    double *g = s->g + q->offset;
    if (!q->full) {
        /* diag(G) += the squares of each column of X */
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < q->dim; j++) {
                double x = X[(size_t)i * (size_t)ld + (size_t)j];
                g[j] += x * x;
            }
        return;
    }
    /* G += X^T X    (d, rows) (rows, d), summed in fc_real first */
    memset(s->scratch, 0, slot_size(q) * sizeof *s->scratch);
    int step = ld == q->dim ? rows : 1; /* fc_gram wants rows without gaps */
    for (int i = 0; i < rows; i += step)
        fc_gram(s->scratch, X + (size_t)i * (size_t)ld, step, q->dim);
    for (size_t j = 0; j < slot_size(q); j++)
        g[j] += s->scratch[j];
}

void fc_grams_finish(fc_grams *s)
{
    for (int i = 0; i < s->n; i++) {
        const fc_gram_slot *q = &s->slot[i];
        if (!q->full)
            continue;
        size_t d = (size_t)q->dim;
        for (size_t j = 0; j < d * d; j++)
            if (j % (d + 1) != 0) /* the diagonal keeps its value */
                s->g[q->offset + j] *= q->alpha;
    }
}

void fc_grams_accumulate(fc_grams *dst, const fc_grams *src)
{
    assert(dst->size == src->size);
    for (size_t i = 0; i < dst->size; i++)
        dst->g[i] += src->g[i];
}
