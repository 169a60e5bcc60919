/* Sets of task vectors for tests, with the statistics that some rules want beside them. */
#ifndef FC_TEST_TV_FIXTURE_H
#define FC_TEST_TV_FIXTURE_H

#include "core/base/rng.h"
#include "core/base/threads.h"
#include "core/merge/combine.h"
#include "tests/support/close.h"

#include <string.h>

enum { TVX_TENSORS_MAX = 16 };

typedef struct tvx {
    fc_arena arena;
    fc_tv_shape shape[TVX_TENSORS_MAX];
    fc_tv *tv;
    fc_tv_set set;
    double **x;    /* (n, tensors) the dense numbers, also of factors */
    double **stat; /* (n, tensors) as large as the tensor: Fisher information */
    double **gram; /* (n, tensors) of linear ones, else NULL */
    unsigned char **mask;
    double *rows; /* (n) */
    double *out[TVX_TENSORS_MAX];
} tvx;

static inline void *tvx_alloc(tvx *f, size_t n, size_t size)
{
    void *p = fc_arena_alloc(&f->arena, n, size, NULL);
    assert_non_null(p);
    return p;
}

/* n zero updates, dense; a tensor of more than one row is linear. */
static inline void tvx_init(tvx *f, int n, int tensors, const int (*dims)[2])
{
    *f = (tvx){.set = {.n = n, .tensors = tensors}};
    size_t all = (size_t)n * (size_t)tensors;
    f->tv = tvx_alloc(f, all, sizeof *f->tv);
    f->x = tvx_alloc(f, all, sizeof *f->x);
    f->stat = tvx_alloc(f, all, sizeof *f->stat);
    f->gram = tvx_alloc(f, all, sizeof *f->gram);
    f->mask = tvx_alloc(f, all, sizeof *f->mask);
    f->rows = tvx_alloc(f, (size_t)n, sizeof *f->rows);
    for (int t = 0; t < tensors; t++) {
        char name[16];
        snprintf(name, sizeof name, "layer%d", t);
        fc_tv_shape *s = &f->shape[t];
        *s = (fc_tv_shape){.rows = dims[t][0], .cols = dims[t][1], .linear = dims[t][0] > 1};
        s->name = fc_arena_strdup(&f->arena, name, NULL);
        f->out[t] = tvx_alloc(f, fc_tv_size(s), sizeof(double));
    }
    for (size_t k = 0; k < all; k++) {
        const fc_tv_shape *s = &f->shape[k % (size_t)tensors];
        f->tv[k].dense = f->x[k] = tvx_alloc(f, fc_tv_size(s), sizeof(double));
        f->stat[k] = tvx_alloc(f, fc_tv_size(s), sizeof(double));
        f->mask[k] = tvx_alloc(f, fc_tv_size(s), 1);
    }
    f->set.shape = f->shape;
    f->set.tv = f->tv;
    f->set.fisher = (const double *const *)f->stat;
    f->set.gram = (const double *const *)f->gram;
    f->set.gram_rows = f->rows;
}

static inline void tvx_free(tvx *f)
{
    fc_arena_free(&f->arena);
}

static inline double *tvx_normal(tvx *f, fc_rng *g, size_t n)
{
    double *x = tvx_alloc(f, n, sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = fc_rng_normal(g);
    return x;
}

/* x (n, d) -> its Gram (d, d) */
static inline double *tvx_gram(tvx *f, const double *x, int n, int d)
{
    double *G = tvx_alloc(f, (size_t)d * (size_t)d, sizeof *G);
    for (int i = 0; i < n; i++)
        for (int a = 0; a < d; a++)
            for (int b = 0; b < d; b++)
                G[a * d + b] += x[i * d + a] * x[i * d + b];
    return G;
}

/* Random numbers and statistics; linear tensors are B A of the given rank where it is not 0. */
static inline void tvx_random(tvx *f, uint64_t seed, int rank)
{
    fc_rng g = fc_rng_at((fc_key){.seed = seed, .stream = FC_STREAM_TEST});
    size_t tensors = (size_t)f->set.tensors, all = (size_t)f->set.n * tensors;
    for (size_t k = 0; k < all; k++) {
        const fc_tv_shape *s = &f->shape[k % tensors];
        size_t n = fc_tv_size(s), r = (size_t)rank;
        double *x = tvx_normal(f, &g, n), *F = tvx_normal(f, &g, n);
        memcpy(f->x[k], x, n * sizeof *x);
        if (rank && s->linear) {
            f->tv[k] = (fc_tv){.rank = rank,
                               .B = tvx_normal(f, &g, (size_t)s->rows * r),
                               .A = tvx_normal(f, &g, r * (size_t)s->cols)};
            fc_tv_dense(f->x[k], &f->tv[k], s);
        }
        for (size_t e = 0; e < n; e++) {
            f->stat[k][e] = fabs(F[e]);
            f->mask[k][e] = fc_rng_uniform(&g) < 0.5;
        }
        int rows = s->cols + 3 + (int)k;
        f->rows[k / tensors] = rows;
        double *X = tvx_normal(f, &g, (size_t)rows * (size_t)s->cols);
        f->gram[k] = s->linear ? tvx_gram(f, X, rows, s->cols) : NULL;
    }
}

#endif
