/* Updates of one weight for tests of merging: random, dense or in factors, or from golden files. */
#ifndef FC_TEST_UPDATES_H
#define FC_TEST_UPDATES_H

#include "core/base/rng.h"
#include "core/base/threads.h"
#include "core/merge/combine.h"
#include "tests/support/golden.h"

enum { UPDATES = 32, SIZE = 4096 };

/* Updates of one linear weight. */
typedef struct weight {
    fc_tv_set set;
    fc_tv_shape shape;
    fc_tv tv[UPDATES];
    fc_arena arena;
} weight;

static inline void weight_init(weight *w, int n, int rows, int cols)
{
    *w = (weight){.shape = {"blocks.0.fc1", rows, cols, true}};
    assert_true(n <= UPDATES && rows * cols <= SIZE);
    w->set = (fc_tv_set){.n = n, .tensors = 1, .shape = &w->shape, .tv = w->tv};
}

static inline double *numbers(weight *w, size_t n)
{
    double *x = fc_arena_alloc(&w->arena, n, sizeof *x, NULL);
    assert_non_null(x);
    return x;
}

static inline double *normal(weight *w, size_t n, double scale, uint64_t seed)
{
    fc_rng g = fc_rng_at((fc_key){.seed = seed, .stream = FC_STREAM_TEST});
    double *x = numbers(w, n);
    for (size_t i = 0; i < n; i++)
        x[i] = scale * fc_rng_normal(&g);
    return x;
}

/* n random LoRA pairs, or for r = 0 dense updates. */
static inline void random_weight(weight *w, int n, int rows, int cols, int r, double scale)
{
    weight_init(w, n, rows, cols);
    size_t M = (size_t)rows, N = (size_t)cols, R = (size_t)r;
    for (int i = 0; i < n; i++) {
        uint64_t seed = 2 * (uint64_t)i;
        if (r == 0)
            w->tv[i].dense = normal(w, M * N, scale, seed);
        else
            w->tv[i] =
                (fc_tv){r, NULL, normal(w, M * R, scale, seed), normal(w, R * N, 1, seed + 1)};
    }
}

static inline double largest(const double *x, size_t n)
{
    double top = 0;
    for (size_t i = 0; i < n; i++)
        top = fmax(top, fabs(x[i]));
    return top;
}

/* Relative to the largest number wanted. */
#define assert_near(got, want, n, tolerance)                                                       \
    assert_all_close(got, want, n, 0, (tolerance)*largest(want, (size_t)(n)))

static inline void golden_pairs(weight *w, const gold *g)
{
    gold_tensor A = gold_item(g, "in.A", 0), B = gold_item(g, "in.B", 0);
    weight_init(w, gold_count(g, "in.A"), B.dim[0], A.dim[1]);
    for (int i = 0; i < w->set.n; i++)
        w->tv[i] = (fc_tv){A.dim[0], NULL, gold_item(g, "in.B", i).v, gold_item(g, "in.A", i).v};
}

static inline void near_golden(const double *got, const gold *g, const char *name)
{
    const gold_tensor *want = gold_get(g, "out.%s", name);
    assert_near(got, want->v, want->n, 1e-8);
}

static inline void dense_pair(weight *w, const double *a, const double *b)
{
    weight_init(w, 2, 2, 2);
    w->tv[0].dense = a;
    w->tv[1].dense = b;
}

typedef struct size {
    int n, rows, cols, r;
} size;
/* wide, tall, T r > min(m, n), r > min(m, n), one update */
static const size shapes[] = {
    {3, 8, 20, 2}, {4, 30, 7, 1}, {5, 6, 9, 4}, {2, 5, 4, 8}, {1, 6, 7, 2}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

#endif
