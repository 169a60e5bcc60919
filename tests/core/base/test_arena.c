/* Arena: alignment, zeroing, marks, overflow. */
#include "core/base/arena.h"
#include "tests/support/close.h"

#include <malloc.h>
#include <stdbool.h>
#include <string.h>

static bool all_zero(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

static void test_aligned_and_zeroed(void **state)
{
    (void)state;
    fc_arena a = {0};
    static const size_t sizes[] = {1, 63, 64, 65, 1000, 65536, 1 << 20, 3};
    unsigned char *p[8];
    for (int round = 0; round < 3; round++) {
        fc_mark start = fc_arena_mark(&a);
        for (int i = 0; i < 8; i++) {
            p[i] = fc_arena_alloc(&a, sizes[i], 1, NULL);
            assert_non_null(p[i]);
            assert_int_equal((uintptr_t)p[i] % 64, 0);
            assert_true(all_zero(p[i], sizes[i]));
            memset(p[i], 0x40 + i, sizes[i]);
        }
        for (int i = 0; i < 8; i++) /* nothing overlaps */
            assert_true(p[i][0] == 0x40 + i && p[i][sizes[i] - 1] == 0x40 + i);
        fc_arena_release(&a, start); /* the next round gets the same, dirty memory */
    }
    fc_arena_free(&a);
    assert_null(a.first);
    fc_arena_free(&a);
}

static void test_release_to_the_middle(void **state)
{
    (void)state;
    fc_arena a = {0};
    char *kept = fc_arena_strdup(&a, "kept", NULL);
    char *text = fc_arena_format(&a, NULL, "%s %d %*s|", "kept", 7, 300, "");
    fc_mark mark = fc_arena_mark(&a);
    void *first = fc_arena_alloc(&a, 100, 1, NULL);
    fc_arena_alloc(&a, 200000, 1, NULL);
    fc_arena_release(&a, mark);
    assert_ptr_equal(fc_arena_alloc(&a, 100, 1, NULL), first);
    assert_string_equal(kept, "kept");
    assert_int_equal(strlen(text), 308);
    assert_memory_equal(text, "kept 7 ", 7);
    fc_arena_free(&a);
}

static void test_nothing_is_something(void **state)
{
    (void)state;
    fc_arena a = {0};
    assert_non_null(fc_arena_alloc(&a, 0, 8, NULL));
    assert_non_null(fc_arena_alloc(&a, 8, 0, NULL));
    fc_arena_free(&a);
}

static void test_overflow(void **state)
{
    (void)state;
    fc_arena a = {0};
    fc_error err = {0};
    assert_null(fc_arena_alloc(&a, SIZE_MAX / 2, 3, &err));
    assert_int_equal(err.code, FC_EFAIL);
    assert_non_null(strstr(err.msg, "overflow"));
    err = (fc_error){0};
    assert_null(fc_arena_alloc(&a, SIZE_MAX, 1, &err));
    assert_int_equal(err.code, FC_EFAIL);
    fc_arena_free(&a);
}

/* Steps that need now more, now less: unused chunks are taken again, and do not pile up. */
static void test_steps_of_other_sizes(void **state)
{
    (void)state;
    enum { SMALL = 100000, LARGE = 1000000 };
    fc_arena a = {0};
    size_t before = mallinfo2().uordblks + mallinfo2().hblkhd, most = 3 * 50 * SMALL + 10 * LARGE;
    for (int step = 0; step < 60; step++) {
        fc_mark mark = fc_arena_mark(&a);
        for (int i = 0; i < 50; i++)
            assert_non_null(fc_arena_alloc(&a, SMALL, 1 + (size_t)(step * 7 % 3), NULL));
        for (int i = 0; i < 10; i++)
            assert_non_null(fc_arena_alloc(&a, LARGE - 1000 * (size_t)step, 1, NULL));
        fc_arena_release(&a, mark);
    }
    size_t after = mallinfo2().uordblks + mallinfo2().hblkhd;
    assert_true(after > before || after == 0); /* sanitizers count elsewhere */
    assert_true(after - before < most + most / 4);
    fc_arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_aligned_and_zeroed),   cmocka_unit_test(test_release_to_the_middle),
        cmocka_unit_test(test_nothing_is_something), cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_steps_of_other_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
