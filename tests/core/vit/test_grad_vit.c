/* Gradients of the whole network against central differences, in double: every way of training. */
#include "core/base/rng.h"
#include "core/vit/head.h"
#include "core/vit/vit.h"
#include "tests/support/close.h"
#include "tests/support/engine.h"

#include <string.h>

/* C = 8, T = 5, L = 2; three images, five classes of which three are trained. */
static const fc_vit_shape shape = {
    .image = 4, .patch = 2, .width = 8, .depth = 2, .heads = 2, .hidden = 12};
enum { RANK = 3, CLASSES = 5, LO = 1, HI = 4, IMAGES = 3, PIXELS = 3 * 4 * 4 };
static const int labels[IMAGES] = {2, 1, 3};

typedef struct net {
    fc_arena arena;
    fc_params w, train, grad;
    fc_train_mode mode;
    unsigned groups;
    double scale;
    double pull; /* weight of |features|^2 / 2 in the loss */
    fc_acts *acts;
    fc_real x[IMAGES * PIXELS];
} net;

/* Away from the usual start (B = 0, biases 0), so that no gradient vanishes by accident. */
static void fill(fc_params *p, uint32_t sample)
{
    fc_rng g = fc_rng_at((fc_key){.seed = 7, .stream = FC_STREAM_TEST, .sample = sample});
    for (size_t i = 0; i < p->n; i++)
        p->p[i] = 0.5 * fc_rng_normal(&g);
}

static void net_init(net *t, fc_train_mode mode, unsigned groups, double scale)
{
    fc_error err = {0};
    fc_params layout;
    memset(t, 0, sizeof *t);
    t->mode = mode;
    t->groups = groups;
    t->scale = scale;
    assert_int_equal(fc_vit_check(&shape, "test", &err), FC_OK);
    assert_int_equal(fc_vit_layout(&layout, &shape, &t->arena, &err), FC_OK);
    assert_int_equal(fc_params_alloc(&t->w, &layout, &t->arena, &err), FC_OK);
    assert_int_equal(fc_train_layout(&layout, &shape, mode, RANK, CLASSES, &t->arena, &err), FC_OK);
    assert_int_equal(fc_params_alloc(&t->train, &layout, &t->arena, &err), FC_OK);
    assert_int_equal(fc_params_alloc(&t->grad, &layout, &t->arena, &err), FC_OK);
    int rank = mode == FC_TRAIN_LORA ? RANK : 0;
    assert_int_equal(
        fc_acts_new(
            &t->acts, &shape,
            &(fc_acts_size){.rank = rank, .classes = CLASSES, .n_max = IMAGES, .backward = true},
            &engine, &err),
        FC_OK);
    fill(&t->w, 1);
    fill(&t->train, 2);
    fc_params pixels = {.p = t->x, .n = IMAGES * PIXELS};
    fill(&pixels, 3);
}

static void net_free(net *t)
{
    fc_acts_free(t->acts);
    fc_arena_free(&t->arena);
}

static fc_model model_of(const net *t)
{
    fc_model m = fc_model_of(&shape, t->mode, RANK, CLASSES, t->w.p, &t->train);
    m.scale = t->scale;
    return m;
}

/* pull |features|^2 / 2, and its gradient with respect to them unless d is NULL. */
static double feature_term(const net *t, fc_real *d)
{
    const fc_real *f = fc_acts_features(t->acts);
    double sum = 0;
    for (int i = 0; i < IMAGES * shape.width; i++) {
        sum += 0.5 * t->pull * f[i] * f[i];
        if (d)
            d[i] = t->pull * f[i];
    }
    return sum;
}

/* Mean loss; with statistics the last block runs on all rows. */
static double loss(net *t, fc_real *dlogits, fc_grams *stats, const fc_grads *g)
{
    fc_model m = model_of(t);
    fc_vit_forward(t->acts, &m, t->x, IMAGES, stats, g);
    return fc_ce(dlogits, fc_acts_logits(t->acts), labels, IMAGES, CLASSES, LO, HI, IMAGES) /
               IMAGES +
           feature_term(t, NULL);
}

static void check_pulled(fc_train_mode mode, unsigned groups, double scale, fc_grams *stats,
                         double pull)
{
    net t;
    net_init(&t, mode, groups, scale);
    t.pull = pull;
    fc_real dlogits[IMAGES * CLASSES], dfeatures[IMAGES * 8];
    fc_model m = model_of(&t);
    fc_grads g = fc_grads_of(mode, &t.grad, groups);
    loss(&t, dlogits, stats, &g);
    feature_term(&t, dfeatures);
    if (pull == 0)
        fc_vit_backward(t.acts, &m, dlogits, &g);
    else
        fc_vit_backward_features(t.acts, &m, dlogits, dfeatures, &g);

    const double h = 1e-5;
    int identical = 0, compared = 0;
    for (int i = 0; i < t.train.nspec; i++) {
        const fc_spec *s = &t.train.spec[i];
        double largest = 0;
        for (size_t j = s->offset; j < s->offset + (size_t)s->rows * (size_t)s->cols; j++) {
            if (!(groups & 1u << s->group)) {
                assert_true(t.grad.p[j] == 0);
                continue;
            }
            fc_real kept = t.train.p[j];
            t.train.p[j] = kept + h;
            double up = loss(&t, NULL, NULL, NULL);
            t.train.p[j] = kept - h;
            double down = loss(&t, NULL, NULL, NULL);
            t.train.p[j] = kept;
            double quotient = (up - down) / (2 * h);
            /* Rounding of the loss (1e-16 / h) and truncation (h^2) both leave about 1e-10. */
            fc_close_at(t.grad.p[j], quotient, 1e-6, 1e-9, s->name, j - s->offset, __FILE__,
                        __LINE__);
            identical += t.grad.p[j] == quotient && quotient != 0;
            compared++;
            largest = fmax(largest, fabs(quotient));
        }
        /* A bias of the keys shifts all scores of a row alike, yet that of the values does not. */
        if (groups & 1u << s->group)
            assert_true(largest > 1e-4);
    }
    assert_true(compared > 0 && identical < compared / 10);
    net_free(&t);
}

static void check(fc_train_mode mode, unsigned groups, double scale, fc_grams *stats)
{
    check_pulled(mode, groups, scale, stats, 0);
}

enum {
    A = 1 << FC_GROUP_A,
    B = 1 << FC_GROUP_B,
    HEAD = 1 << FC_GROUP_HEAD,
    BACKBONE = 1 << FC_GROUP_BACKBONE
};

static void test_lora(void **state)
{
    (void)state;
    static const unsigned groups[] = {A, B, A | B, A | HEAD, B | HEAD, A | B | HEAD};
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        check(FC_TRAIN_LORA, groups[i], 1, NULL);
    check(FC_TRAIN_LORA, A | B | HEAD, 0.37, NULL);
}

static void test_full(void **state)
{
    (void)state;
    check(FC_TRAIN_FULL, BACKBONE | HEAD, 1, NULL);
    check(FC_TRAIN_FULL, BACKBONE, 1, NULL);
}

static void test_head(void **state)
{
    (void)state;
    check(FC_TRAIN_HEAD, HEAD, 1, NULL);
    check(FC_TRAIN_LORA, HEAD, 1, NULL);
}

/* A loss of logits and features. */
static void test_features(void **state)
{
    (void)state;
    check_pulled(FC_TRAIN_LORA, A | B | HEAD, 1, NULL, 0.3);
    check_pulled(FC_TRAIN_LORA, B, 0.37, NULL, 0.3);
    check_pulled(FC_TRAIN_FULL, BACKBONE | HEAD, 1, NULL, 0.3);
    check_pulled(FC_TRAIN_HEAD, HEAD, 1, NULL, 0.3);
}

/* Feeding statistics must not change the gradient. */
static void test_with_statistics(void **state)
{
    (void)state;
    fc_error err = {0};
    fc_arena arena = {0};
    fc_grams stats;
    int dims[8];
    double alphas[8] = {0};
    for (int i = 0; i < 8; i++) {
        int d_out;
        fc_slot_dims(&shape, i, &d_out, &dims[i]);
    }
    assert_int_equal(fc_grams_init(&stats, 8, dims, alphas, &arena, &err), FC_OK);
    check(FC_TRAIN_LORA, A | B | HEAD, 1, &stats);
    check(FC_TRAIN_FULL, BACKBONE | HEAD, 1, &stats);
    fc_arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lora),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_with_statistics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
