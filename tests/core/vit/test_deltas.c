/* fc_deltas against the dense sums they stand for: P = sum_t B_t A_t Gs_t, Q = sum_t Gs_t. */
#include "core/base/rng.h"
#include "core/base/threads.h"
#include "core/vit/deltas.h"
#include "tests/support/close.h"

#include <string.h>

enum { RANK = 2, TASKS = 3, ROWS = 40 };
static const fc_vit_shape shape = {
    .image = 4, .patch = 2, .width = 6, .depth = 2, .heads = 2, .hidden = 9};

typedef struct setup {
    fc_arena arena;
    fc_params w, train[TASKS];
    fc_grams Gs[TASKS];
    fc_deltas d;
} setup;

/* Random LoRA pairs and Grams of TASKS tasks, all pushed. dead: feature 1 of every layer is 0. */
static void make(setup *s, double alpha, bool with_grams, bool dead)
{
    *s = (setup){0};
    fc_params layout;
    fc_rng g = fc_rng_at((fc_key){.seed = 2, .stream = FC_STREAM_TEST});
    assert_int_equal(fc_vit_layout(&layout, &shape, &s->arena, NULL), FC_OK);
    assert_int_equal(fc_params_alloc(&s->w, &layout, &s->arena, NULL), FC_OK);
    assert_int_equal(fc_train_layout(&layout, &shape, FC_TRAIN_LORA, RANK, 3, &s->arena, NULL),
                     FC_OK);
    int n = fc_vit_slots(&shape), dims[8], d_out;
    double alphas[8];
    for (int i = 0; i < n; i++) {
        fc_slot_dims(&shape, i, &d_out, &dims[i]);
        alphas[i] = alpha;
    }
    for (int t = 0; t < TASKS; t++) {
        assert_int_equal(fc_params_alloc(&s->train[t], &layout, &s->arena, NULL), FC_OK);
        for (size_t i = 0; i < layout.n; i++)
            s->train[t].p[i] = (fc_real)fc_rng_normal(&g);
        assert_int_equal(fc_grams_init(&s->Gs[t], n, dims, alphas, &s->arena, NULL), FC_OK);
        for (int i = 0; i < n; i++) {
            fc_real x[ROWS * 16];
            for (int j = 0; j < ROWS * dims[i]; j++)
                x[j] = dead && j % dims[i] == 1 ? 0 : (fc_real)fc_rng_normal(&g);
            fc_grams_add(&s->Gs[t], i, x, ROWS, dims[i]);
        }
        fc_grams_finish(&s->Gs[t]);
    }
    assert_int_equal(
        fc_deltas_init(&s->d, &shape, RANK, TASKS, with_grams ? &s->Gs[0] : NULL, &s->arena, NULL),
        FC_OK);
    for (int t = 0; t < TASKS; t++)
        assert_int_equal(fc_deltas_push(&s->d, &s->train[t], with_grams ? &s->Gs[t] : NULL, NULL),
                         FC_OK);
}

static double gram(const fc_grams *g, int slot, int i, int j)
{
    const fc_gram_slot *s = &g->slot[slot];
    if (!s->full)
        return i == j ? g->g[s->offset + (size_t)i] : 0;
    return g->g[s->offset + (size_t)(i * s->dim + j)];
}

/* (B_t A_t)[row, col] of a slot */
static double delta(const setup *s, int t, int slot, int row, int col)
{
    const fc_params *p = &s->train[t];
    const fc_spec *A = &p->spec[fc_train_A(slot)], *B = &p->spec[fc_train_B(&shape, slot)];
    double sum = 0;
    for (int k = 0; k < RANK; k++)
        sum += (double)p->p[B->offset + (size_t)(row * RANK + k)] *
               (double)p->p[A->offset + (size_t)(k * A->cols + col)];
    return sum;
}

static void test_sum(void **state)
{
    (void)state;
    setup s;
    make(&s, 0, false, false);
    for (size_t i = 0; i < s.w.n; i++)
        s.w.p[i] = 1;
    fc_deltas_add_sum(s.w.p, &s.d, 2, 0.5);
    size_t adapted = 0;
    for (int slot = 0; slot < fc_vit_slots(&shape); slot++) {
        const fc_spec *W = &s.w.spec[fc_slot_tensor(slot)];
        for (int i = 0; i < W->rows; i++)
            for (int j = 0; j < W->cols; j++) {
                fc_real *x = &s.w.p[W->offset + (size_t)(i * W->cols + j)];
                double want = 1 + 0.5 * (delta(&s, 0, slot, i, j) + delta(&s, 1, slot, i, j));
                assert_close(*x, want, 0, 40 * FC_REAL_EPS);
                *x = 1;
                adapted++;
            }
    }
    assert_true(adapted > 0);
    for (size_t i = 0; i < s.w.n; i++) /* nothing else was touched */
        assert_close(s.w.p[i], 1, 0, 0);
    fc_arena_free(&s.arena);
}

/* D from add_gram_merge solves D Q = P. */
static void gram_merge(double alpha, bool dead)
{
    setup s;
    make(&s, alpha, true, dead);
    assert_int_equal(fc_deltas_add_gram_merge(s.w.p, &s.d, NULL), FC_OK);
    for (int slot = 0; slot < fc_vit_slots(&shape); slot++) {
        const fc_spec *W = &s.w.spec[fc_slot_tensor(slot)];
        for (int i = 0; i < W->rows; i++)
            for (int j = 0; j < W->cols; j++) {
                double residual = 0, size = 0;
                for (int t = 0; t < TASKS; t++)
                    for (int k = 0; k < W->cols; k++) {
                        double D = (double)s.w.p[W->offset + (size_t)(i * W->cols + k)];
                        double G = gram(&s.Gs[t], slot, k, j);
                        residual += (D - delta(&s, t, slot, i, k)) * G;
                        size += fabs(D * G) + fabs(delta(&s, t, slot, i, k) * G);
                    }
                assert_close(residual, 0, 0, 10 * FC_REAL_EPS * size);
                if (dead && j == 1)
                    assert_close(s.w.p[W->offset + (size_t)(i * W->cols + j)], 0, 0,
                                 alpha != 0 ? 1e-12 : 0);
            }
    }
    fc_arena_free(&s.arena);
}

static void test_gram_merge(void **state)
{
    (void)state;
    gram_merge(0, false);
    gram_merge(0.5, false);
    gram_merge(1, false);
    gram_merge(0, true);
    gram_merge(1, true);
}

static void test_threads_give_the_same_bytes(void **state)
{
    (void)state;
    setup one, three;
    fc_threads_init(1, NULL);
    make(&one, 0.5, true, false);
    assert_int_equal(fc_deltas_add_gram_merge(one.w.p, &one.d, NULL), FC_OK);
    fc_threads_init(3, NULL);
    make(&three, 0.5, true, false);
    assert_int_equal(fc_deltas_add_gram_merge(three.w.p, &three.d, NULL), FC_OK);
    assert_memory_equal(one.w.p, three.w.p, one.w.n * sizeof *one.w.p);
    fc_arena_free(&one.arena);
    fc_arena_free(&three.arena);
}

static void test_not_finite_is_refused(void **state)
{
    (void)state;
    setup s;
    make(&s, 1, true, false);
    s.d.Q.g[s.d.Q.slot[5].offset] = (double)NAN;
    s.d.Q.g[s.d.Q.slot[3].offset] = (double)NAN;
    fc_error err = {0};
    assert_int_equal(fc_deltas_add_gram_merge(s.w.p, &s.d, &err), FC_EFAIL);
    assert_non_null(strstr(err.msg, "layer 3")); /* the lowest, whichever thread came first */
    for (size_t i = 0; i < s.w.n; i++)
        assert_close(s.w.p[i], 0, 0, 0);
    fc_arena_free(&s.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sum),
        cmocka_unit_test(test_gram_merge),
        cmocka_unit_test(test_threads_give_the_same_bytes),
        cmocka_unit_test(test_not_finite_is_refused),
    };
    fc_threads_init(2, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
