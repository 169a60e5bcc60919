/* Masked losses and prediction. */
#include "core/vit/head.h"
#include "tests/support/golden.h"

enum { N = 3, C = 5, LO = 1, HI = 4 };
static const fc_real logits[N * C] = {9, 1, 2, 3, -7, 0, -1, 0.5, 0.25, 8, 2, 2, 2, 2, 2};
static const int labels[N] = {2, 1, 3};

/* The textbook formula on the slices (1, 2, 3), (-1, 1/2, 1/4), (2, 2, 2) with labels 1, 0, 2. */
static void test_loss_and_gradient(void **state)
{
    (void)state;
    fc_real d[N * C];
    double loss = fc_ce(d, logits, labels, N, C, LO, HI, 12), want = 0;
    for (int i = 0; i < N; i++) {
        double sum = 0;
        for (int c = LO; c < HI; c++)
            sum += exp((double)logits[i * C + c]);
        want += log(sum) - (double)logits[i * C + labels[i]];
        for (int c = 0; c < C; c++) {
            double p = exp((double)logits[i * C + c]) / sum - (c == labels[i]);
            assert_close(d[i * C + c], c >= LO && c < HI ? p / 12 : 0, 1e-6, 0);
        }
    }
    assert_close(loss, want, 1e-14, 0);
    assert_true(fc_ce(NULL, logits, labels, N, C, LO, HI, 12) == loss);
}

static void test_slices_of_a_batch_add_up(void **state)
{
    (void)state;
    fc_real whole[N * C], part[N * C];
    double loss = fc_ce(whole, logits, labels, N, C, LO, HI, N);
    double parts = fc_ce(part, logits, labels, 2, C, LO, HI, N) +
                   fc_ce(part + 2 * C, logits + 2 * C, labels + 2, 1, C, LO, HI, N);
    assert_close(parts, loss, 1e-15, 0);
    for (int i = 0; i < N * C; i++)
        assert_true(whole[i] == part[i]);
}

static void test_extremes(void **state)
{
    (void)state;
    const fc_real far[3] = {-3000, 3000, 0}, bad[3] = {0, NAN, 1};
    fc_real d[3];
    assert_close(fc_ce(d, far, (int[]){0}, 1, 3, 0, 3, 1), 6000, 1e-15, 0);
    assert_close(d[0], -1, 0, 0);
    assert_close(d[1], 1, 0, 0);
    assert_true(isnan(fc_ce(d, bad, (int[]){0}, 1, 3, 0, 3, 1)));
}

static void test_entropy_golden(void **state)
{
    (void)state;
    gold g = gold_open("loss_entropy");
    const gold_tensor *in = gold_get(&g, "in.logits");
    int n = in->dim[0], classes = in->dim[1];
    fc_real *z = calloc(in->n, sizeof *z);
    for (size_t e = 0; e < in->n; e++)
        z[e] = (fc_real)in->v[e];
    assert_close(gold_scalar(&g, "param.eps"), 1e-8, 0, 0);
    assert_close(fc_entropy(NULL, z, n, classes, 0, classes, n) / n, gold_scalar(&g, "out.loss"),
                 10 * FC_REAL_EPS, 1e-14);
    free(z);
    gold_close(&g);
}

/* Equal logits have the largest entropy there is, log 3; slices add up; gradient against central
 * differences. */
static void test_entropy_gradient(void **state)
{
    (void)state;
    fc_real d[N * C], part[2 * C], z[N * C];
    double loss = fc_entropy(d, logits, N, C, LO, HI, 12), one[N];
    for (int i = 0; i < N; i++)
        one[i] = fc_entropy(NULL, logits + i * C, 1, C, LO, HI, 1);
    assert_close(one[2], -log(1 / 3. + 1e-8), 1e-14, 0);
    assert_close(loss, one[0] + one[1] + one[2], 1e-14, 0);
    assert_close(fc_entropy(part, logits, 2, C, LO, HI, 12), one[0] + one[1], 1e-14, 0);
    assert_memory_equal(part, d, sizeof part);
    const fc_real h = (fc_real)pow(FC_REAL_EPS, 1 / 3.);
    for (int e = 0; e < N * C; e++) {
        memcpy(z, logits, sizeof z);
        z[e] += h;
        double up = fc_entropy(NULL, z, N, C, LO, HI, 1), step = (double)z[e];
        z[e] = logits[e] - h;
        double down = fc_entropy(NULL, z, N, C, LO, HI, 1);
        step -= (double)z[e];
        assert_close(d[e], (up - down) / step / 12, 0, 2 * (double)(h * h));
    }
    assert_true(fabs(d[1]) > 1e-3 && d[0] == 0 && d[4] == 0 && d[5] == 0);
}

/* Probabilities of 0 and 1 are finite; NaN is not hidden. */
static void test_entropy_extremes(void **state)
{
    (void)state;
    const fc_real far[3] = {-3000, 3000, 0}, bad[3] = {0, NAN, 1};
    fc_real d[3];
    assert_close(fc_entropy(d, far, 1, 3, 0, 3, 1), 0, 0, 2e-8);
    assert_all_close(d, ((double[]){0, 0, 0}), 3, 0, 1e-12);
    assert_true(isnan(fc_entropy(d, bad, 1, 3, 0, 3, 1)));
}

static void test_argmax(void **state)
{
    (void)state;
    const fc_real z[6] = {9, 1, 5, 5, -2, 8};
    assert_int_equal(fc_argmax(z, 0, 6), 0);
    assert_int_equal(fc_argmax(z, 1, 5), 2); /* the first of equals */
    assert_int_equal(fc_argmax(z, 4, 5), 4);
    assert_int_equal(fc_argmax(z, 3, 6), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loss_and_gradient),
        cmocka_unit_test(test_slices_of_a_batch_add_up),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_entropy_golden),
        cmocka_unit_test(test_entropy_gradient),
        cmocka_unit_test(test_entropy_extremes),
        cmocka_unit_test(test_argmax),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
