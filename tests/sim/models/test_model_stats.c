/* The file of fcil stats: what is written is read again by the names of the tensors; other files
 * and other sizes are refused. */
#include "sim/models/model_stats.h"
#include "tests/support/tmp.h"

FC_TMP_FIXTURE

static const fc_vit_shape shape = {
    .image = 8, .patch = 4, .width = 4, .depth = 1, .heads = 2, .hidden = 6};
static fc_arena arena;
static fc_error err;
static char path[400];

static int begin(void **state)
{
    int failed = set_up(state);
    err = (fc_error){0};
    snprintf(path, sizeof path, "%s/s.safetensors", tmp.dir);
    return failed;
}

static int end(void **state)
{
    fc_arena_free(&arena);
    return tear_down(state);
}

static void test_round_trip(void **state)
{
    (void)state;
    fc_params layout;
    fc_grams g;
    fc_model_stats s;
    const double *found;
    assert_int_equal(fc_train_layout(&layout, &shape, FC_TRAIN_FULL, 0, 3, &arena, NULL), FC_OK);
    assert_int_equal(fc_vit_grams(&g, &shape, 1, 1, &arena, NULL), FC_OK);
    double *F = fc_arena_alloc(&arena, layout.n, sizeof *F, NULL);
    for (size_t i = 0; i < g.size; i++)
        g.g[i] = (double)i + 1.0 / 3;
    for (size_t i = 0; i < layout.n; i++)
        F[i] = 1.0 / (double)(i + 1);
    assert_int_equal(fc_model_stats_write(path, &g, F, &layout, 42, &err), FC_OK);

    assert_int_equal(fc_model_stats_open(&s, path, &err), FC_OK);
    assert_true(s.samples == 42);
    static const struct {
        const char *name;
        int n;
    } grams[] = {{"blocks.0.attn.qkv.weight", 4},
                 {"blocks.0.attn.proj.weight", 4},
                 {"blocks.0.mlp.fc1.weight", 4},
                 {"blocks.0.mlp.fc2.weight", 6},
                 {"head.weight", 4}};
    assert_int_equal(g.n, 5);
    for (int i = 0; i < 5; i++) {
        size_t n = (size_t)grams[i].n;
        assert_int_equal(fc_model_stats_gram(&found, &s, grams[i].name, grams[i].n, &arena, &err),
                         FC_OK);
        assert_memory_equal(found, g.g + g.slot[i].offset, n * n * sizeof *found);
    }
    for (int i = 0; i < layout.nspec; i++) {
        const fc_spec *t = &layout.spec[i];
        size_t n = (size_t)t->rows * (size_t)t->cols;
        assert_int_equal(fc_model_stats_fisher(&found, &s, t->name, n, &arena, &err), FC_OK);
        assert_memory_equal(found, F + t->offset, n * sizeof *found);
    }
    assert_int_equal(fc_model_stats_gram(&found, &s, "norm.weight", 4, &arena, &err), FC_OK);
    assert_null(found);
    assert_says(fc_model_stats_gram(&found, &s, "head.weight", 5, &arena, &err), &err, FC_EDATA,
                path, "tensor gram.head.weight: 16 numbers, expected 25");
    fc_model_stats_close(&s);

    err = (fc_error){0};
    F[3] = NAN;
    unlink(path);
    assert_says(fc_model_stats_write(path, &g, F, &layout, 42, &err), &err, FC_EFAIL, path,
                "element 3 is nan");
    assert_int_equal(access(path, F_OK), -1);
}

static void test_parts(void **state)
{
    (void)state;
    fc_params layout;
    fc_grams g;
    fc_model_stats s;
    const double *found;
    assert_int_equal(fc_train_layout(&layout, &shape, FC_TRAIN_FULL, 0, 3, &arena, NULL), FC_OK);
    assert_int_equal(fc_vit_grams(&g, &shape, 1, 1, &arena, NULL), FC_OK);
    assert_int_equal(fc_model_stats_write(path, &g, NULL, &layout, 1, &err), FC_OK);
    assert_int_equal(fc_model_stats_open(&s, path, &err), FC_OK);
    assert_int_equal(fc_model_stats_fisher(&found, &s, "head.bias", 3, &arena, &err), FC_OK);
    assert_null(found);
    fc_model_stats_close(&s);
}

static void test_another_file(void **state)
{
    (void)state;
    static const float x[] = {1};
    static const char *const bad[] = {NULL, "x", "0", "-1", "nan", "inf", "3 images", ""};
    const fc_st_entry e = {"w", FC_F32, 1, {1}, x};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fc_model_stats s;
        const char *const metadata[][2] = {{"samples", bad[i]}};
        err = (fc_error){0};
        assert_int_equal(fc_st_write(path, &e, 1, metadata, bad[i] ? 1 : 0, &err), FC_OK);
        assert_says(fc_model_stats_open(&s, path, &err), &err, FC_EDATA, path,
                    "samples: expected a number");
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_round_trip),
        TEST(test_parts),
        TEST(test_another_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
