/* Gradient of every kernel against central differences, in double. The scalar that is
 * differentiated is sum_i c_i y_i with fixed random c; its gradient by y is c. */
#include "core/base/rng.h"
#include "core/vit/kernels.h"
#include "tests/support/close.h"
#include "tests/support/engine.h"

#include <string.h>

enum { ROWS = 5, OUT = 7, IN = 6, RANK = 3, HEADS = 2, D_HEAD = 3, D = HEADS * D_HEAD };

/* An input of the kernel under test, and its gradient. */
typedef struct variable {
    const char *name;
    fc_real *p;
    const fc_real *grad;
    int n;
} variable;

static void fill(fc_real *p, int n, uint32_t sample)
{
    fc_rng g = fc_rng_at((fc_key){.seed = 5, .stream = FC_STREAM_TEST, .sample = sample});
    for (int i = 0; i < n; i++)
        p[i] = fc_rng_normal(&g);
}
#define FILL(array, sample) fill(array, (int)(sizeof(array) / sizeof *(array)), sample)
#define VARIABLE(array, grad)                                                                      \
    {                                                                                              \
#array, array, grad, (int)(sizeof(array) / sizeof *(array))                                \
    }

static double dot(const fc_real *a, const fc_real *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* f(ctx) is the scalar; differences of h = 1e-5 leave errors of about h^2 = 1e-10. */
static void check(double (*f)(void *), void *ctx, const variable *v, int n)
{
    const double h = 1e-5;
    for (int i = 0; i < n; i++) {
        double largest = 0;
        int identical = 0;
        for (int j = 0; j < v[i].n; j++) {
            fc_real kept = v[i].p[j];
            v[i].p[j] = kept + h;
            double up = f(ctx);
            v[i].p[j] = kept - h;
            double down = f(ctx);
            v[i].p[j] = kept;
            double quotient = (up - down) / (2 * h);
            fc_close_at(v[i].grad[j], quotient, 1e-6, 1e-9, v[i].name, (size_t)j, __FILE__,
                        __LINE__);
            largest = fmax(largest, fabs(quotient));
            identical += v[i].grad[j] == quotient;
        }
        assert_true(largest > 1e-3 && identical < v[i].n);
    }
}

/* ---- linear ------------------------------------------------------------------------------- */

typedef struct linear_ctx {
    fc_real x[ROWS * IN], W[OUT * IN], b[OUT], A[RANK * IN], B[OUT * RANK];
    fc_real c[ROWS * OUT], y[ROWS * OUT], xa[ROWS * RANK];
    fc_linear l;
} linear_ctx;

static double linear_sum(void *p)
{
    linear_ctx *t = p;
    fc_linear_forward(&engine, t->y, t->xa, &t->l, t->x, NULL, ROWS);
    return dot(t->c, t->y, ROWS * OUT);
}

static void check_linear(double scale, int rank)
{
    linear_ctx t;
    FILL(t.x, 1);
    FILL(t.W, 2);
    FILL(t.b, 3);
    FILL(t.A, 4);
    FILL(t.B, 5);
    FILL(t.c, 6);
    t.l = (fc_linear){.d_in = IN,
                      .d_out = OUT,
                      .rank = rank,
                      .W = t.W,
                      .b = t.b,
                      .A = t.A,
                      .B = t.B,
                      .scale = scale};
    fc_real dx[ROWS * IN], dW[OUT * IN] = {0}, db[OUT] = {0}, dA[RANK * IN] = {0};
    fc_real dB[OUT * RANK] = {0};
    linear_sum(&t);
    fc_linear_grads g = {dW, db, rank ? dA : NULL, rank ? dB : NULL};
    fc_linear_backward(&engine, dx, &g, &t.l, t.c, t.x, t.xa, ROWS);
    const variable v[] = {VARIABLE(t.x, dx), VARIABLE(t.W, dW), VARIABLE(t.b, db),
                          VARIABLE(t.A, dA), VARIABLE(t.B, dB)};
    check(linear_sum, &t, v, rank ? 5 : 3);
}

static void test_linear(void **state)
{
    (void)state;
    check_linear(1, 0);
    check_linear(1, RANK);
    check_linear(-0.4, RANK);
}

/* ---- layer normalisation ------------------------------------------------------------------ */

typedef struct norm_ctx {
    fc_real x[ROWS * D], w[D], b[D], c[ROWS * D], y[ROWS * D], stat[2 * ROWS];
} norm_ctx;

static double norm_sum(void *p)
{
    norm_ctx *t = p;
    fc_norm l = {D, t->w, t->b};
    fc_norm_forward(&engine, t->y, t->stat, &l, t->x, ROWS);
    return dot(t->c, t->y, ROWS * D);
}

static void test_norm(void **state)
{
    (void)state;
    norm_ctx t;
    FILL(t.x, 1);
    FILL(t.w, 2);
    FILL(t.b, 3);
    FILL(t.c, 4);
    fc_real dx[ROWS * D] = {0}, dw[D] = {0}, db[D] = {0};
    norm_sum(&t);
    fc_norm_backward(&engine, dx, dw, db, &(fc_norm){D, t.w, t.b}, t.c, t.x, t.stat, ROWS);
    const variable v[] = {VARIABLE(t.x, dx), VARIABLE(t.w, dw), VARIABLE(t.b, db)};
    check(norm_sum, &t, v, 3);
}

/* ---- GELU --------------------------------------------------------------------------------- */

typedef struct gelu_ctx {
    fc_real x[50], c[50], y[50];
} gelu_ctx;

static double gelu_sum(void *p)
{
    gelu_ctx *t = p;
    fc_gelu_forward(&engine, t->y, t->x, 50);
    return dot(t->c, t->y, 50);
}

static void test_gelu(void **state)
{
    (void)state;
    gelu_ctx t;
    FILL(t.x, 1);
    FILL(t.c, 2);
    fc_real dx[50];
    memcpy(dx, t.c, sizeof dx);
    fc_gelu_backward(&engine, dx, t.x, 50);
    check(gelu_sum, &t, (variable[]){VARIABLE(t.x, dx)}, 1);
}

/* ---- attention (with its softmax) --------------------------------------------------------- */

typedef struct attention_ctx {
    fc_real qkv[ROWS * 3 * D], c[ROWS * D], y[ROWS * D], P[HEADS * ROWS * ROWS];
} attention_ctx;

static double attention_sum(void *p)
{
    attention_ctx *t = p;
    fc_attention_forward(&engine, t->y, t->P, t->qkv, ROWS, ROWS, HEADS, D_HEAD);
    return dot(t->c, t->y, ROWS * D);
}

static void test_attention(void **state)
{
    (void)state;
    attention_ctx t;
    FILL(t.qkv, 1);
    FILL(t.c, 2);
    fc_real dqkv[ROWS * 3 * D];
    attention_sum(&t);
    fc_attention_backward(&engine, dqkv, t.c, t.qkv, t.P, ROWS, ROWS, HEADS, D_HEAD);
    check(attention_sum, &t, (variable[]){VARIABLE(t.qkv, dqkv)}, 1);
}

/* ---- tokens ------------------------------------------------------------------------------- */

enum { IMAGES = 2 };
typedef struct tokens_ctx {
    fc_real emb[IMAGES * (ROWS - 1) * D], cls[D], pos[ROWS * D], c[IMAGES * ROWS * D];
    fc_real y[IMAGES * ROWS * D];
} tokens_ctx;

static double tokens_sum(void *p)
{
    tokens_ctx *t = p;
    fc_tokens_forward(t->y, t->emb, t->cls, t->pos, IMAGES, ROWS, D);
    return dot(t->c, t->y, IMAGES * ROWS * D);
}

static void test_tokens(void **state)
{
    (void)state;
    tokens_ctx t;
    FILL(t.emb, 1);
    FILL(t.cls, 2);
    FILL(t.pos, 3);
    FILL(t.c, 4);
    fc_real demb[IMAGES * (ROWS - 1) * D], dcls[D] = {0}, dpos[ROWS * D] = {0};
    fc_tokens_backward(demb, dcls, dpos, t.c, IMAGES, ROWS, D);
    const variable v[] = {VARIABLE(t.emb, demb), VARIABLE(t.cls, dcls), VARIABLE(t.pos, dpos)};
    check(tokens_sum, &t, v, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear), cmocka_unit_test(test_norm),
        cmocka_unit_test(test_gelu),   cmocka_unit_test(test_attention),
        cmocka_unit_test(test_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
