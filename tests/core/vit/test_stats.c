/* Grams: hand-worked sums, diagonal against full storage, strides, scaling of off-diagonals; and
 * the accuracy metrics on a hand-worked matrix. */
#include "core/base/metrics.h"
#include "core/base/rng.h"
#include "core/base/threads.h"
#include "core/vit/stats.h"
#include "tests/support/close.h"

#include <string.h>

static void grams(fc_grams *g, int n, const int *dims, const double *alphas, fc_arena *arena)
{
    fc_error err = {0};
    assert_int_equal(fc_grams_init(g, n, dims, alphas, arena, &err), FC_OK);
}

static void test_worked_example(void **state)
{
    (void)state;
    /* X = (1 2; 3 4): X^T X = (10 14; 14 20); alpha 0.5 halves the 14 */
    const fc_real X[] = {1, 2, 3, 4};
    fc_arena arena = {0};
    fc_grams g;
    grams(&g, 2, (int[]){2, 2}, (double[]){0.5, 0}, &arena);
    assert_int_equal(g.size, 4 + 2);
    fc_grams_add(&g, 0, X, 2, 2);
    fc_grams_add(&g, 1, X, 2, 2);
    const double sum[] = {10, 14, 14, 20, 10, 20}, scaled[] = {10, 7, 7, 20, 10, 20};
    assert_all_close(g.g, sum, 6, 0, 0);
    fc_grams_finish(&g);
    assert_all_close(g.g, scaled, 6, 0, 0);
    fc_grams_accumulate(&g, &g);
    for (int i = 0; i < 6; i++)
        assert_close(g.g[i], 2 * scaled[i], 0, 0);
    fc_grams_zero(&g);
    for (int i = 0; i < 6; i++)
        assert_close(g.g[i], 0, 0, 0);
    fc_arena_free(&arena);
}

static void test_random_against_direct_sum(void **state)
{
    (void)state;
    enum { D = 13, LD = 20, ROWS = 9 };
    fc_real X[ROWS * LD];
    fc_rng rng = fc_rng_at((fc_key){.seed = 1, .stream = FC_STREAM_TEST});
    for (int i = 0; i < ROWS * LD; i++)
        X[i] = (fc_real)fc_rng_normal(&rng);
    fc_arena arena = {0};
    fc_grams g;
    grams(&g, 3, (int[]){4, D, D}, (double[]){0, 1, 0}, &arena);
    for (int slot = 1; slot < 3; slot++) { /* rows with gaps, in two calls */
        fc_grams_add(&g, slot, X, 4, LD);
        fc_grams_add(&g, slot, X + 4 * LD, ROWS - 4, LD);
    }
    fc_grams_finish(&g);
    for (int i = 0; i < D; i++)
        for (int j = 0; j < D; j++) {
            double want = 0, size = 0;
            for (int k = 0; k < ROWS; k++) {
                want += (double)X[k * LD + i] * (double)X[k * LD + j];
                size += fabs((double)X[k * LD + i] * (double)X[k * LD + j]);
            }
            assert_close(g.g[4 + i * D + j], want, 0, ROWS * FC_REAL_EPS * size);
            if (i == j) /* diagonals are summed in double */
                assert_close(g.g[4 + D * D + i], want, 1e-14, 0);
        }
    for (int i = 0; i < 4; i++) /* the slot that was not fed */
        assert_close(g.g[i], 0, 0, 0);
    fc_arena_free(&arena);
}

static void test_metrics_by_hand(void **state)
{
    (void)state;
    /*           task 0   task 1   task 2          of 10, 20, 10 samples
     * after 0     8
     * after 1     9        10
     * after 2     4        16       7             */
    long correct[9] = {8, 0, 0, 9, 10, 0, 4, 16, 7};
    long total[9] = {10, 0, 0, 10, 20, 0, 10, 20, 10};
    fc_acc_matrix m = {3, 3, 3, correct, total};
    assert_close(fc_acc(&m, 2, 1), 80, 1e-15, 0);
    assert_close(fc_acc_micro(&m, 1), 100.0 * 19 / 30, 1e-15, 0);
    assert_close(fc_acc_task_mean(&m, 1), (90 + 50) / 2.0, 1e-15, 0);
    fc_metrics r = fc_metrics_of(&m);
    assert_close(r.faa, 67.5, 1e-15, 0);
    assert_close(r.faa_task_mean, (40 + 80 + 70) / 3.0, 1e-15, 0);
    assert_close(r.aia, (80 + 1900.0 / 30 + 67.5) / 3, 1e-14, 0);
    assert_close(r.aia_task_mean, (80 + 70 + 190 / 3.0) / 3, 1e-14, 0);
    assert_close(r.learning_accuracy, (80 + 50 + 70) / 3.0, 1e-14, 0);
    assert_close(r.forgetting_fedmammoth, ((80 - 40) + (50 - 80) + 0) / 3.0, 1e-14, 0);
    assert_close(r.forgetting_max, ((90 - 40) + (50 - 80)) / 2.0, 1e-14, 0);
    assert_close(r.bwt, ((40 - 80) + (80 - 50)) / 2.0, 1e-14, 0);

    m.done = 1; /* after the first task nothing can be forgotten */
    r = fc_metrics_of(&m);
    assert_close(r.faa, 80, 1e-15, 0);
    assert_close(r.forgetting_max, 0, 0, 0);
    assert_close(r.bwt, 0, 0, 0);

    m.done = 3; /* only the last row was tested: what compares it with earlier ones is unknown */
    memset(total, 0, 6 * sizeof *total);
    r = fc_metrics_of(&m);
    assert_close(r.faa, 67.5, 1e-15, 0);
    assert_true(isnan(r.aia) && isnan(r.forgetting_max) && isnan(r.forgetting_fedmammoth) &&
                isnan(r.bwt));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worked_example),
        cmocka_unit_test(test_random_against_direct_sum),
        cmocka_unit_test(test_metrics_by_hand),
    };
    fc_threads_init(1, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
