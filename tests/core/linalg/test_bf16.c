/* One training step in bf16 against the same step in float, for every table of kernels that runs
 * here: logits and gradients, LoRA and full fine-tuning. */
#include "core/vit/head.h"
#include "core/vit/vit.h"
#include "tests/support/close.h"
#include "tests/support/isa_fixture.h"

/* bf16 keeps 8 bits: each number is off by up to 2^-9 = 0.2 %. Errors of single products are
 * independent, so that norms of whole tensors are off by a few times that, and grow slowly with the
 * depth. */
static const double GRADIENT_LIMIT = 2e-2, LOGITS_LIMIT = 1e-2;

enum { CLASSES = 7, LO = 2, HI = 6, IMAGES = 2, RANK_MAX = 8 };
static const int labels[IMAGES] = {4, 2};

static const fc_isa *table[TABLES_MAX];
static int tables;

/* A network to be trained: the same weights, images and labels for every engine. */
typedef struct net {
    const fc_vit_shape *shape;
    fc_train_mode mode;
    unsigned groups;
    int rank;
    fc_arena arena;
    fc_params w, train;
    fc_real *x;
} net;

static void add_noise(fc_real *p, size_t n, double width, uint32_t sample)
{
    fc_rng g = fc_rng_at((fc_key){.seed = 9, .stream = FC_STREAM_TEST, .sample = sample});
    for (size_t i = 0; i < n; i++)
        p[i] += (fc_real)(width * fc_rng_normal(&g));
}

/* The start of training, a little way on: B = 0 and biases = 0 would hide gradients. */
static void net_init(net *t, const fc_vit_shape *shape, fc_train_mode mode)
{
    fc_error err = {0};
    fc_params layout;
    *t = (net){.shape = shape, .mode = mode, .rank = mode == FC_TRAIN_LORA ? RANK_MAX : 0};
    t->groups = 1u << FC_GROUP_HEAD;
    t->groups |= mode == FC_TRAIN_LORA ? 1u << FC_GROUP_A | 1u << FC_GROUP_B : 0;
    t->groups |= mode == FC_TRAIN_FULL ? 1u << FC_GROUP_BACKBONE : 0;
    assert_int_equal(fc_vit_layout(&layout, shape, &t->arena, &err), FC_OK);
    assert_int_equal(fc_params_alloc(&t->w, &layout, &t->arena, &err), FC_OK);
    fc_vit_init(&t->w, 1);
    add_noise(t->w.p, t->w.n, 0.02, 1);
    assert_int_equal(fc_train_layout(&layout, shape, mode, t->rank, CLASSES, &t->arena, &err),
                     FC_OK);
    assert_int_equal(fc_params_alloc(&t->train, &layout, &t->arena, &err), FC_OK);
    if (mode == FC_TRAIN_LORA)
        fc_lora_init(&t->train, shape, 1, 0);
    if (mode == FC_TRAIN_FULL)
        memcpy(t->train.p, t->w.p, t->w.n * sizeof *t->w.p);
    fc_head_init(&t->train, 1);
    add_noise(t->train.p, t->train.n, 0.02, 2);
    size_t pixels = IMAGES * 3 * (size_t)shape->image * (size_t)shape->image;
    t->x = fc_arena_alloc(&t->arena, pixels, sizeof *t->x, &err);
    assert_non_null(t->x);
    add_noise(t->x, pixels, 1, 3);
}

/* Logits (IMAGES, CLASSES) and the gradient of one step. */
static void step(fc_real *logits, fc_params *grad, net *t, const fc_isa *isa, bool bf16)
{
    fc_error err = {0};
    fc_acts *acts;
    fc_engine e = {.isa = isa, .bf16 = bf16};
    fc_packed packed = {0};
    fc_real dlogits[IMAGES * CLASSES];
    assert_int_equal(
        fc_acts_new(
            &acts, t->shape,
            &(fc_acts_size){.rank = t->rank, .classes = CLASSES, .n_max = IMAGES, .backward = true},
            &e, &err),
        FC_OK);
    fc_model m = fc_model_of(t->shape, t->mode, t->rank, CLASSES, t->w.p, &t->train);
    if (t->mode != FC_TRAIN_FULL) { /* frozen weights, as in a run */
        assert_int_equal(fc_packed_new(&packed, t->shape, true, &e, &err), FC_OK);
        fc_packed_fill(&packed, t->shape, t->w.p);
        m.packed = &packed;
    }
    assert_int_equal(fc_params_alloc(grad, &t->train, &t->arena, &err), FC_OK);
    fc_grads g = fc_grads_of(t->mode, grad, t->groups);
    fc_vit_forward(acts, &m, t->x, IMAGES, NULL, &g);
    memcpy(logits, fc_acts_logits(acts), sizeof dlogits);
    fc_ce(dlogits, logits, labels, IMAGES, CLASSES, LO, HI, IMAGES);
    fc_vit_backward(acts, &m, dlogits, &g);
    fc_packed_free(&packed);
    fc_acts_free(acts);
}

/* |got - want| / |want| */
static double relative_error(const fc_real *got, const fc_real *want, size_t n)
{
    double difference = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        difference += pow((double)got[i] - (double)want[i], 2);
        size += pow((double)want[i], 2);
    }
    assert_true(size > 0);
    return sqrt(difference / size);
}

/* Within the limit, and not the float numbers themselves. */
static void check_error(double error, double limit, const char *what, const fc_isa *isa)
{
    if (!(error < limit && error > 1e-5))
        fail_msg("%s of %s: relative error %.2e, expected 1e-5 to %.0e", what, table_name(isa),
                 error, limit);
}

static void check(const fc_vit_shape *shape, fc_train_mode mode)
{
    static const char *const name[FC_NGROUP] = {"gradient of the backbone", "gradient of A",
                                                "gradient of B", "gradient of the head"};
    net t;
    net_init(&t, shape, mode);
    fc_real want_logits[IMAGES * CLASSES], logits[IMAGES * CLASSES];
    fc_params want, got;
    step(want_logits, &want, &t, &fc_isa_blas, false);
    for (int i = 0; i < tables; i++) {
        step(logits, &got, &t, table[i], true);
        check_error(relative_error(logits, want_logits, IMAGES * CLASSES), LOGITS_LIMIT, "logits",
                    table[i]);
        for (fc_group g = 0; g < FC_NGROUP; g++) {
            size_t offset, n = fc_params_group(&want, g, &offset);
            if (n > 0)
                check_error(relative_error(got.p + offset, want.p + offset, n), GRADIENT_LIMIT,
                            name[g], table[i]);
        }
    }
    fc_arena_free(&t.arena);
}

static const fc_vit_shape tiny = {
    .image = 12, .patch = 4, .width = 24, .depth = 2, .heads = 2, .hidden = 40};
/* ViT-Tiny/16 at 96 pixels with four blocks instead of twelve: 37 tokens */
static const fc_vit_shape vit_tiny = {
    .image = 96, .patch = 16, .width = 192, .depth = 4, .heads = 3, .hidden = 768};

static void test_lora(void **state)
{
    (void)state;
    check(&tiny, FC_TRAIN_LORA);
    check(&vit_tiny, FC_TRAIN_LORA);
}

static void test_full(void **state)
{
    (void)state;
    check(&tiny, FC_TRAIN_FULL);
    check(&vit_tiny, FC_TRAIN_FULL);
}

static void test_head(void **state)
{
    (void)state;
    check(&vit_tiny, FC_TRAIN_HEAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lora), cmocka_unit_test(test_full),
                                       cmocka_unit_test(test_head)};
    tables = usable_tables(table);
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
