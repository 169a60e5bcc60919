/* WEMoE in the forward pass of a ViT: exact cases, the definition with a merged matrix per image,
 * chunks, batches, training. In float, and in double in the gradient-check build. */
#include "core/merge/rules/wemoe.h"
#include "core/vit/head.h"
#include "core/vit/optim.h"
#include "tests/support/expert_fixture.h"
#include "tests/support/slow_vit.h"

enum { NUMBERS = XF_IMAGES * XF_CLASSES, WIDTH = 12 };
static const fc_acts_size size = {.classes = XF_CLASSES,
                                  .n_max = XF_IMAGES,
                                  .backward = true,
                                  .experts = XF_TASKS,
                                  .gates = true,
                                  .whole = true};

static double tolerance(void)
{
    return sizeof(fc_real) == sizeof(double) ? 1e-11 : 5e-5;
}

static void wemoe_init(fc_wemoe *m, xf *f, const fc_wemoe_options *o)
{
    fc_error err = {0};
    if (fc_wemoe_init(m, f->w.p, &xf_shape, &f->set, o, 7, &f->arena, &err) != FC_OK)
        fail_msg("%s", err.msg);
}

/* Gates far from their start, which differ from image to image. */
static void shake(fc_wemoe *m, xf *f)
{
    const double *x = xf_normal(f, m->gates.n, 0.3, 5);
    for (size_t i = 0; i < m->gates.n; i++)
        m->gates.p[i] = (fc_real)x[i];
}

static bool is_mlp(const char *name)
{
    return strstr(name, ".mlp.");
}

/* Constant gates are task arithmetic: of lambda at the start, of other coefficients for the MLPs
 * afterwards. */
static void test_exact(void **state)
{
    (void)state;
    for (int rank = 0; rank <= 2; rank += 2) {
        xf f;
        xf_init(&f, XF_TASKS, rank, 0.2);
        fc_real *want = xf_alloc(&f, f.w.n, sizeof *want), got[NUMBERS], logits[NUMBERS];
        memcpy(want, f.w.p, f.w.n * sizeof *want);
        for (int i = 0; i < XF_TASKS; i++)
            xf_add(want, &f, i, 0.3, false);
        fc_wemoe wemoe;
        wemoe_init(&wemoe, &f, &(fc_wemoe_options){.lambda = 0.3});
        for (int i = 0; i < f.layout.nspec; i++) {
            const fc_spec *s = &f.layout.spec[i];
            if (!is_mlp(s->name))
                assert_all_close(f.w.p + s->offset, want + s->offset, s->rows * s->cols, 1e-6,
                                 1e-6);
        }
        fc_model m = xf_model(&f), merged = m;
        m.wemoe = &wemoe;
        merged.w = want;
        xf_forward(got, &f, &m, XF_IMAGES, &size, &engine);
        xf_forward(logits, &f, &merged, XF_IMAGES, &size, &engine);
        assert_all_close(got, logits, NUMBERS, tolerance(), tolerance());

        static const fc_real lambda[XF_TASKS] = {(fc_real)0.5, (fc_real)-0.25, 0};
        for (int l = 0; l < xf_shape.depth; l++)
            memcpy(fc_wemoe_gate(&wemoe, wemoe.gates.p, l).b2, lambda, sizeof lambda);
        memcpy(want, f.w.p, f.w.n * sizeof *want);
        for (int i = 0; i < XF_TASKS; i++)
            xf_add(want, &f, i, (double)lambda[i], false);
        for (int i = 0; i < f.layout.nspec; i++) {
            const fc_spec *s = &f.layout.spec[i];
            if (!is_mlp(s->name))
                memcpy(want + s->offset, f.w.p + s->offset,
                       (size_t)(s->rows * s->cols) * sizeof *want);
        }
        xf_forward(got, &f, &m, XF_IMAGES, &size, &engine);
        xf_forward(logits, &f, &merged, XF_IMAGES, &size, &engine);
        assert_all_close(got, logits, NUMBERS, tolerance(), tolerance());
        xf_free(&f);
    }
}

/* The definition: weights from all tokens, then a merged layer of this image. */
typedef struct slow_gates {
    const xf *f;
    const fc_wemoe *wemoe;
    double w[XF_TASKS];
    double least, most; /* of all weights */
} slow_gates;

static void find_weights(slow_gates *s, int l, const double *h, int T)
{
    fc_gate g = fc_wemoe_gate(s->wemoe, s->wemoe->gates.p, l);
    memset(s->w, 0, sizeof s->w);
    for (int t = 0; t < T; t++) {
        double x[WIDTH], y[XF_TASKS];
        memcpy(x, h + t * WIDTH, sizeof x);
        if (g.layers == 2) {
            slow_linear(x, g.W1, g.b1, h + t * WIDTH, WIDTH, WIDTH);
            for (int i = 0; i < WIDTH; i++)
                x[i] = fmax(x[i], 0);
        }
        slow_linear(y, g.W2, g.b2, x, XF_TASKS, WIDTH);
        for (int k = 0; k < XF_TASKS; k++)
            s->w[k] += (g.layers > 0 ? y[k] : (double)g.b2[k]) / T;
    }
    for (int k = 0; k < XF_TASKS; k++) {
        s->least = fmin(s->least, s->w[k]);
        s->most = fmax(s->most, s->w[k]);
    }
}

static void gated_layer(double *Y, void *ctx, int slot, const double *X, int T)
{
    slow_gates *s = ctx;
    int tensor = fc_slot_tensor(slot), m, n;
    fc_slot_dims(&xf_shape, slot, &m, &n);
    if (slot % 4 == 2)
        find_weights(s, slot / 4, X, T);
    fc_real *p[2]; /* weight, bias */
    for (int i = 0; i < 2; i++) {
        const fc_spec *spec = &s->f->layout.spec[tensor + i];
        size_t numbers = (size_t)spec->rows * (size_t)spec->cols;
        double *sum = calloc(numbers, sizeof *sum);
        p[i] = calloc(numbers, sizeof *p[i]);
        for (int t = 0; t < s->f->set.tensors && slot % 4 >= 2; t++)
            for (int k = 0; k < XF_TASKS && strcmp(s->f->shape[t].name, spec->name) == 0; k++)
                fc_tv_add(sum, s->w[k], fc_tv_at(&s->f->set, k, t), &s->f->shape[t]);
        for (size_t e = 0; e < numbers; e++)
            p[i][e] = (fc_real)((double)s->f->w.p[spec->offset + e] + sum[e]);
        free(sum);
    }
    for (int t = 0; t < T; t++)
        slow_linear(Y + t * m, p[0], p[1], X + t * n, m, n);
    free(p[0]);
    free(p[1]);
}

static void test_definition(void **state)
{
    (void)state;
    for (int layers = 0; layers <= 2; layers++)
        for (int rank = 0; rank <= 3; rank += 3) {
            xf f;
            fc_wemoe wemoe;
            xf_init(&f, XF_TASKS, rank, 0.2);
            wemoe_init(&wemoe, &f, &(fc_wemoe_options){0.3, layers, false});
            shake(&wemoe, &f);
            fc_model m = xf_model(&f);
            m.wemoe = &wemoe;
            fc_real logits[NUMBERS];
            xf_forward(logits, &f, &m, XF_IMAGES, &size, &engine);
            slow_gates s = {.f = &f, .wemoe = &wemoe, .least = 1e9, .most = -1e9};
            for (int i = 0; i < XF_IMAGES; i++) {
                double features[WIDTH], want[XF_CLASSES];
                slow_vit(features, &xf_shape, f.w.p, f.x + i * XF_PIXELS, gated_layer, &s);
                slow_linear(want, f.head.p, f.head.p + XF_CLASSES * WIDTH, features, XF_CLASSES,
                            WIDTH);
                assert_all_close(logits + i * XF_CLASSES, want, XF_CLASSES, tolerance(),
                                 tolerance());
            }
            assert_true(s.most - s.least > 0.5);
            xf_free(&f);
        }
}

/* With batch_reduce: as one image alone where all are the same, else not; w is the mean of w. */
static void test_batch_reduce(void **state)
{
    (void)state;
    xf f;
    fc_wemoe wemoe;
    xf_init(&f, XF_TASKS, 0, 0.2);
    wemoe_init(&wemoe, &f, &(fc_wemoe_options){0.3, 2, true});
    shake(&wemoe, &f);
    fc_model m = xf_model(&f);
    m.wemoe = &wemoe;
    fc_real single[NUMBERS], all[NUMBERS];
    xf_forward(single, &f, &m, 1, &size, &engine);
    xf_forward(all, &f, &m, XF_IMAGES, &size, &engine);
    assert_true(fabs((double)(single[0] - all[0])) > 1e-3);
    for (int i = XF_IMAGES - 1; i > 0; i--) { /* the last one matters to the first */
        const fc_real before = all[0];
        memcpy(f.x + i * XF_PIXELS, f.x, XF_PIXELS * sizeof *f.x);
        xf_forward(all, &f, &m, XF_IMAGES, &size, &engine);
        assert_true(fabs((double)(before - all[0])) > 1e-4);
    }
    for (int i = 0; i < XF_IMAGES; i++)
        assert_all_close(all + i * XF_CLASSES, single, XF_CLASSES, tolerance(), tolerance());

    enum { N = 4, T = 3 };
    fc_real h[N * T * WIDTH], z[N * T * WIDTH], mean[N * WIDTH];
    double w[N * XF_TASKS], reduced[N * XF_TASKS];
    xf_fill(&f, h, N * T * WIDTH, 1, 6);
    fc_gate g = fc_wemoe_gate(&wemoe, wemoe.gates.p, 1);
    fc_gate_forward(&engine, reduced, mean, z, &g, h, N, T);
    g.batch_reduce = false;
    fc_gate_forward(&engine, w, mean, z, &g, h, N, T);
    for (int i = 0; i < N * XF_TASKS; i++) {
        double sum = 0;
        for (int n = 0; n < N; n++)
            sum += w[n * XF_TASKS + i % XF_TASKS];
        assert_close(reduced[i], sum / N, 1e-12, 1e-12);
    }
    xf_free(&f);
}

/* Activations of one chunk, of several, without backward; packed kernels: the same bits. */
static void check_chunks(int rank, const fc_engine *e)
{
    xf f;
    fc_wemoe wemoe;
    xf_init(&f, XF_TASKS, rank, 0.2);
    wemoe_init(&wemoe, &f, &(fc_wemoe_options){0.3, 2, false});
    shake(&wemoe, &f);
    fc_model m = xf_model(&f);
    m.wemoe = &wemoe;
    fc_real whole[NUMBERS], other[NUMBERS];
    fc_acts_size parts = size, eval = size;
    parts.whole = eval.whole = eval.backward = false;
    xf_forward(whole, &f, &m, XF_IMAGES, &size, e);
    xf_forward(other, &f, &m, 1, &size, e);
    assert_memory_equal(other, whole, sizeof whole);
    xf_forward(other, &f, &m, XF_IMAGES, &parts, e);
    assert_memory_equal(other, whole, sizeof whole);
    xf_forward(other, &f, &m, XF_IMAGES, &eval, e);
    assert_memory_equal(other, whole, sizeof whole);
    xf_free(&f);
}

static void test_chunks(void **state)
{
    (void)state;
    for (int i = 0; i < fc_isa_count; i++)
        for (int bf16 = 0; bf16 < 2; bf16++) {
            fc_engine e = {.isa = fc_isa_table[i], .bf16 = bf16};
            const char *why;
            if (!e.isa->panel || !fc_isa_usable(e.isa, &why))
                continue;
            check_chunks(0, &e);
            check_chunks(2, &e);
        }
}

/* Gradients of images one by one, and of several chunks, add up. */
static void test_gradients_add_up(void **state)
{
    (void)state;
    xf f;
    fc_wemoe wemoe;
    xf_init(&f, XF_TASKS, 0, 0.2);
    wemoe_init(&wemoe, &f, &(fc_wemoe_options){0.3, 2, false});
    shake(&wemoe, &f);
    fc_model m = xf_model(&f);
    m.wemoe = &wemoe;
    size_t n = wemoe.gates.n;
    fc_real *grad[3], d[NUMBERS];
    for (int k = 0; k < 3; k++) {
        fc_acts_size how = size;
        how.whole = k == 0;
        int step = k == 2 ? 1 : XF_IMAGES;
        fc_acts *acts;
        grad[k] = xf_alloc(&f, n, sizeof *grad[k]);
        assert_int_equal(fc_acts_new(&acts, &xf_shape, &how, &engine, NULL), FC_OK);
        for (int i = 0; i < XF_IMAGES; i += step) {
            const fc_grads g = {.gates = grad[k]};
            fc_vit_forward(acts, &m, f.x + i * XF_PIXELS, step, NULL, &g);
            fc_entropy(d, fc_acts_logits(acts), step, XF_CLASSES, 1, 4, XF_IMAGES);
            fc_vit_backward(acts, &m, d, &g);
        }
        fc_acts_free(acts);
        assert_all_close(grad[k], grad[0], n, 1e-4, tolerance());
    }
    xf_free(&f);
}

/* Steps of Adam on the gates alone lower the entropy. */
static void test_training(void **state)
{
    (void)state;
    enum { STEPS = 30 };
    xf f;
    fc_wemoe wemoe;
    fc_optim optim;
    fc_params grad;
    fc_acts *acts;
    xf_init(&f, XF_TASKS, 2, 0.2);
    wemoe_init(&wemoe, &f, &(fc_wemoe_options){0.3, 2, false});
    const fc_optim_config adam = {.kind = FC_ADAM,
                                  .lr = {[FC_GROUP_BACKBONE] = 0.1},
                                  .groups = 1u << FC_GROUP_BACKBONE,
                                  .beta1 = 0.9,
                                  .beta2 = 0.999,
                                  .eps = 1e-8};
    assert_int_equal(fc_optim_init(&optim, &adam, &wemoe.gates, &f.arena, NULL), FC_OK);
    assert_int_equal(fc_params_alloc(&grad, &wemoe.gates, &f.arena, NULL), FC_OK);
    assert_int_equal(fc_acts_new(&acts, &xf_shape, &size, &engine, NULL), FC_OK);
    for (size_t i = 0; i < f.head.n; i++)
        f.head.p[i] *= 4; /* at first all classes are alike, which is a maximum */
    fc_model m = xf_model(&f);
    m.wemoe = &wemoe;
    double first = 0, last = 0;
    for (int i = 0; i < STEPS; i++) {
        fc_real d[NUMBERS];
        const fc_grads g = {.gates = grad.p};
        fc_vit_forward(acts, &m, f.x, XF_IMAGES, NULL, &g);
        last = fc_entropy(d, fc_acts_logits(acts), XF_IMAGES, XF_CLASSES, 0, XF_CLASSES, XF_IMAGES);
        first = i == 0 ? last : first;
        memset(grad.p, 0, grad.n * sizeof *grad.p);
        fc_vit_backward(acts, &m, d, &g);
        fc_optim_step(&optim, &wemoe.gates, grad.p, 1, 0);
    }
    assert_true(last < 0.9 * first);
    fc_acts_free(acts);
    xf_free(&f);
}

static void test_start(void **state)
{
    (void)state;
    xf f;
    fc_wemoe m;
    xf_init(&f, XF_TASKS, 2, 0.2);
    wemoe_init(&m, &f, &(fc_wemoe_options){0.3, 2, false});
    assert_int_equal(m.gates.nspec, 4 * xf_shape.depth);
    assert_string_equal(m.gates.spec[4].name, "blocks.1.mlp.gate.fc1.weight");
    double sum = 0, squares = 0;
    for (int l = 0; l < xf_shape.depth; l++) {
        fc_gate g = fc_wemoe_gate(&m, m.gates.p, l);
        assert_ptr_equal(g.b2,
                         m.gates.p + fc_params_find(&m.gates, l ? "blocks.1.mlp.gate.fc2.bias"
                                                                : "blocks.0.mlp.gate.fc2.bias")
                                         ->offset);
        assert_ptr_equal(g.W2 + XF_TASKS * WIDTH, g.b2);
        assert_ptr_equal(g.b1 + WIDTH, g.W2);
        for (int i = 0; i < WIDTH * WIDTH; i++) {
            sum += (double)g.W1[i];
            squares += (double)(g.W1[i] * g.W1[i]);
        }
        for (int i = 0; i < WIDTH; i++)
            assert_true(g.b1[i] == 0 && g.W2[i] != 0);
        for (int i = 0; i < XF_TASKS; i++)
            assert_close(g.b2[i], 0.3, 1e-7, 0);
    }
    int n = WIDTH * WIDTH * xf_shape.depth; /* of N(0, 0.01) */
    assert_true(fabs(sum / n) < 4 * 0.01 / sqrt(n));
    assert_close(sqrt(squares / n), 0.01, 4 / sqrt(2.0 * n), 0);
    xf_free(&f);
}

static void test_refused(void **state)
{
    (void)state;
    xf f;
    fc_wemoe m;
    fc_error err = {0};
    xf_init(&f, 1, 2, 0.2);
    fc_wemoe_options o = {0.3, 3, false};
    assert_int_equal(fc_wemoe_init(&m, f.w.p, &xf_shape, &f.set, &o, 1, &f.arena, &err), FC_EUSAGE);
    assert_non_null(strstr(err.msg, "router_layers 3, expected 0, 1 or 2"));
    o.router_layers = 2;
    err = (fc_error){0};
    f.shape[0].name = "head.weight";
    assert_int_equal(fc_wemoe_init(&m, f.w.p, &xf_shape, &f.set, &o, 1, &f.arena, &err), FC_EUSAGE);
    assert_non_null(strstr(err.msg, "tensor head.weight: the backbone has none"));
    xf_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact),
        cmocka_unit_test(test_definition),
        cmocka_unit_test(test_batch_reduce),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_gradients_add_up),
        cmocka_unit_test(test_training),
        cmocka_unit_test(test_start),
        cmocka_unit_test(test_refused),
    };
    fc_threads_init(1, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
