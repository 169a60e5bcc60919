/* Mean and spread, and Student's t, against published quantiles and closed forms. */
#include "core/base/mean.h"

#include "tests/support/close.h"

#include <math.h>

static void test_mean_of(void **state)
{
    (void)state;
    fc_mean s = fc_mean_of((double[]){28.45, 27.15, NAN, 25.00}, 4);
    assert_int_equal(s.n, 3);
    assert_close(s.mean, 26.866666666666667, 0, 1e-12);
    assert_close(s.sd, sqrt(3.0358333333333333), 0, 1e-9);
    assert_close(s.ci95, 4.30265272975 * sqrt(3.0358333333333333) / sqrt(3), 0, 1e-9);
    s = fc_mean_of((double[]){5}, 1);
    assert_true(s.n == 1 && s.mean == 5 && isnan(s.sd) && isnan(s.ci95));
    s = fc_mean_of((double[]){NAN}, 1);
    assert_true(s.n == 0 && isnan(s.mean));
}

/* NIST/SEMATECH e-Handbook, table of critical values of Student's t, to its three digits; and
 * longer digits of the usual ones. */
static void test_quantiles(void **state)
{
    (void)state;
    const struct {
        double p, df, t, tol;
    } want[] = {{0.975, 1, 12.7062047362, 1e-9}, {0.975, 2, 4.30265272975, 1e-9},
                {0.975, 4, 2.7764451052, 1e-9},  {0.95, 10, 1.812, 5e-4},
                {0.995, 30, 2.750, 5e-4},        {0.975, 1e6, 1.95996635682, 1e-9}};
    for (int i = 0; i < 6; i++) {
        assert_close(fc_student_quantile(want[i].p, want[i].df), want[i].t, want[i].tol, 0);
        assert_close(fc_student_quantile(1 - want[i].p, want[i].df), -want[i].t, want[i].tol + 1e-9,
                     1e-9);
    }
    assert_true(fc_student_quantile(0.5, 3) == 0);
}

/* df = 1 is Cauchy's distribution, df = 2 has a closed form. */
static void test_tails(void **state)
{
    (void)state;
    for (double t = 0.01; t < 1000; t *= 3) {
        assert_close(fc_student_tails(t, 1), 1 - 2 / M_PI * atan(t), 1e-12, 1e-12);
        assert_close(fc_student_tails(-t, 2), 1 - t / sqrt(2 + t * t), 1e-12, 1e-12);
    }
    assert_true(fc_student_tails(0, 5) == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mean_of),
                                       cmocka_unit_test(test_quantiles),
                                       cmocka_unit_test(test_tails)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
