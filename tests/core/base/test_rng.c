/* Random streams: Philox's published vector, keys, and the moments of every distribution. */
#include "core/base/rng.h"
#include "tests/support/close.h"

#include <Random123/philox.h>
#include <stdbool.h>

static fc_rng stream(uint32_t sample)
{
    return fc_rng_at((fc_key){.seed = 3, .stream = FC_STREAM_TEST, .sample = sample});
}

static void test_philox_known_answer(void **state)
{
    (void)state;
    /* Random123's kat_vectors, philox4x32 with 10 rounds */
    philox4x32_ctr_t c = {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}};
    philox4x32_key_t k = {{0xa4093822, 0x299f31d0}};
    philox4x32_ctr_t r = philox4x32(c, k);
    const uint32_t want[] = {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};
    for (int i = 0; i < 4; i++)
        assert_int_equal(r.v[i], want[i]);
}

static void test_every_key_field_counts(void **state)
{
    (void)state;
    const fc_key base = {1, FC_STREAM_TEST, 2, 3, 4, 5, 6};
    fc_key keys[9];
    for (int i = 0; i < 9; i++)
        keys[i] = base;
    keys[1].seed++;
    keys[2].seed += (uint64_t)1 << 32;
    keys[3].stream++;
    keys[4].task++;
    keys[5].round++;
    keys[6].client++;
    keys[7].epoch++;
    keys[8].sample++;
    uint32_t first[9][4];
    for (int i = 0; i < 9; i++) {
        fc_rng g = fc_rng_at(keys[i]), again = fc_rng_at(keys[i]);
        for (int j = 0; j < 4; j++) {
            first[i][j] = fc_rng_u32(&g);
            assert_int_equal(first[i][j], fc_rng_u32(&again));
        }
        for (int other = 0; other < i; other++)
            for (int j = 0; j < 4; j++)
                assert_int_not_equal(first[i][j], first[other][j]);
    }
}

/* Mean and variance of n draws against theory: the mean within 5 standard errors, the variance to
 * rtol. */
static void check_moments(const double *x, int n, double mean, double var, double rtol)
{
    double sum = 0, square = 0;
    for (int i = 0; i < n; i++)
        sum += x[i];
    for (int i = 0; i < n; i++)
        square += (x[i] - sum / n) * (x[i] - sum / n);
    assert_close(sum / n, mean, 0, 5 * sqrt(var / n));
    assert_close(square / n, var, rtol, 0);
}

enum { N = 20000 };

static void test_uniform_and_normal(void **state)
{
    (void)state;
    static double u[N], z[N];
    fc_rng g = stream(0);
    bool fine = false;
    for (int i = 0; i < N; i++) {
        u[i] = fc_rng_uniform(&g);
        assert_true(u[i] >= 0 && u[i] < 1);
        fine |= u[i] * 134217728 != floor(u[i] * 134217728); /* more than 27 bits */
        z[i] = fc_rng_normal(&g);
    }
    assert_true(fine);
    check_moments(u, N, 0.5, 1.0 / 12, 0.03);
    check_moments(z, N, 0, 1, 0.04);
}

static void test_gamma(void **state)
{
    (void)state;
    static double x[N];
    const double shapes[] = {0.05, 0.5, 1, 3.7};
    for (uint32_t s = 0; s < 4; s++) {
        fc_rng g = stream(10 + s);
        for (int i = 0; i < N; i++) {
            x[i] = fc_rng_gamma(&g, shapes[s]);
            assert_true(x[i] >= 0);
        }
        check_moments(x, N, shapes[s], shapes[s], 0.1);
    }
}

static void test_below_is_uniform(void **state)
{
    (void)state;
    fc_rng g = stream(20);
    int count[7] = {0};
    for (int i = 0; i < 7 * 2000; i++)
        count[fc_rng_below(&g, 7)]++;
    double chi2 = 0;
    for (int i = 0; i < 7; i++)
        chi2 += (count[i] - 2000.0) * (count[i] - 2000.0) / 2000;
    assert_true(chi2 < 22.5); /* 6 degrees of freedom, p = 0.001 */
    for (int i = 0; i < 100; i++)
        assert_int_equal(fc_rng_below(&g, 1), 0);
    /* n = 3 * 2^30: without rejection the lowest third would come up every second time */
    int low = 0;
    for (int i = 0; i < 3000; i++)
        low += fc_rng_below(&g, 3u << 30) < 1u << 30;
    assert_true(low > 870 && low < 1130); /* sd 26 */
}

static void test_dirichlet(void **state)
{
    (void)state;
    enum { K = 4, DRAWS = 5000 };
    const double a[K] = {0.05, 0.5, 1, 2.5};
    static double first[DRAWS];
    fc_rng g = stream(30);
    double sum_a = 4.05;
    for (int i = 0; i < DRAWS; i++) {
        double p[K], sum = 0;
        fc_rng_dirichlet(&g, p, a, K);
        for (int k = 0; k < K; k++) {
            assert_true(p[k] >= 0 && p[k] <= 1);
            sum += p[k];
        }
        assert_close(sum, 1, 0, 1e-12);
        first[i] = p[3];
    }
    double m = 2.5 / sum_a;
    check_moments(first, DRAWS, m, m * (1 - m) / (sum_a + 1), 0.1);
}

static void test_dirichlet_survives_underflow(void **state)
{
    (void)state;
    /* With a concentration of 1e-4 nearly every gamma underflows to 0. */
    const double a[3] = {1e-4, 1e-4, 1e-4};
    fc_rng g = stream(31);
    for (int i = 0; i < 200; i++) {
        double p[3];
        fc_rng_dirichlet(&g, p, a, 3);
        assert_close(p[0] + p[1] + p[2], 1, 0, 1e-12);
    }
}

static void test_shuffle(void **state)
{
    (void)state;
    /* All 6 orders of 3 things, equally often. */
    fc_rng g = stream(40);
    int count[27] = {0};
    for (int i = 0; i < 6000; i++) {
        uint32_t x[3] = {0, 1, 2};
        fc_rng_shuffle(&g, x, 3);
        count[9 * x[0] + 3 * x[1] + x[2]]++;
    }
    int seen = 0;
    for (int i = 0; i < 27; i++)
        if (count[i]) {
            assert_true(count[i] > 850 && count[i] < 1150); /* sd 29 */
            seen++;
        }
    assert_int_equal(seen, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox_known_answer),
        cmocka_unit_test(test_every_key_field_counts),
        cmocka_unit_test(test_uniform_and_normal),
        cmocka_unit_test(test_gamma),
        cmocka_unit_test(test_below_is_uniform),
        cmocka_unit_test(test_dirichlet),
        cmocka_unit_test(test_dirichlet_survives_underflow),
        cmocka_unit_test(test_shuffle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
