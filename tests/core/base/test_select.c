/* Order statistics against a sort. */
#include "core/base/rng.h"
#include "core/base/select.h"
#include "tests/support/close.h"

#include <string.h>

static int compare(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void test_select(void **state)
{
    (void)state;
    enum { N = 257 };
    fc_rng g = fc_rng_at((fc_key){.seed = 11, .stream = FC_STREAM_TEST});
    double x[N], sorted[N], work[N];
    for (int kind = 0; kind < 5; kind++)
        for (size_t n = 1; n <= N; n += n < 9 ? 1 : 62) {
            for (size_t i = 0; i < n; i++)
                x[i] = kind == 0   ? fc_rng_normal(&g)
                       : kind == 1 ? 1 /* equal */
                       : kind == 2 ? (double)fc_rng_below(&g, 3)
                       : kind == 3 ? (double)i
                                   : -(double)i;
            memcpy(sorted, x, n * sizeof *x);
            qsort(sorted, n, sizeof *x, compare);
            for (size_t k = 0; k < n; k++) {
                memcpy(work, x, n * sizeof *x);
                assert_true(fc_select(work, n, k) == sorted[k] && work[k] == sorted[k]);
                for (size_t i = 0; i < n; i++)
                    assert_true(i < k ? work[i] <= work[k] : work[i] >= work[k]);
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_select)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
