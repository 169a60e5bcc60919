/* fc_spd_solve: residuals, the Moore-Penrose solution of singular systems, refusals. */
#include "core/linalg.h"
#include "core/rng.h"
#include "core/threads.h"
#include "tests/close.h"

#include <float.h>
#include <stdbool.h>
#include <string.h>

enum { M = 3, N = 24 };

static void normal(double *x, int n, uint64_t seed)
{
    fc_rng g = fc_rng_at((fc_key){.seed = seed, .stream = FC_STREAM_TEST});
    for (int i = 0; i < n; i++)
        x[i] = fc_rng_normal(&g);
}

/* S (N, N) = H diag(lambda) H with the Householder reflection H = 1 - 2 v v^T / v^T v: its
 * eigenvalues are known exactly. */
static void with_eigenvalues(double *S, const double *lambda, bool invert)
{
    double v[N], H[N * N], norm = 0;
    normal(v, N, 5);
    for (int i = 0; i < N; i++)
        norm += v[i] * v[i];
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            H[i * N + j] = (i == j) - 2 * v[i] * v[j] / norm;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            S[i * N + j] = 0;
            for (int k = 0; k < N; k++) {
                double l = invert && lambda[k] != 0 ? 1 / lambda[k] : lambda[k];
                S[i * N + j] += H[i * N + k] * l * H[j * N + k];
            }
        }
}

static void product(double *out, const double *R, const double *S)
{
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++) {
            out[i * N + j] = 0;
            for (int k = 0; k < N; k++)
                out[i * N + j] += R[i * N + k] * S[k * N + j];
        }
}

static double largest(const double *x, int n)
{
    double top = 0;
    for (int i = 0; i < n; i++)
        top = fmax(top, fabs(x[i]));
    return top;
}

/* Solve with eigenvalues lambda, scaled by c; compare with R S^+ built from the eigenvalues. */
static void solve_known(const double *lambda, double c, bool singular, double condition)
{
    double S[N * N], pinv[N * N], R[M * N], X[M * N], want[M * N];
    fc_arena scratch = {0};
    fc_error err = {0};
    int used_pinv = -1;
    with_eigenvalues(S, lambda, false);
    with_eigenvalues(pinv, lambda, true);
    normal(R, M * N, 6);
    product(want, R, pinv);
    for (int i = 0; i < N * N; i++)
        S[i] *= c;
    assert_int_equal(fc_spd_solve(X, S, R, M, N, "layer", &used_pinv, &scratch, &err), FC_OK);
    assert_int_equal(used_pinv, singular);
    double tolerance = 10 * N * DBL_EPSILON * condition * largest(want, M * N);
    for (int i = 0; i < M * N; i++)
        X[i] *= c;
    assert_all_close(X, want, M * N, 0, tolerance);
    fc_arena_free(&scratch);
}

static void test_regular(void **state)
{
    (void)state;
    double lambda[N];
    for (int i = 0; i < N; i++)
        lambda[i] = pow(10, -4.0 * i / (N - 1));
    solve_known(lambda, 1, false, 1e4);
    solve_known(lambda, 1e30, false, 1e4);
    solve_known(lambda, 1e-30, false, 1e4);
}

static void test_singular(void **state)
{
    (void)state;
    double lambda[N] = {0};
    for (int i = 0; i < N / 2; i++)
        lambda[i] = 1 + i;
    solve_known(lambda, 1, true, N);
    solve_known(lambda, 1e30, true, N);
    solve_known(lambda, 1e-30, true, N);
}

static void test_zero_matrix_gives_zero(void **state)
{
    (void)state;
    double S[N * N] = {0}, X[M * N];
    int used_pinv = 0;
    fc_arena scratch = {0};
    normal(X, M * N, 7);
    assert_int_equal(fc_spd_solve(X, S, X, M, N, "layer", &used_pinv, &scratch, NULL), FC_OK);
    assert_int_equal(used_pinv, 1);
    for (int i = 0; i < M * N; i++)
        assert_close(X[i], 0, 0, 0);
    fc_arena_free(&scratch);
}

static void test_in_place(void **state)
{
    (void)state;
    double lambda[N], S[N * N], again[N * N], R[M * N], X[M * N];
    fc_arena scratch = {0};
    for (int i = 0; i < N; i++)
        lambda[i] = 1 + i;
    with_eigenvalues(S, lambda, false);
    memcpy(again, S, sizeof S);
    normal(R, M * N, 8);
    assert_int_equal(fc_spd_solve(X, S, R, M, N, "layer", NULL, &scratch, NULL), FC_OK);
    assert_int_equal(fc_spd_solve(R, again, R, M, N, "layer", NULL, &scratch, NULL), FC_OK);
    assert_memory_equal(X, R, sizeof X);
    fc_arena_free(&scratch);
}

static void test_one_by_one(void **state)
{
    (void)state;
    double S = 4, X = 10;
    fc_arena scratch = {0};
    assert_int_equal(fc_spd_solve(&X, &S, &X, 1, 1, "layer", NULL, &scratch, NULL), FC_OK);
    assert_close(X, 2.5, 1e-15, 0);
    fc_arena_free(&scratch);
}

static void test_not_finite_is_refused(void **state)
{
    (void)state;
    double S[4] = {1, 0, 0, 1}, R[2] = {1, (double)NAN}, X[2];
    fc_arena scratch = {0};
    fc_error err = {0};
    assert_int_equal(fc_spd_solve(X, S, R, 1, 2, "blocks.3.fc1", NULL, &scratch, &err), FC_EFAIL);
    assert_non_null(strstr(err.msg, "blocks.3.fc1"));
    R[1] = 1;
    S[3] = (double)INFINITY;
    err = (fc_error){0};
    assert_int_equal(fc_spd_solve(X, S, R, 1, 2, "blocks.3.fc1", NULL, &scratch, &err), FC_EFAIL);
    assert_non_null(strstr(err.msg, "element 3"));
    fc_arena_free(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_regular),    cmocka_unit_test(test_singular),
        cmocka_unit_test(test_in_place),   cmocka_unit_test(test_zero_matrix_gives_zero),
        cmocka_unit_test(test_one_by_one), cmocka_unit_test(test_not_finite_is_refused),
    };
    fc_threads_init(1, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
