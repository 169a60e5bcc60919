/* Features and logits against PyTorch (scripts/check_logits_torch.py made the golden files). */
#include "core/base/safetensors.h"
#include "core/vit/vit.h"
#include "tests/support/close.h"
#include "tests/support/engine.h"

#include <string.h>

/* The network of one section. */
typedef struct net {
    fc_arena arena;
    fc_vit_shape shape;
    fc_params w, head; /* head: weight and bias */
    fc_spec spec[2];
    fc_acts *acts;
} net;

static void net_load(net *t, const char *path, int image, int n_max)
{
    fc_error err = {0};
    memset(t, 0, sizeof *t);
    if (fc_vit_load(&t->w, &t->shape, path, image, 0, &t->arena, &err) != FC_OK)
        fail_msg("%s", err.msg);
    fc_st f;
    assert_int_equal(fc_st_open(&f, path, &err), FC_OK);
    const fc_tensor *weight = fc_st_find(&f, "head.weight");
    assert_non_null(weight);
    int classes = (int)weight->dim[0];
    fc_params layout = {0};
    fc_params_add(&layout, t->spec, "head.weight", FC_GROUP_HEAD, 2,
                  (int[]){classes, t->shape.width});
    fc_params_add(&layout, t->spec, "head.bias", FC_GROUP_HEAD, 1, &classes);
    assert_int_equal(fc_params_alloc(&t->head, &layout, &t->arena, &err), FC_OK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(
            fc_st_read(t->head.p + t->spec[i].offset, &f, fc_st_find(&f, t->spec[i].name), &err),
            FC_OK);
    fc_st_close(&f);
    assert_int_equal(fc_acts_new(&t->acts, &t->shape,
                                 &(fc_acts_size){.classes = classes, .n_max = n_max}, &engine,
                                 &err),
                     FC_OK);
}

static void net_run(net *t, const fc_real *x, int n)
{
    fc_model m = {.shape = &t->shape,
                  .classes = t->spec[0].rows,
                  .w = t->w.p,
                  .scale = 1,
                  .head_w = t->head.p,
                  .head_b = t->head.p + t->spec[1].offset};
    fc_vit_forward(t->acts, &m, x, n, NULL, NULL);
}

static void net_free(net *t)
{
    fc_acts_free(t->acts);
    fc_arena_free(&t->arena);
}

/* n images of uint8 (3, s, s) in hexadecimal -> x (n, 3, side, side), pixels repeated and
 * normalised to p / 127.5 - 1. */
static fc_real *read_pixels(FILE *f, int n, int s, int side)
{
    size_t times = (size_t)(side / s), S = (size_t)side, rows = (size_t)n * 3 * (size_t)s;
    assert_true(side % s == 0);
    fc_real *x = test_malloc(rows * times * S * sizeof *x);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < (size_t)s; c++) {
            unsigned byte;
            assert_int_equal(fscanf(f, "%2x", &byte), 1);
            for (size_t i = 0; i < times * times; i++)
                x[(r * times + i / times) * S + c * times + i % times] =
                    (fc_real)byte / (fc_real)127.5 - 1;
        }
    return x;
}

static void check_rows(FILE *f, const char *name, const fc_real *got, int n, int cols)
{
    int want_cols;
    char word[32];
    assert_int_equal(fscanf(f, "%31s %d", word, &want_cols), 2);
    assert_string_equal(word, name);
    assert_int_equal(want_cols, cols);
    for (int i = 0; i < n * cols; i++) {
        double want;
        assert_int_equal(fscanf(f, "%lf", &want), 1);
        /* float32 through up to 12 blocks, in another order of summation */
        fc_close_at((double)got[i], want, 0, 1e-4, name, (size_t)i, __FILE__, __LINE__);
    }
}

static void check(const char *gold, const char *weights, int sections)
{
    FILE *f = fopen(gold, "r");
    if (!f)
        fail_msg("%s: cannot be read", gold);
    int side, n, s, done = 0;
    while (fscanf(f, " image %d pixels %d %d", &side, &n, &s) == 3) {
        net t;
        net_load(&t, weights, side, n);
        fc_real *x = read_pixels(f, n, s, side);
        net_run(&t, x, n);
        check_rows(f, "features", fc_acts_features(t.acts), n, t.shape.width);
        check_rows(f, "logits", fc_acts_logits(t.acts), n, t.spec[0].rows);
        test_free(x);
        net_free(&t);
        done++;
    }
    assert_true(feof(f));
    assert_int_equal(done, sections);
    fclose(f);
}

/* A random network at its own image size, a larger and a smaller one. */
static void test_tiny(void **state)
{
    (void)state;
    char gold[4096], weights[4096];
    check(fc_golden(gold, sizeof gold, "vit/tiny.gold"),
          fc_golden(weights, sizeof weights, "vit/tiny.safetensors"), 3);
}

/* CIFAR-100 images through timm's vit_tiny_patch16_224 at 96 and 224 pixels. */
static void test_real(void **state)
{
    (void)state;
    char gold[4096], weights[4096];
    const char *data = getenv("FCIL_DATA");
    snprintf(weights, sizeof weights, "%s/vit_tiny_patch16_224/vit_tiny_patch16_224.safetensors",
             data ? data : "data");
    FILE *f = fopen(weights, "rb");
    if (!f)
        skip();
    fclose(f);
    check(fc_golden(gold, sizeof gold, "vit/real.gold"), weights, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tiny), cmocka_unit_test(test_real)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
