/* Every kernel against its definition, written as plain loops in double, on odd shapes. */
#include "core/base/arena.h"
#include "core/base/rng.h"
#include "core/vit/kernels.h"
#include "tests/support/close.h"
#include "tests/support/engine.h"

#include <string.h>

/* Inputs are in [-1, 1] and sums have at most 300 terms: a few times 300 eps. */
static const double tol = 1e-4;

static fc_arena arena; /* of one test */

static int teardown(void **state)
{
    (void)state;
    fc_arena_free(&arena);
    return 0;
}

static double *zeros(size_t n)
{
    return fc_arena_alloc(&arena, n, sizeof(double), NULL);
}

static fc_real *blank(size_t n)
{
    return fc_arena_alloc(&arena, n, sizeof(fc_real), NULL);
}

/* n numbers in [-width, width]; the same for the same sample. */
static fc_real *filled(size_t n, uint32_t sample, double width)
{
    fc_real *p = blank(n);
    fc_rng g = fc_rng_at((fc_key){.seed = 11, .stream = FC_STREAM_TEST, .sample = sample});
    for (size_t i = 0; i < n; i++)
        p[i] = (fc_real)(width * (2 * fc_rng_uniform(&g) - 1));
    return p;
}

/* got must be times * want + start: gradients are added to what is there. */
static void check_added(const fc_real *got, const double *want, size_t n, int times,
                        const char *name)
{
    for (size_t i = 0; i < n; i++)
        fc_close_at((double)got[i], times * want[i], 0, tol, name, i, __FILE__, __LINE__);
}

/* ---- linear ------------------------------------------------------------------------------- */

typedef struct linear_case {
    fc_linear l;
    size_t n;
    const fc_real *x, *dy, *res;
    double *y, *dx, *dW, *db, *dA, *dB; /* wanted; y without res */
} linear_case;

/* The definition, with the weight W + scale B A that the factored form stands for. */
static void linear_oracle(linear_case *c)
{
    const fc_linear *l = &c->l;
    size_t O = (size_t)l->d_out, D = (size_t)l->d_in, R = (size_t)l->rank;
    double scale = (double)l->scale;
    for (size_t o = 0; o < O; o++)
        for (size_t d = 0; d < D; d++) {
            double weight = (double)l->W[o * D + d], g = 0;
            for (size_t r = 0; r < R; r++)
                weight += scale * (double)l->B[o * R + r] * (double)l->A[r * D + d];
            for (size_t i = 0; i < c->n; i++) {
                c->y[i * O + o] += weight * (double)c->x[i * D + d];
                c->dx[i * D + d] += weight * (double)c->dy[i * O + o];
                g += (double)c->dy[i * O + o] * (double)c->x[i * D + d];
            }
            c->dW[o * D + d] = g;
            for (size_t r = 0; r < R; r++) {
                c->dA[r * D + d] += scale * (double)l->B[o * R + r] * g;
                c->dB[o * R + r] += scale * g * (double)l->A[r * D + d];
            }
        }
    for (size_t i = 0; i < c->n * O; i++) {
        c->y[i] += (double)l->b[i % O];
        c->db[i % O] += (double)c->dy[i];
    }
}

static linear_case linear_new(int n, int d_out, int d_in, int rank)
{
    size_t N = (size_t)n, O = (size_t)d_out, D = (size_t)d_in, R = (size_t)rank;
    linear_case c = {.l = {.d_in = d_in,
                           .d_out = d_out,
                           .rank = rank,
                           .W = filled(O * D, 1, 1),
                           .b = filled(O, 2, 1),
                           .A = filled(R * D, 3, 1),
                           .B = filled(O * R, 4, 1),
                           .scale = (fc_real)0.7},
                     .n = N,
                     .x = filled(N * D, 5, 1),
                     .dy = filled(N * O, 6, 1),
                     .res = filled(N * O, 7, 1),
                     .y = zeros(N * O),
                     .dx = zeros(N * D),
                     .dW = zeros(O * D),
                     .db = zeros(O),
                     .dA = zeros(R * D),
                     .dB = zeros(O * R)};
    linear_oracle(&c);
    return c;
}

static void check_linear(int n, int d_out, int d_in, int rank)
{
    linear_case c = linear_new(n, d_out, d_in, rank);
    size_t N = (size_t)n, O = (size_t)d_out, D = (size_t)d_in, R = (size_t)rank;
    fc_real *y = blank(N * O), *xa = blank(N * R), *dx = blank(N * D);
    fc_linear_forward(&engine, y, xa, &c.l, c.x, NULL, n);
    assert_all_close(y, c.y, N * O, 0, tol);
    memcpy(y, c.res, N * O * sizeof *y);
    fc_linear_forward(&engine, y, xa, &c.l, c.x, y, n); /* residual in place */
    for (size_t i = 0; i < N * O; i++)
        assert_close(y[i], c.y[i] + (double)c.res[i], 0, tol);

    fc_linear_grads g = {blank(O * D), blank(O), blank(R * D), blank(O * R)};
    if (rank == 0)
        g.A = g.B = NULL;
    for (int times = 1; times <= 2; times++) {
        fc_linear_backward(&engine, dx, &g, &c.l, c.dy, c.x, xa, n);
        check_added(dx, c.dx, N * D, 1, "dx");
        check_added(g.W, c.dW, O * D, times, "dW");
        check_added(g.b, c.db, O, times, "db");
        check_added(g.A, c.dA, R * D, times, "dA");
        check_added(g.B, c.dB, O * R, times, "dB");
    }
    if (rank == 0)
        return;
    /* One alone: the same gradient, and what it does not need is not read. */
    fc_linear_grads only_A = {.A = blank(R * D)}, only_B = {.B = blank(O * R)};
    fc_linear_backward(&engine, NULL, &only_A, &c.l, c.dy, c.x, NULL, n);
    check_added(only_A.A, c.dA, R * D, 1, "dA alone");
    fc_linear_backward(&engine, NULL, &only_B, &c.l, c.dy, NULL, xa, n);
    check_added(only_B.B, c.dB, O * R, 1, "dB alone");
}

static void test_linear(void **state)
{
    (void)state;
    static const int shapes[][4] = {{1, 1, 1, 0}, {1, 5, 3, 1}, {7, 3, 17, 2}, {37, 29, 13, 5}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check_linear(shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][3]);
}

/* ---- layer normalisation ------------------------------------------------------------------ */

static void check_norm(int n, int d)
{
    size_t N = (size_t)n, D = (size_t)d;
    const fc_real *x = filled(N * D, 1, 3), *dy = filled(N * D, 2, 1);
    fc_norm l = {d, filled(D, 3, 1), filled(D, 4, 1)};
    double *want = zeros(N * D), *want_dx = zeros(N * D), *want_dw = zeros(D), *want_db = zeros(D);
    for (size_t i = 0; i < N; i++) {
        double mean = 0, var = 0;
        for (size_t j = 0; j < D; j++)
            mean += (double)x[i * D + j] / d;
        for (size_t j = 0; j < D; j++)
            var += ((double)x[i * D + j] - mean) * ((double)x[i * D + j] - mean) / d;
        double s = 1 / sqrt(var + 1e-6);
        for (size_t j = 0; j < D; j++) {
            double xj = ((double)x[i * D + j] - mean) * s;
            want[i * D + j] = xj * (double)l.w[j] + (double)l.b[j];
            want_dw[j] += (double)dy[i * D + j] * xj;
            want_db[j] += (double)dy[i * D + j];
            for (size_t k = 0; k < D; k++) { /* the Jacobian, element by element */
                double xk = ((double)x[i * D + k] - mean) * s;
                double J = s * ((double)(j == k) - 1.0 / d - xj * xk / d);
                want_dx[i * D + j] += (double)dy[i * D + k] * (double)l.w[k] * J;
            }
        }
    }
    fc_real *y = blank(N * D), *stat = blank(2 * N), *dx = blank(N * D), *dw = blank(D);
    fc_real *db = blank(D);
    fc_norm_forward(&engine, y, stat, &l, x, n);
    assert_all_close(y, want, N * D, 0, tol);
    for (int times = 1; times <= 2; times++) {
        fc_norm_backward(&engine, dx, dw, db, &l, dy, x, stat, n);
        check_added(dx, want_dx, N * D, times, "dx");
        check_added(dw, want_dw, D, times, "dw");
        check_added(db, want_db, D, times, "db");
    }
}

static void test_norm(void **state)
{
    (void)state;
    static const int shapes[][2] = {{1, 2}, {3, 5}, {2, 16}, {5, 37}, {4, 192}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check_norm(shapes[i][0], shapes[i][1]);
}

/* ---- GELU and softmax --------------------------------------------------------------------- */

static void test_gelu(void **state)
{
    (void)state;
    size_t n = 100003;
    fc_real *x = filled(n, 1, 12), *y = blank(n), *dy = blank(n);
    x[0] = 0;
    for (size_t i = 0; i < n; i++)
        dy[i] = 1;
    fc_gelu_forward(&engine, y, x, n);
    fc_gelu_backward(&engine, dy, x, n);
    fc_real *same = blank(n), *derivative = blank(n), *twice = blank(n);
    for (size_t i = 0; i < n; i++) {
        derivative[i] = x[i];
        twice[i] = 2;
    }
    fc_gelu_forward_derivative(&engine, same, derivative, n);
    fc_multiply_elements(&engine, twice, derivative, n);
    for (size_t i = 0; i < n; i++) {
        assert_true(same[i] == y[i] && derivative[i] == dy[i] && twice[i] == 2 * dy[i]);
        double v = (double)x[i], cdf = 0.5 * erfc(-v / sqrt(2.0));
        double density = exp(-v * v / 2) / sqrt(2 * 3.14159265358979323846);
        /* error of the distribution function, and rounding of the result */
        assert_close(y[i], v * cdf, 1.2e-7, 2e-7 * fabs(v));
        assert_close(dy[i], cdf + v * density, 1.2e-7, 5e-7);
    }
    x[0] = NAN;
    x[1] = INFINITY;
    fc_gelu_forward(&engine, y, x, 2);
    assert_true(isnan(y[0]) && isinf(y[1]));
}

static void test_softmax(void **state)
{
    (void)state;
    static const int widths[] = {1, 2, 15, 16, 17, 37, 65};
    for (size_t k = 0; k < sizeof widths / sizeof *widths; k++) {
        int n = 3;
        size_t d = (size_t)widths[k];
        fc_real *z = filled(3 * d, 1, 40);
        z[d - 1] = 300; /* overflows unless the maximum at the very end is found */
        double *want = zeros(3 * d);
        for (size_t i = 0; i < 3; i++) {
            double sum = 0;
            for (size_t j = 0; j < d; j++)
                sum += exp((double)z[i * d + j]);
            for (size_t j = 0; j < d; j++)
                want[i * d + j] = exp((double)z[i * d + j]) / sum;
        }
        fc_softmax(&engine, z, n, (int)d);
        /* z - max is rounded, at most 85 in size */
        assert_all_close(z, want, 3 * d, 85 * (double)FC_REAL_EPS, 1e-37);
    }
    fc_real far[3] = {-1e30f, 0, -200}, bad[3] = {0, NAN, 1};
    fc_softmax(&engine, far, 1, 3);
    assert_close(far[0], 0, 0, 1e-37);
    assert_close(far[1], 1, 0, 0);
    fc_softmax(&engine, bad, 1, 3);
    assert_true(isnan(bad[0]) && isnan(bad[1]) && isnan(bad[2]));
}

/* ---- attention ---------------------------------------------------------------------------- */

static void check_attention(int tokens, int heads, int d_head)
{
    size_t T = (size_t)tokens, H = (size_t)heads, K = (size_t)d_head, D = H * K;
    const fc_real *qkv = filled(T * 3 * D, 1, 2), *dout = filled(T * D, 2, 1);
    double *P = zeros(H * T * T), *out = zeros(T * D), *dqkv = zeros(T * 3 * D), *dP = zeros(T);
    double scale = 1 / sqrt((double)K);
#define AT(i, part) ((i)*3 * D + (part)*D + h * K + k)
    for (size_t h = 0; h < H; h++)
        for (size_t i = 0; i < T; i++) {
            double *p = P + (h * T + i) * T, sum = 0;
            for (size_t j = 0; j < T; j++) {
                for (size_t k = 0; k < K; k++)
                    p[j] += scale * (double)qkv[AT(i, 0)] * (double)qkv[AT(j, 1)];
                sum += p[j] = exp(p[j]);
            }
            for (size_t j = 0; j < T; j++) {
                p[j] /= sum;
                dP[j] = 0;
                for (size_t k = 0; k < K; k++) {
                    out[i * D + h * K + k] += p[j] * (double)qkv[AT(j, 2)];
                    dP[j] += (double)dout[i * D + h * K + k] * (double)qkv[AT(j, 2)];
                    dqkv[AT(j, 2)] += p[j] * (double)dout[i * D + h * K + k];
                }
            }
            for (size_t j = 0; j < T; j++) {
                double dS = 0;
                for (size_t l = 0; l < T; l++)
                    dS += dP[l] * p[l] * ((double)(j == l) - p[j]);
                for (size_t k = 0; k < K; k++) {
                    dqkv[AT(i, 0)] += scale * dS * (double)qkv[AT(j, 1)];
                    dqkv[AT(j, 1)] += scale * dS * (double)qkv[AT(i, 0)];
                }
            }
        }
#undef AT
    fc_real *got_P = blank(H * T * T), *got = blank(T * D), *got_d = blank(T * 3 * D);
    fc_attention_forward(&engine, got, got_P, qkv, tokens, tokens, heads, d_head);
    assert_all_close(got_P, P, H * T * T, 0, tol);
    assert_all_close(got, out, T * D, 0, tol);
    fc_attention_backward(&engine, got_d, dout, qkv, got_P, tokens, tokens, heads, d_head);
    assert_all_close(got_d, dqkv, T * 3 * D, 0, tol);
}

static void test_attention(void **state)
{
    (void)state;
    static const int shapes[][3] = {{1, 1, 1}, {2, 3, 1}, {5, 2, 7}, {37, 3, 16}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check_attention(shapes[i][0], shapes[i][1], shapes[i][2]);
}

/* ---- tokens ------------------------------------------------------------------------------- */

static void test_patches(void **state)
{
    (void)state;
    enum { N = 2, IMAGE = 6, PATCH = 3, GRID = 2, COLS = 3 * PATCH * PATCH };
    const fc_real *x = filled(N * 3 * IMAGE * IMAGE, 1, 1);
    fc_real *cols = blank(N * GRID * GRID * COLS);
    fc_patches(cols, x, N, IMAGE, PATCH);
    for (int i = 0; i < N; i++)
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < IMAGE; y++)
                for (int z = 0; z < IMAGE; z++) {
                    int row = (i * GRID + y / PATCH) * GRID + z / PATCH;
                    int col = (c * PATCH + y % PATCH) * PATCH + z % PATCH;
                    fc_real pixel = x[((i * 3 + c) * IMAGE + y) * IMAGE + z];
                    assert_true(cols[row * COLS + col] == pixel);
                }
}

static void test_tokens(void **state)
{
    (void)state;
    enum { N = 3, T = 5, D = 7 };
    const fc_real *emb = filled(N * (T - 1) * D, 1, 1), *cls = filled(D, 2, 1);
    const fc_real *pos = filled(T * D, 3, 1), *dx = filled(N * T * D, 4, 1);
    fc_real *x = blank(N * T * D), *demb = blank(N * (T - 1) * D), *dcls = blank(D);
    fc_real *dpos = blank(T * D);
    double *want_cls = zeros(D), *want_pos = zeros(T * D);
    fc_tokens_forward(x, emb, cls, pos, N, T, D);
    fc_tokens_backward(demb, dcls, dpos, dx, N, T, D);
    for (int i = 0; i < N; i++)
        for (int t = 0; t < T; t++)
            for (int d = 0; d < D; d++) {
                int at = (i * T + t) * D + d, from = (i * (T - 1) + t - 1) * D + d;
                assert_true(x[at] == (t ? emb[from] : cls[d]) + pos[t * D + d]);
                assert_true(t == 0 || demb[from] == dx[at]);
                want_cls[d] += t ? 0 : (double)dx[at];
                want_pos[t * D + d] += (double)dx[at];
            }
    check_added(dcls, want_cls, D, 1, "dcls");
    check_added(dpos, want_pos, T * D, 1, "dpos");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_linear, teardown),
        cmocka_unit_test_teardown(test_norm, teardown),
        cmocka_unit_test_teardown(test_gelu, teardown),
        cmocka_unit_test_teardown(test_softmax, teardown),
        cmocka_unit_test_teardown(test_attention, teardown),
        cmocka_unit_test_teardown(test_patches, teardown),
        cmocka_unit_test_teardown(test_tokens, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
