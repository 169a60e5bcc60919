/* fc_spd_solve: residuals, the Moore-Penrose solution of singular systems, refusals. SVD, QR, polar
 * factor: the equations that define them. */
#include "core/base/rng.h"
#include "core/base/threads.h"
#include "core/linalg/gemm.h"
#include "core/linalg/linalg.h"
#include "tests/support/close.h"

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

enum { SIDE = 40 };

/* max |X^T X - 1| of X (m, n), or of its transpose */
static double orthogonality_error(const double *X, int m, int n, bool rows)
{
    double G[SIDE * SIDE], worst = 0;
    int k = rows ? m : n;
    fc_dgemm(!rows, rows, k, k, rows ? n : m, 1, X, n, X, n, 0, G, k);
    for (int i = 0; i < k; i++)
        for (int j = 0; j < k; j++)
            worst = fmax(worst, fabs(G[i * k + j] - (i == j)));
    return worst;
}

/* U S Vt = X to rounding of |X|, U and V orthonormal, S descending. */
static void check_svd(const fc_usv *x, const double *X)
{
    double US[SIDE * SIDE], got[SIDE * SIDE];
    int m = x->m, n = x->n, k = x->k;
    double eps = 10 * SIDE * DBL_EPSILON;
    assert_true(orthogonality_error(x->U, m, k, false) < eps);
    assert_true(orthogonality_error(x->Vt, k, n, true) < eps);
    for (int j = 0; j < k; j++) {
        assert_true(x->S[j] >= 0 && (j == 0 || x->S[j] <= x->S[j - 1]));
        for (int i = 0; i < m; i++)
            US[i * k + j] = x->U[i * k + j] * x->S[j];
    }
    fc_dgemm(false, false, m, n, k, 1, US, k, x->Vt, n, 0, got, n);
    assert_all_close(got, X, m * n, 0, eps * x->S[0]);
}

/* Singular values count from FC_SUPPORT = 1e-10 of the largest on. */
static void test_svd_rank(void **state)
{
    (void)state;
    const double X[16] = {[0] = 2, [5] = 1e-6, [10] = 4e-10, [15] = 1e-10};
    fc_arena arena = {0};
    fc_usv x;
    assert_int_equal(fc_svd(&x, X, 4, 4, "layer", &arena, NULL), FC_OK);
    assert_int_equal(fc_svd_rank(&x), 3);
    fc_arena_free(&arena);
}

/* Shapes (m, r, n); r > m, n; rank 1; scales. */
static void test_svd_and_product(void **state)
{
    (void)state;
    const int shape[][3] = {{12, 3, 7}, {7, 3, 12}, {5, 9, 6}, {1, 1, 8}, {8, 2, 1}, {33, 20, 40}};
    const double scales[] = {1, 1e30, 1e-30, 0};
    for (size_t s = 0; s < sizeof shape / sizeof *shape; s++)
        for (int c = 0; c < 4; c++) {
            int m = shape[s][0], r = shape[s][1], n = shape[s][2], least = m < n ? m : n;
            double B[SIDE * SIDE], A[SIDE * SIDE], X[SIDE * SIDE];
            fc_arena arena = {0};
            fc_usv direct, product;
            normal(B, m * r, 1);
            normal(A, r * n, 2);
            for (int i = 0; i < m * r; i++)
                B[i] *= scales[c];
            fc_dgemm(false, false, m, n, r, 1, B, r, A, n, 0, X, n);
            assert_int_equal(fc_svd(&direct, X, m, n, "layer", &arena, NULL), FC_OK);
            check_svd(&direct, X);
            assert_int_equal(fc_svd_product(&product, B, A, m, r, n, "layer", &arena, NULL), FC_OK);
            assert_int_equal(product.k, r < least ? r : least);
            check_svd(&product, X);
            int rank = c == 3 ? 0 : product.k;
            assert_int_equal(fc_svd_rank(&direct), rank);
            assert_int_equal(fc_svd_rank(&product), rank);
            fc_arena_free(&arena);
        }
}

static void test_qr(void **state)
{
    (void)state;
    const int shape[][2] = {{9, 4}, {4, 9}, {6, 6}, {1, 5}, {5, 1}};
    for (size_t s = 0; s < sizeof shape / sizeof *shape; s++)
        for (int dependent = 0; dependent < 2; dependent++) {
            int m = shape[s][0], n = shape[s][1], k = m < n ? m : n;
            double X[81], Q[81], R[81], got[81];
            fc_arena arena = {0};
            normal(X, m * n, 3);
            for (int i = 0; i < m && dependent; i++)
                X[i * n + n - 1] = X[i * n]; /* Q is orthonormal all the same */
            assert_int_equal(fc_qr(Q, R, X, m, n, "layer", &arena, NULL), FC_OK);
            fc_dgemm(false, false, m, n, k, 1, Q, k, R, n, 0, got, n);
            assert_all_close(got, X, m * n, 0, 1e-14);
            assert_true(orthogonality_error(Q, m, k, false) < 1e-14);
            for (int i = 0; i < k; i++)
                for (int j = 0; j < i; j++)
                    assert_close(R[i * n + j], 0, 0, 0);
            fc_arena_free(&arena);
        }
}

/* Full rank: P orthonormal and P^T X symmetric positive. Rank 1, X = u v^T: P = u v^T / |u| |v|. */
static void test_polar(void **state)
{
    (void)state;
    double X[8 * 3], P[8 * 3], H[9];
    fc_arena arena = {0};
    normal(X, 24, 4);
    assert_int_equal(fc_polar(P, X, 8, 3, "layer", &arena, NULL), FC_OK);
    assert_true(orthogonality_error(P, 8, 3, false) < 1e-14);
    fc_dgemm(true, false, 3, 3, 8, 1, P, 3, X, 3, 0, H, 3);
    for (int i = 0; i < 3; i++) {
        assert_true(H[4 * i] > 0);
        for (int j = 0; j < i; j++)
            assert_close(H[3 * i + j], H[3 * j + i], 0, 1e-14);
    }
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 3; j++)
            X[3 * i + j] = (i + 1) * (j - 1);
    assert_int_equal(fc_polar(P, X, 8, 3, "layer", &arena, NULL), FC_OK);
    for (int i = 0; i < 24; i++)
        assert_close(P[i], X[i] / sqrt(204 * 2), 0, 1e-14);
    assert_int_equal(fc_polar(X, X, 8, 3, "layer", &arena, NULL), FC_OK);
    assert_all_close(X, P, 24, 0, 0);
    fc_arena_free(&arena);
}

static void test_decompositions_refuse(void **state)
{
    (void)state;
    double X[4] = {1, 2, (double)NAN, 4}, A[4] = {1e300, 0, 0, 1}, Q[4], R[4];
    fc_usv x;
    fc_arena arena = {0};
    for (int i = 0; i < 4; i++) {
        fc_error err = {0};
        fc_status status =
            i == 0   ? fc_svd(&x, X, 2, 2, "blocks.3.fc1", &arena, &err)
            : i == 1 ? fc_svd_product(&x, A, X, 2, 2, 2, "blocks.3.fc1", &arena, &err)
            : i == 2 ? fc_svd_product(&x, A, A, 2, 2, 2, "blocks.3.fc1", &arena, &err)
                     : fc_qr(Q, R, X, 2, 2, "blocks.3.fc1", &arena, &err);
        assert_int_equal(status, FC_EFAIL);
        assert_non_null(strstr(err.msg, "blocks.3.fc1"));
    }
    fc_arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_regular),
        cmocka_unit_test(test_singular),
        cmocka_unit_test(test_in_place),
        cmocka_unit_test(test_zero_matrix_gives_zero),
        cmocka_unit_test(test_one_by_one),
        cmocka_unit_test(test_not_finite_is_refused),
        cmocka_unit_test(test_svd_rank),
        cmocka_unit_test(test_svd_and_product),
        cmocka_unit_test(test_qr),
        cmocka_unit_test(test_polar),
        cmocka_unit_test(test_decompositions_refuse),
    };
    fc_threads_init(1, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
