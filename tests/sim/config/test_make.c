/* What the options of a config ask for, made: pixels, optimiser, images. */
#include "sim/config/make.h"
#include "tests/support/tmp.h"

typedef struct fixture {
    fc_config cfg;
    fc_dataset data;
    fc_error err;
} fixture;

/* A config of up to four settings, section.key=value. */
static void load(fixture *f, const char *const set[4])
{
    char *words[4] = {0};
    int n = 0;
    *f = (fixture){0};
    while (n < 4 && set[n]) {
        words[n] = (char *)(uintptr_t)set[n];
        n++;
    }
    fc_status s = fc_config_load(&f->cfg, NULL, words, n, &f->err);
    if (s != FC_OK)
        print_error("%s\n", f->err.msg);
    assert_int_equal(s, FC_OK);
}

/* --- pixels -----------------------------------------------------------------------------------
 */

/* Mean and standard deviation of red, green and blue in data of 0 .. 1, as torchvision's and timm's
 * documentation print them: a grey image comes out as (x - mean) / std. */
static void test_normalisation(void **state)
{
    (void)state;
    enum { SIDE = 2, PIXELS = SIDE * SIDE, GREY = 51 };
    static const struct {
        const char *option;
        double mean[3], std[3];
    } row[] = {
        {"data.normalisation=cifar", {0.5071, 0.4865, 0.4409}, {0.2673, 0.2564, 0.2762}},
        {"data.normalisation=imagenet", {0.485, 0.456, 0.406}, {0.229, 0.224, 0.225}},
        {"data.normalisation=half", {0.5, 0.5, 0.5}, {0.5, 0.5, 0.5}},
        {"data.normalisation=none", {0, 0, 0}, {1, 1, 1}},
        {"data.test_resize=plain", {0.5, 0.5, 0.5}, {0.5, 0.5, 0.5}}, /* the default */
    };
    uint8_t grey[3 * PIXELS];
    memset(grey, GREY, sizeof grey);
    const fc_image image = {
        .p = grey, .width = SIDE, .height = SIDE, .row = 3 * SIDE, .col = 3, .chan = 1};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        fixture f;
        fc_resampler *r;
        fc_real x[3 * PIXELS];
        load(&f, (const char *const[4]){row[i].option});
        fc_transform t = fc_transform_of(&f.cfg, SIDE);
        assert_int_equal(t.size, SIDE);
        assert_int_equal(fc_resampler_new(&r, SIDE, SIDE, &f.err), FC_OK);
        fc_transform_apply(x, &image, &t, NULL, r);
        for (int c = 0; c < 3; c++)
            for (int p = 0; p < PIXELS; p++)
                assert_close(x[c * PIXELS + p], (GREY / 255.0 - row[i].mean[c]) / row[i].std[c],
                             1e-5, 1e-6);
        fc_resampler_free(r);
        fc_config_free(&f.cfg);
    }
}

/* --- the optimiser ----------------------------------------------------------------------------
 */

static void test_rates(void **state)
{
    (void)state;
    fixture f;
    load(&f, (const char *const[4]){"train.lr=0.5"});
    fc_optim_config o = fc_optim_of(&f.cfg, 5);
    for (int g = 0; g < FC_NGROUP; g++)
        assert_true(o.lr[g] == 0.5); /* no rate of its own */
    assert_int_equal(o.groups, 5);
    fc_config_free(&f.cfg);

    load(&f, (const char *const[4]){"train.lr=0.5", "train.lr_A=0.25", "train.lr_B=0",
                                    "train.lr_backbone=0.125"});
    o = fc_optim_of(&f.cfg, 5);
    assert_true(o.lr[FC_GROUP_A] == 0.25 && o.lr[FC_GROUP_B] == 0);
    assert_true(o.lr[FC_GROUP_BACKBONE] == 0.125 && o.lr[FC_GROUP_HEAD] == 0.5);
    fc_config_free(&f.cfg);
}

/* PyTorch's defaults where nothing is said; and no option in another's place. */
static void test_optimiser(void **state)
{
    (void)state;
    fixture f;
    load(&f, (const char *const[4]){NULL});
    fc_optim_config o = fc_optim_of(&f.cfg, 1);
    assert_int_equal(o.kind, FC_ADAMW);
    assert_true(o.beta1 == 0.9 && o.beta2 == 0.999 && o.eps == 1e-8);
    fc_config_free(&f.cfg);

    load(&f, (const char *const[4]){"train.beta1=0.5", "train.beta2=0.25",
                                    "train.weight_decay=0.125", "train.clip_norm=2"});
    o = fc_optim_of(&f.cfg, 1);
    assert_true(o.beta1 == 0.5 && o.beta2 == 0.25 && o.weight_decay == 0.125 && o.clip_norm == 2);
    fc_config_free(&f.cfg);

    load(&f, (const char *const[4]){"train.optimizer=sgd", "train.momentum=0.75"});
    o = fc_optim_of(&f.cfg, 1);
    assert_true(o.kind == FC_SGD && o.momentum == 0.75);
    fc_config_free(&f.cfg);
}

/* --- images -----------------------------------------------------------------------------------
 */

/* The j-th image of class c of a split. */
static const fc_image *nth(const fc_split *s, int c, int j)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->label[i] == c && j-- == 0)
            return &s->image[i];
    return NULL;
}

static bool same(const fc_image *a, const fc_image *b)
{
    if (!a || !b || a->width != b->width || a->height != b->height)
        return false;
    for (int y = 0; y < a->height; y++)
        for (int x = 0; x < a->width; x++)
            for (int c = 0; c < 3; c++)
                if (a->p[y * a->row + x * a->col + c * a->chan] !=
                    b->p[y * b->row + x * b->col + c * b->chan])
                    return false;
    return true;
}

/* data.max_train_per_class counts images to train on: those for validation are put aside before. */
static void test_validation_before_the_maximum(void **state)
{
    (void)state;
    enum { CLASSES = 3, ALL = 10, MOST = 5, VALIDATION = 3 };
    const char *synth = "data.synth_classes=3", *images = "data.synth_train=10";
    fixture all, cut;
    load(&all, (const char *const[4]){synth, images});
    load(&cut, (const char *const[4]){synth, images, "data.max_train_per_class=5",
                                      "data.validation_per_class=3"});
    assert_int_equal(fc_data_open(&all.data, &all.cfg, &all.err), FC_OK);
    assert_int_equal(fc_data_open(&cut.data, &cut.cfg, &cut.err), FC_OK);
    assert_int_equal(all.data.train.n, CLASSES * ALL);
    assert_int_equal(cut.data.train.n, CLASSES * MOST);
    assert_int_equal(cut.data.test.n, CLASSES * VALIDATION);
    for (int c = 0; c < CLASSES; c++)
        for (int j = 0; j < MOST + VALIDATION; j++) {
            const fc_split *s = j < MOST ? &cut.data.train : &cut.data.test;
            assert_true(same(nth(s, c, j < MOST ? j : j - MOST), nth(&all.data.train, c, j)));
        }
    fc_dataset_free(&all.data);
    fc_dataset_free(&cut.data);
    fc_config_free(&all.cfg);
    fc_config_free(&cut.cfg);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_normalisation),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_optimiser),
        cmocka_unit_test(test_validation_before_the_maximum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
