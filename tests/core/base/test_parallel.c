/* Pieces of work over the threads: each once, the lowest failure, calls inside calls. */
#include "core/base/parallel.h"
#include "core/base/threads.h"
#include "tests/support/close.h"

#include <omp.h>
#include <string.h>

enum { PIECES = 40 };

static fc_status count(void *ctx, int i, fc_arena *scratch, fc_error *err)
{
    int *calls = ctx;
    assert_non_null(fc_arena_alloc(scratch, 100, 1, err));
    calls[i]++;
    return i == 31 || i == 7 ? fc_fail(err, FC_EFAIL, "piece %d", i) : FC_OK;
}

static void test_lowest_failure_is_reported(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 3; threads++) {
        int calls[PIECES] = {0};
        fc_error err = {0};
        fc_threads_init(threads, NULL);
        assert_int_equal(fc_parallel_for(PIECES, count, calls, &err), FC_EFAIL);
        assert_string_equal(err.msg, "piece 7");
        for (int i = 0; i < PIECES; i++)
            assert_int_equal(calls[i], 1);
        assert_int_equal(fc_parallel_for(0, count, calls, NULL), FC_OK);
    }
}

static fc_status team(void *ctx, int i, fc_arena *scratch, fc_error *err)
{
    (void)scratch, (void)err;
    ((int *)ctx)[i] = omp_get_num_threads();
    return FC_OK;
}

/* ctx (pieces, 2) */
static fc_status call_again(void *ctx, int i, fc_arena *scratch, fc_error *err)
{
    (void)scratch;
    return fc_parallel_for(2, team, (int *)ctx + i * 2, err);
}

static void test_the_only_piece_has_all_threads(void **state)
{
    (void)state;
    int size[4];
    int threads = fc_threads_init(3, NULL);
    assert_int_equal(fc_parallel_for(1, call_again, size, NULL), FC_OK);
    assert_int_equal(size[0], threads);
    assert_int_equal(fc_parallel_for(2, call_again, size, NULL), FC_OK);
    for (int i = 0; i < 4; i++)
        assert_int_equal(size[i], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lowest_failure_is_reported),
        cmocka_unit_test(test_the_only_piece_has_all_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
