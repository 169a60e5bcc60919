/* Layouts: offsets, matrix views, groups. */
#include "core/base/params.h"
#include "tests/support/close.h"

#include <string.h>

static void build(fc_params *p, fc_spec *spec)
{
    *p = (fc_params){0};
    fc_params_add(p, spec, "a.weight", FC_GROUP_A, 2, (int[]){3, 4});
    fc_params_add(p, spec, "a.bias", FC_GROUP_A, 1, (int[]){5});
    fc_params_add(p, spec, "patch", FC_GROUP_BACKBONE, 4, (int[]){2, 3, 4, 5});
    fc_params_add(p, spec, "scalar", FC_GROUP_HEAD, 0, NULL);
}

static void test_layout(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int rows, cols;
        size_t offset;
    } want[] = {
        {"a.weight", 3, 4, 0}, {"a.bias", 1, 5, 12}, {"patch", 2, 60, 17}, {"scalar", 1, 1, 137}};
    fc_spec spec[4];
    fc_params p;
    build(&p, spec);
    assert_int_equal(p.nspec, 4);
    assert_int_equal(p.n, 138);
    assert_null(p.p);
    for (int i = 0; i < 4; i++) {
        const fc_spec *s = fc_params_find(&p, want[i].name);
        assert_ptr_equal(s, &spec[i]);
        assert_int_equal(s->rows, want[i].rows);
        assert_int_equal(s->cols, want[i].cols);
        assert_int_equal(s->offset, want[i].offset);
    }
    assert_null(fc_params_find(&p, "a"));
}

static void test_groups(void **state)
{
    (void)state;
    fc_spec spec[4];
    fc_params p;
    size_t offset;
    build(&p, spec);
    assert_int_equal(fc_params_group(&p, FC_GROUP_A, &offset), 17);
    assert_int_equal(offset, 0);
    assert_int_equal(fc_params_group(&p, FC_GROUP_BACKBONE, &offset), 120);
    assert_int_equal(offset, 17);
    assert_int_equal(fc_params_group(&p, FC_GROUP_HEAD, &offset), 1);
    assert_int_equal(offset, 137);
    assert_int_equal(fc_params_group(&p, FC_GROUP_B, &offset), 0);
}

static void test_alloc(void **state)
{
    (void)state;
    fc_spec spec[4];
    fc_params layout, p = {0};
    fc_arena arena = {0};
    build(&layout, spec);
    assert_int_equal(fc_params_alloc(&p, &layout, &arena, NULL), FC_OK);
    assert_int_equal(p.n, layout.n);
    assert_ptr_equal(p.spec, layout.spec);
    for (size_t i = 0; i < p.n; i++)
        assert_close(p.p[i], 0, 0, 0);
    fc_arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_alloc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
