/* Matrix products against plain loops: every transposition, leading dimensions, alpha and beta. */
#include "core/gemm.h"
#include "core/rng.h"
#include "tests/close.h"

#include <string.h>

enum { LD = 23, MAX = 19 * LD };

static void fill(double *p, uint32_t sample)
{
    fc_rng g = fc_rng_at((fc_key){.seed = 3, .stream = FC_STREAM_TEST, .sample = sample});
    for (int i = 0; i < MAX; i++)
        p[i] = (double)(float)fc_rng_normal(&g);
}

/* Element (i, j) of op(A). */
static double op(const double *A, bool t, int i, int j)
{
    return t ? A[j * LD + i] : A[i * LD + j];
}

static void check(bool ta, bool tb, int m, int n, int k, double alpha, double beta)
{
    double A[MAX], B[MAX], C[MAX], want[MAX];
    fill(A, 1);
    fill(B, 2);
    fill(C, 3);
    fc_real a[MAX], b[MAX], c[MAX];
    for (int i = 0; i < MAX; i++) {
        a[i] = (fc_real)A[i];
        b[i] = (fc_real)B[i];
        c[i] = (fc_real)C[i];
    }
    memcpy(want, C, sizeof want);
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double sum = 0;
            for (int l = 0; l < k; l++)
                sum += op(A, ta, i, l) * op(B, tb, l, j);
            want[i * LD + j] = alpha * sum + beta * C[i * LD + j];
        }
    fc_gemm(ta, tb, m, n, k, (fc_real)alpha, a, LD, b, LD, (fc_real)beta, c, LD);
    fc_dgemm(ta, tb, m, n, k, alpha, A, LD, B, LD, beta, C, LD);
    /* k products of normal numbers; what lies between rows must stay as it was */
    assert_all_close(c, want, MAX, 0, 19 * 30 * (double)FC_REAL_EPS);
    assert_all_close(C, want, MAX, 0, 19 * 30 * 2.3e-16);
}

static void test_gemm(void **state)
{
    (void)state;
    static const int sizes[][3] = {{1, 1, 1}, {3, 1, 5}, {1, 7, 2}, {13, 17, 11}, {19, 19, 19}};
    for (int t = 0; t < 4; t++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            check(t & 1, t & 2, sizes[i][0], sizes[i][1], sizes[i][2], 1, 0);
            check(t & 1, t & 2, sizes[i][0], sizes[i][1], sizes[i][2], -0.5, 2);
        }
}

static void test_gram(void **state)
{
    (void)state;
    enum { N = 29, D = 7 };
    fc_real X[N * D], G[D * D] = {0};
    double want[D * D] = {0};
    fc_rng g = fc_rng_at((fc_key){.seed = 4, .stream = FC_STREAM_TEST});
    for (int i = 0; i < N * D; i++)
        X[i] = (fc_real)fc_rng_normal(&g);
    for (int call = 0; call < 2; call++) { /* the second adds to the first */
        fc_gram(G, X, N, D);
        for (int i = 0; i < N; i++)
            for (int j = 0; j < D * D; j++)
                want[j] += (double)X[i * D + j / D] * (double)X[i * D + j % D];
        assert_all_close(G, want, D * D, 0, 2 * N * 10 * (double)FC_REAL_EPS);
    }
    for (int i = 0; i < D; i++)
        for (int j = 0; j < D; j++)
            assert_true(G[i * D + j] == G[j * D + i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gemm), cmocka_unit_test(test_gram)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
