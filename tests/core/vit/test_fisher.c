/* Fisher information of a tiny network in double: against central differences of log p_c, and on
 * the head against its closed form. */
#include "core/vit/fisher.h"

#include "core/base/rng.h"
#include "tests/support/close.h"
#include "tests/support/engine.h"

#include <string.h>

static const fc_vit_shape shape = {
    .image = 4, .patch = 2, .width = 8, .depth = 2, .heads = 2, .hidden = 12};
enum { RANK = 3, CLASSES = 5, LO = 1, HI = 4, IMAGES = 3, PIXELS = 3 * 4 * 4 };
static const int label[IMAGES] = {2, 1, 3};

typedef struct net {
    fc_arena arena;
    fc_params full; /* backbone and head */
    fc_params lora; /* A, B and a head that is not used */
    fc_fisher f;
    fc_real x[IMAGES * PIXELS];
    bool with_lora;
} net;

static void fill(fc_real *p, size_t n, uint32_t sample)
{
    fc_rng g = fc_rng_at((fc_key){.seed = 7, .stream = FC_STREAM_TEST, .sample = sample});
    for (size_t i = 0; i < n; i++)
        p[i] = (fc_real)(0.5 * fc_rng_normal(&g));
}

static void net_init(net *t, fc_fisher_kind kind, bool with_lora)
{
    fc_params layout;
    *t = (net){.with_lora = with_lora};
    fc_arena *a = &t->arena;
    assert_int_equal(fc_train_layout(&layout, &shape, FC_TRAIN_FULL, 0, CLASSES, a, NULL), FC_OK);
    assert_int_equal(fc_params_alloc(&t->full, &layout, a, NULL), FC_OK);
    assert_int_equal(fc_params_alloc(&t->f.grad, &layout, a, NULL), FC_OK);
    assert_int_equal(fc_train_layout(&layout, &shape, FC_TRAIN_LORA, RANK, CLASSES, a, NULL),
                     FC_OK);
    assert_int_equal(fc_params_alloc(&t->lora, &layout, a, NULL), FC_OK);
    const fc_acts_size size = {.rank = RANK, .classes = CLASSES, .n_max = 1, .backward = true};
    assert_int_equal(fc_acts_new(&t->f.acts, &shape, &size, &engine, NULL), FC_OK);
    t->f.kind = kind;
    t->f.lo = LO;
    t->f.hi = HI;
    t->f.dlogits = fc_arena_alloc(a, CLASSES, sizeof *t->f.dlogits, NULL);
    fill(t->full.p, t->full.n, 1);
    fill(t->lora.p, t->lora.n, 2);
    fill(t->x, IMAGES * PIXELS, 3);
}

static void net_free(net *t)
{
    fc_acts_free(t->f.acts);
    fc_arena_free(&t->arena);
}

static fc_model model_of(const net *t)
{
    fc_model m = fc_model_of(&shape, FC_TRAIN_FULL, 0, CLASSES, NULL, &t->full);
    fc_model with = fc_model_of(&shape, FC_TRAIN_LORA, RANK, CLASSES, NULL, &t->lora);
    if (t->with_lora) {
        m.rank = RANK;
        m.A = with.A;
        m.B = with.B;
        m.scale = (fc_real)0.3;
    }
    return m;
}

/* log softmax(z[LO:HI]) of every image */
static void log_p(net *t, double out[IMAGES][CLASSES])
{
    fc_model m = model_of(t);
    for (int i = 0; i < IMAGES; i++) {
        fc_vit_forward(t->f.acts, &m, t->x + i * PIXELS, 1, NULL, NULL);
        const fc_real *z = fc_acts_logits(t->f.acts);
        double sum = 0;
        for (int c = LO; c < HI; c++)
            sum += exp((double)z[c]);
        for (int c = LO; c < HI; c++)
            out[i][c] = (double)z[c] - log(sum);
    }
}

static void check(fc_fisher_kind kind, bool with_lora)
{
    net t;
    net_init(&t, kind, with_lora);
    fc_model m = model_of(&t);
    fc_real *F = fc_arena_alloc(&t.arena, t.full.n, sizeof *F, NULL);
    fc_fisher_add(F, &t.f, &m, t.x, label, 2); /* in two calls: a sum */
    fc_fisher_add(F, &t.f, &m, t.x + 2 * PIXELS, label + 2, 1);

    const double h = 1e-5;
    double at[IMAGES][CLASSES], up[IMAGES][CLASSES], down[IMAGES][CLASSES];
    log_p(&t, at);
    for (int k = 0; k < t.full.nspec; k++) {
        const fc_spec *s = &t.full.spec[k];
        double largest = 0;
        for (size_t e = s->offset; e < s->offset + (size_t)s->rows * (size_t)s->cols; e++) {
            fc_real kept = t.full.p[e];
            t.full.p[e] = kept + (fc_real)h;
            log_p(&t, up);
            t.full.p[e] = kept - (fc_real)h;
            log_p(&t, down);
            t.full.p[e] = kept;
            double want = 0;
            for (int i = 0; i < IMAGES; i++)
                for (int c = LO; c < HI; c++) {
                    double d = (up[i][c] - down[i][c]) / (2 * h);
                    double weight = kind == FC_FISHER_EXPECTED || c == label[i];
                    if (kind != FC_FISHER_LABELS)
                        weight *= exp(at[i][c]);
                    want += weight * d * d;
                }
            fc_close_at((double)F[e], want, 1e-6, 1e-9, s->name, e - s->offset, __FILE__, __LINE__);
            largest = fmax(largest, want);
        }
        assert_true(largest > 1e-6);
    }
    net_free(&t);
}

static void test_differences(void **state)
{
    (void)state;
    check(FC_FISHER_EXPECTED, false);
    check(FC_FISHER_LABELS, false);
    check(FC_FISHER_EXPECTED, true);
    check(FC_FISHER_LABELS, true);
    check(FC_FISHER_WEIGHTED, false);
    check(FC_FISHER_WEIGHTED, true);
}

/* z = W f + b: sum_c p_c (d log p_c / d W_kj)^2 = p_k (1 - p_k) f_j^2, and (1 - p_y)^2 or p_k^2
 * times f_j^2 with a label, times p_y where it is weighted; rows of other tasks: 0. */
static void test_head(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        net t;
        net_init(&t, (fc_fisher_kind)kind, false);
        fc_model m = model_of(&t);
        fc_real *F = fc_arena_alloc(&t.arena, t.full.n, sizeof *F, NULL);
        fc_fisher_add(F, &t.f, &m, t.x, label, 1);
        double p[IMAGES][CLASSES];
        log_p(&t, p);
        fc_vit_forward(t.f.acts, &m, t.x, 1, NULL, NULL);
        const fc_spec *W = &t.full.spec[fc_train_head(&t.full)], *b = W + 1;
        for (int k = 0; k < CLASSES; k++) {
            double pk = exp(p[0][k]), d = (k == label[0]) - pk;
            double want = k < LO || k >= HI            ? 0
                          : kind == FC_FISHER_EXPECTED ? pk * (1 - pk)
                          : kind == FC_FISHER_LABELS   ? d * d
                                                       : d * d * exp(p[0][label[0]]);
            assert_close(F[b->offset + (size_t)k], want, 1e-12, 0);
            for (int j = 0; j < shape.width; j++) {
                double f = (double)fc_acts_features(t.f.acts)[j];
                assert_close(F[W->offset + (size_t)(k * shape.width + j)], want * f * f, 1e-12, 0);
            }
        }
        net_free(&t);
    }
}

/* A backward pass for each class of the task, or for the label. */
static void test_work(void **state)
{
    (void)state;
    double forward = fc_vit_flop(&shape, 0, CLASSES, FC_TRAIN_FULL, ~0u, false);
    double one = fc_fisher_flop(FC_FISHER_LABELS, &shape, 0, CLASSES, 3);
    assert_true(one > 2 * forward);
    for (int task = 1; task <= CLASSES; task++)
        assert_close(fc_fisher_flop(FC_FISHER_EXPECTED, &shape, 0, CLASSES, task) - forward,
                     task * (one - forward), 1e-12, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_differences),
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
