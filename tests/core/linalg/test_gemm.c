/* Matrix products against plain loops in double: those of BLAS, and those of every table of kernels
 * that runs here, in float and in bf16, on random shapes, transpositions and leading dimensions. */
#include "core/base/rng.h"
#include "core/linalg/gemm.h"
#include "tests/support/close.h"
#include "tests/support/isa_fixture.h"

#include <string.h>

/* ---- BLAS ----------------------------------------------------------------------------------- */

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

/* ---- kernels -------------------------------------------------------------------------------- */

typedef enum how { MULTIPLY, DIRECT, MATMUL } how;

/* One fc_product in full; elements of matrix X are at X[i * ldX + j]. */
typedef struct product {
    how how;
    int m, n, terms, k[2], ldc, ldadd;
    bool ta[2], tb[2], add_c;
    int lda[2], ldb[2];
    float alpha;
    const float *A[2], *B[2], *bias, *add, *start; /* start: C before, where it is added to */
    bool exact;
    double *want, *size; /* (m, n); size: the same sum over absolute values */
} product;

enum { BIAS = 4, ADD, SCRATCH, RESULT = SCRATCH + 4, FENCES };
static fence fences[FENCES];
static const fc_isa *table[TABLES_MAX];
static int tables;

/* rows x cols numbers behind each other in fence f, ld apart; the gaps are NaN. */
static float *matrix(int f, int rows, int cols, int ld, numbers kind, fc_rng *g)
{
    size_t n = (size_t)(rows - 1) * (size_t)ld + (size_t)cols;
    float *x = fence_last(&fences[f], n * sizeof *x);
    for (int i = 0; i < rows; i++)
        draw(x + (size_t)i * (size_t)ld, (size_t)cols, kind, g);
    return x;
}

static int below(fc_rng *g, int n)
{
    return (int)fc_rng_below(g, (uint32_t)n);
}

/* A leading dimension: none, a small or a large gap. */
static int gap(fc_rng *g)
{
    return below(g, 2) * below(g, 40);
}

static product product_new(int m, int n, int k, fc_rng *g)
{
    product p = {.how = (how)below(g, 3), .m = m, .n = n, .k = {k, 1 + below(g, 40)}};
    p.exact = below(g, 3) == 0;
    numbers kind = p.exact ? INTEGER : NORMAL;
    p.terms = p.how == MATMUL ? 1 : 1 + below(g, 2);
    for (int s = 0; s < p.terms; s++) {
        p.ta[s] = below(g, 2);
        p.tb[s] = p.how != DIRECT && below(g, 2);
        p.lda[s] = (p.ta[s] ? m : p.k[s]) + gap(g);
        p.ldb[s] = (p.tb[s] ? p.k[s] : n) + gap(g);
        float *A = matrix(2 * s, p.ta[s] ? p.k[s] : m, p.ta[s] ? m : p.k[s], p.lda[s], kind, g);
        float *B = matrix(2 * s + 1, p.tb[s] ? n : p.k[s], p.tb[s] ? p.k[s] : n, p.ldb[s], kind, g);
        if (below(g, 10) == 0) { /* not one of each: a denormal taken for 0 makes NaN of inf */
            bool tiny = !p.exact && below(g, 2);
            A[0] = tiny ? denormal(g) : not_finite(g);
            B[0] = tiny ? denormal(g) : not_finite(g);
        }
        p.A[s] = A;
        p.B[s] = B;
    }
    static const float alpha[] = {1, -1, 0.5f, 0.37f};
    p.alpha = alpha[below(g, p.exact ? 3 : 4)];
    p.ldc = n + gap(g);
    p.ldadd = n + gap(g);
    if (p.how != MATMUL && below(g, 2))
        p.bias = matrix(BIAS, 1, n, n, kind, g);
    p.add_c = below(g, 2);
    if (p.add_c)
        p.ldadd = p.ldc;
    if (p.add_c || (p.how != MATMUL && below(g, 2)))
        p.start = matrix(ADD, m, n, p.ldadd, kind, g);
    p.add = p.add_c ? NULL : p.start;
    p.want = test_calloc((size_t)m * (size_t)n, sizeof *p.want);
    p.size = test_calloc((size_t)m * (size_t)n, sizeof *p.size);
    return p;
}

static void product_free(product *p)
{
    test_free(p->want);
    test_free(p->size);
}

/* op(X) (rows, cols) in double, rounded to bf16 if asked. */
static double *widened(const float *X, bool t, int ld, int rows, int cols, bool bf16)
{
    double *y = test_malloc((size_t)rows * (size_t)cols * sizeof *y);
    for (size_t i = 0; i < (size_t)rows; i++)
        for (size_t j = 0; j < (size_t)cols; j++) {
            double x = (double)(t ? X[j * (size_t)ld + i] : X[i * (size_t)ld + j]);
            y[i * (size_t)cols + j] = bf16 ? to_bf16(x) : x;
        }
    return y;
}

/* The definition in core/linalg/gemm.h. */
static void oracle(product *p, bool bf16)
{
    size_t m = (size_t)p->m, n = (size_t)p->n;
    for (size_t i = 0; i < m * n; i++)
        p->want[i] = p->size[i] = 0;
    for (int s = 0; s < p->terms; s++) {
        double *A = widened(p->A[s], p->ta[s], p->lda[s], p->m, p->k[s], bf16);
        double *B = widened(p->B[s], p->tb[s], p->ldb[s], p->k[s], p->n, bf16);
        size_t k = (size_t)p->k[s];
        for (size_t i = 0; i < m; i++)
            for (size_t l = 0; l < k; l++)
                for (size_t j = 0; j < n; j++) {
                    double x = A[i * k + l] * B[l * n + j];
                    p->want[i * n + j] += x;
                    p->size[i * n + j] += fabs(x);
                }
        test_free(A);
        test_free(B);
    }
    double alpha = (double)p->alpha;
    for (size_t i = 0; i < m * n; i++) {
        double bias = p->bias ? (double)p->bias[i % n] : 0;
        double add = p->start ? (double)p->start[i / n * (size_t)p->ldadd + i % n] : 0;
        p->want[i] = alpha * p->want[i] + bias + add;
        p->size[i] = fabs(alpha) * p->size[i] + fabs(bias) + fabs(add);
    }
}

/* An engine with just so much scratch, which ends at a fence. */
static fc_engine engine_of(int f, const fc_isa *isa, bool bf16, size_t bytes)
{
    return (fc_engine){isa, bf16, fence_last(&fences[f], bytes), bytes};
}

/* Rows row .. row + m - 1 of the product into C, with no more scratch than was promised. */
static void run(float *C, const product *p, int row, int m, const fc_isa *isa, bool bf16)
{
    fc_engine e = {.isa = isa, .bf16 = bf16};
    fc_operand a[2], b[2];
    fc_product q = {.C = C, .ldc = p->ldc, .m = m, .n = p->n, .alpha = p->alpha, .bias = p->bias};
    size_t at = (size_t)row;
    for (int s = 0; s < p->terms; s++) {
        const float *A = p->A[s] + at * (p->ta[s] ? 1 : (size_t)p->lda[s]), *B = p->B[s];
        int k = p->k[s], f = SCRATCH + 2 * s;
        if (p->how == MATMUL) {
            e = engine_of(f, isa, bf16, fc_matmul_bytes(&e, m, p->n, k));
            fc_matmul(&e, p->ta[s], p->tb[s], m, p->n, k, p->alpha, A, p->lda[s], B, p->ldb[s],
                      p->add_c, C, p->ldc);
            return;
        }
        fc_engine left = engine_of(f, isa, bf16, fc_left_bytes(&e, m, k));
        fc_engine right = engine_of(f + 1, isa, bf16, fc_right_bytes(&e, p->n, k));
        a[s] = fc_left(&left, p->ta[s], m, k, A, p->lda[s]);
        b[s] = p->how == DIRECT ? fc_right_direct(&right, p->n, k, B, p->ldb[s])
                                : fc_right(&right, p->tb[s], p->n, k, B, p->ldb[s]);
        q.A[s] = &a[s];
        q.B[s] = &b[s];
    }
    q.add = p->add_c ? C : p->add ? p->add + at * (size_t)p->ldadd : NULL;
    q.ldadd = p->ldadd;
    fc_multiply(&e, &q);
}

/* m rows of C as they are before the product: what is added to, or NaN. */
static float *result(const product *p, int row, int m)
{
    size_t n = (size_t)p->n, ld = (size_t)p->ldc;
    float *C = fence_last(&fences[RESULT], (((size_t)m - 1) * ld + n) * sizeof *C);
    for (size_t i = 0; p->add_c && i < (size_t)m; i++)
        memcpy(C + i * ld, p->start + ((size_t)row + i) * ld, n * sizeof *C);
    return C;
}

/* Nothing but the rows may be written. */
static void check_gaps(const float *C, const product *p)
{
    size_t n = (size_t)p->n, ld = (size_t)p->ldc, last = ((size_t)p->m - 1) * ld + n;
    assert_true(fence_kept(&fences[RESULT], last * sizeof *C));
    for (size_t i = 0; i + 1 < (size_t)p->m; i++)
        for (const char *c = (const char *)(C + i * ld + n); c < (const char *)(C + (i + 1) * ld);
             c++)
            assert_int_equal(*c, (char)0xff);
}

/* Each sum has k products and a few more operations (alpha, bias, add, and one more of each for
 * every block of k; bf16 in tiles adds the even and the odd ones apart). Whatever their order, the
 * error is at most gamma_N size, N their number (Higham 2002, section 3.1). The bf16 instructions
 * take denormals for zero, in operands (times a factor below 2^20 here) and in results. */
static void check_close(const float *C, const product *p, const char *what)
{
    double N = p->k[0] + (p->terms > 1 ? p->k[1] : 0) + 10, u = (double)FC_REAL_EPS / 2;
    double gamma = N * u / (1 - N * u);
    for (size_t i = 0; i < (size_t)p->m; i++)
        for (size_t j = 0; j < (size_t)p->n; j++) {
            size_t at = i * (size_t)p->n + j;
            double got = (double)C[i * (size_t)p->ldc + j], want = p->want[at];
            double allowed = p->exact ? 0 : gamma * p->size[at] + N * 0x1p-106;
            if (isnan(want) ? isnan(got) : isinf(want) ? got == want : false)
                continue;
            fc_close_at(got, want, 0, allowed, what, at, __FILE__, __LINE__);
        }
}

/* The bits of a row do not depend on the rows around it (core/linalg/isa.h). */
static void check_rows(const product *p, const fc_isa *isa, bool bf16, const float *all, fc_rng *g)
{
    size_t n = (size_t)p->n, ld = (size_t)p->ldc;
    int row = below(g, p->m), m = 1 + below(g, p->m - row);
    float *C = result(p, row, m);
    run(C, p, row, m, isa, bf16);
    for (size_t i = 0; i < (size_t)m; i++)
        assert_memory_equal(C + i * ld, all + ((size_t)row + i) * ld, n * sizeof *C);
}

static void check_product(int m, int n, int k, fc_rng *g)
{
    product p = product_new(m, n, k, g);
    size_t bytes = (((size_t)m - 1) * (size_t)p.ldc + (size_t)n) * sizeof(float);
    float *all = test_malloc(bytes);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        oracle(&p, bf16);
        for (int t = 0; t < tables; t++) {
            char what[200];
            snprintf(what, sizeof what, "%s %s, way %d, %d x %d x %d + %d, op %d%d %d%d",
                     table_name(table[t]), bf16 ? "bf16" : "float", p.how, m, n, k,
                     p.terms > 1 ? p.k[1] : 0, p.ta[0], p.tb[0], p.ta[1], p.tb[1]);
            float *C = result(&p, 0, m);
            run(C, &p, 0, m, table[t], bf16);
            check_close(C, &p, what);
            check_gaps(C, &p);
            memcpy(all, C, bytes);
            if (table[t]->panel)
                check_rows(&p, table[t], bf16, all, g);
        }
    }
    test_free(all);
    product_free(&p);
}

static void test_small_products(void **state)
{
    (void)state;
    fc_rng g = fc_rng_at((fc_key){.seed = 5, .stream = FC_STREAM_TEST});
    for (int i = 0; i < 2000; i++) {
        int m = 1 + below(&g, 70), n = 1 + below(&g, 100), k = 1 + below(&g, 200);
        check_product(m, n, below(&g, 2) ? k : 1 + k / 10, &g);
    }
}

/* Several blocks of k and of rows. */
static void test_large_products(void **state)
{
    (void)state;
    fc_rng g = fc_rng_at((fc_key){.seed = 6, .stream = FC_STREAM_TEST});
    for (int i = 0; i < 10; i++) {
        check_product(1 + below(&g, 40), 1 + below(&g, 70), 760 + below(&g, 1000), &g);
        check_product(100 + below(&g, 300), 1 + below(&g, 40), 500 + below(&g, 600), &g);
        check_product(500 + below(&g, 500), 1 + below(&g, 40), 100 + below(&g, 200), &g);
    }
    check_product(150, 33, 768, &g);
    check_product(150, 33, 769, &g);
    check_product(150, 33, 1536, &g);
}

/* ---- which kernel --------------------------------------------------------------------------- */

static int float_panels, bf16_panels;

static void count_float(const fc_panel *p)
{
    (void)p;
    float_panels++;
}

static void count_bf16(const fc_panel *p)
{
    (void)p;
    bf16_panels++;
}

/* The results above would be right, too, if bf16 were always emulated. */
static void test_kernel_in_use(void **state)
{
    (void)state;
    enum { M = 5, N = 70, K = 9 };
    static const float A[M * K], B[K * N];
    float C[M * N];
    for (int t = 0; t < tables; t++) {
        fc_isa isa = *table[t];
        if (!isa.panel)
            continue;
        isa.panel = count_float;
        isa.panel_bf16 = isa.panel_bf16 ? count_bf16 : NULL;
        for (int bf16 = 0; bf16 < 2; bf16++) {
            fc_engine e = {.isa = &isa, .bf16 = bf16};
            e = engine_of(SCRATCH, &isa, bf16, fc_matmul_bytes(&e, M, N, K));
            float_panels = bf16_panels = 0;
            fc_matmul(&e, false, false, M, N, K, 1, A, K, B, N, false, C, N);
            bool native = bf16 && isa.panel_bf16;
            assert_int_equal(bf16_panels, native ? 3 : 0);
            assert_int_equal(float_panels, native ? 0 : 3);
        }
    }
}

/* Views of a packed right operand give the products of the parts of the matrix; where a part cannot
 * be a view, that is said. */
static void test_views(void **state)
{
    (void)state;
    enum { M = 5, N = 96, K = 64, COLS = 40 };
    static float A[M * K], B[K * N], C[M * N], want[M * N];
    static _Alignas(64) char work[1 << 20];
    for (int i = 0; i < M * K; i++)
        A[i] = (float)(i % 7 - 3); /* sums are exact */
    for (int i = 0; i < K * N; i++)
        B[i] = (float)(i % 5 - 2);
    for (int t = 0; t < 2 * tables; t++) {
        bool bf16 = t % 2;
        fc_engine e = {.isa = table[t / 2], .bf16 = bf16, .work = work, .left = sizeof work};
        fc_operand b = fc_right(&e, false, N, K, B, N), view;
        for (int first = 0; first <= 64; first += 16) {
            int cols = N - first < COLS ? N - first : COLS;
            bool whole = fc_right_columns(&view, &e, &b, first);
            assert_int_equal(whole, !e.isa->panel || first % FC_PANEL == 0);
            fc_engine w = e;
            fc_operand a = fc_left(&w, false, M, K, A, K);
            fc_product p = {
                .C = C, .ldc = N, .m = M, .n = cols, .A = {&a}, .B = {&view}, .alpha = 1};
            if (whole)
                fc_multiply(&w, &p);
            for (int i = 0; whole && i < M * cols; i++) {
                float sum = 0;
                for (int k = 0; k < K; k++)
                    sum += A[i / cols * K + k] * B[k * N + first + i % cols];
                assert_true(C[i / cols * N + i % cols] == sum);
            }
        }
        for (int first = 0; first < K; first += 15) {
            int k = K - first < 32 ? K - first : 32;
            int unit = bf16 && e.isa->panel_bf16 ? e.isa->bf16_k : 1;
            bool whole = fc_right_rows(&view, &e, &b, first, k);
            assert_int_equal(whole, first % unit == 0 && k % unit == 0);
            fc_engine w = e;
            fc_operand a = fc_left(&w, false, M, k, A + first, K);
            fc_product p = {.C = C, .ldc = N, .m = M, .n = N, .A = {&a}, .B = {&view}, .alpha = 1};
            if (!whole)
                continue;
            fc_multiply(&w, &p);
            fc_gemm(false, false, M, N, k, 1, A + first, K, B + first * N, N, 0, want, N);
            assert_memory_equal(C, want, sizeof want);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gemm),           cmocka_unit_test(test_gram),
        cmocka_unit_test(test_small_products), cmocka_unit_test(test_large_products),
        cmocka_unit_test(test_kernel_in_use),  cmocka_unit_test(test_views)};
    for (int i = 0; i < FENCES; i++)
        fences[i] = fence_new(16 << 20);
    tables = usable_tables(table);
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
