/* SMILE in the forward pass of a ViT: exact cases, the definition token by token, engines, threads.
 * In float, and in double in the gradient-check build. */
#include "core/linalg/linalg.h"
#include "core/merge/rules/smile.h"
#include "tests/support/expert_fixture.h"
#include "tests/support/slow_vit.h"

enum { NUMBERS = XF_IMAGES * XF_CLASSES };
static const fc_acts_size size = {
    .classes = XF_CLASSES, .n_max = XF_IMAGES, .experts = XF_TASKS, .gate_k = 4};

static double tolerance(void)
{
    return sizeof(fc_real) == sizeof(double) ? 1e-11 : 5e-5;
}

static fc_smile *smile_of(xf *f, const fc_smile_options *o)
{
    fc_error err = {0};
    fc_smile *s = xf_alloc(f, (size_t)fc_vit_slots(&xf_shape), sizeof *s);
    if (fc_smile_backbone(s, f->w.p, &xf_shape, &f->set, o, &f->arena, &err) != FC_OK)
        fail_msg("%s", err.msg);
    return s;
}

static void smile_forward(fc_real *logits, xf *f, const fc_smile_options *o)
{
    fc_model m = xf_model(f);
    m.smile = smile_of(f, o);
    xf_forward(logits, f, &m, XF_IMAGES, &size, &engine);
}

/* One expert, or several that are equal, are W_0 + Delta. */
static void test_exact(void **state)
{
    (void)state;
    const struct {
        int tasks, rank, k, top_k;
    } cases[] = {{1, 0, -1, 1}, {1, 0, 12, 1}, {1, 2, 2, 1}, {1, 2, -1, 1}, {1, 9, 9, 1},
                 {3, 0, -1, 1}, {3, 0, 12, 3}, {3, 2, 2, 2}, {3, 0, 64, 2}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        xf f;
        xf_init(&f, cases[c].tasks, cases[c].rank, 0.1);
        for (int t = 0; t < f.set.tensors * f.set.n; t++)
            f.tv[t] = f.tv[t % f.set.tensors];
        const fc_smile_options o = {
            .gate_k = 2, .k = cases[c].k, .top_k = cases[c].top_k, .routing_use_diff = true};
        fc_real got[NUMBERS], want[NUMBERS], base[NUMBERS];
        smile_forward(got, &f, &o);
        fc_model m = xf_model(&f);
        xf_forward(base, &f, &m, XF_IMAGES, &size, &engine);
        xf_add(f.w.p, &f, 0, 1, true);
        xf_forward(want, &f, &m, XF_IMAGES, &size, &engine);
        assert_all_close(got, want, NUMBERS, tolerance(), tolerance());
        double moved = 0;
        for (int i = 0; i < NUMBERS; i++)
            moved = fmax(moved, fabs((double)(want[i] - base[i])));
        assert_true(moved > 1e-2);
        xf_free(&f);
    }
}

/* What the definition needs of one layer: all singular vectors. */
typedef struct slow_experts {
    const xf *f;
    const fc_smile_options *o;
    int mixed; /* tokens whose experts are not those of the token before */
} slow_experts;

static double logit_of(const fc_usv *v, int gate_k, const double *x)
{
    double sum = 0;
    for (int j = 0; j < gate_k && j < fc_svd_rank(v); j++) {
        double dot = 0;
        for (int i = 0; i < v->n; i++)
            dot += v->Vt[j * v->n + i] * x[i];
        sum += dot * dot;
    }
    return sqrt(sum);
}

/* y += c (U S V^T x + bias) over the first k triplets */
static void add_expert(double *y, double c, const fc_usv *d, int k, const double *x,
                       const double *bias)
{
    for (int i = 0; bias && i < d->m; i++)
        y[i] += c * bias[i];
    for (int j = 0; j < d->k && (k < 0 || j < k); j++) {
        double dot = 0;
        for (int i = 0; i < d->n; i++)
            dot += d->Vt[j * d->n + i] * x[i];
        for (int i = 0; i < d->m; i++)
            y[i] += c * d->U[i * d->k + j] * d->S[j] * dot;
    }
}

static int tensor_of(const xf *f, int tensor)
{
    for (int t = 0; t < f->set.tensors; t++)
        if (strcmp(f->shape[t].name, f->layout.spec[tensor].name) == 0)
            return t;
    return -1;
}

static void smile_layer(double *Y, void *ctx, int slot, const double *X, int T)
{
    slow_experts *s = ctx;
    const xf *f = s->f;
    int W = fc_slot_tensor(slot), t = tensor_of(f, W), b = tensor_of(f, W + 1), m, n;
    int last = -1;
    fc_slot_dims(&xf_shape, slot, &m, &n);
    const fc_real *W0 = f->w.p + f->layout.spec[W].offset;
    fc_arena arena = {0};
    fc_usv delta[XF_TASKS], router[XF_TASKS];
    double *dense = calloc((size_t)(m * n), sizeof *dense);
    for (int e = 0; e < f->set.n; e++) {
        fc_tv_dense(dense, fc_tv_at(&f->set, e, t), &f->shape[t]);
        assert_int_equal(fc_svd(&delta[e], dense, m, n, "", &arena, NULL), FC_OK);
        for (int i = 0; i < m * n && !s->o->routing_use_diff; i++)
            dense[i] += (double)W0[i];
        assert_int_equal(fc_svd(&router[e], dense, m, n, "", &arena, NULL), FC_OK);
    }
    for (int x = 0; x < T; x++) {
        double logit[XF_TASKS], sum = 0;
        int chosen[XF_TASKS];
        slow_linear(Y + x * m, W0, f->w.p + f->layout.spec[W + 1].offset, X + x * n, m, n);
        for (int e = 0; e < f->set.n; e++)
            logit[e] = logit_of(&router[e], s->o->gate_k, X + x * n);
        for (int c = 0; c < s->o->top_k; c++) {
            int best = -1;
            for (int e = 0; e < f->set.n; e++) {
                bool used = false;
                for (int d = 0; d < c; d++)
                    used |= chosen[d] == e;
                if (!used && (best < 0 || logit[e] > logit[best]))
                    best = e;
            }
            chosen[c] = best;
            sum += exp(logit[best]);
        }
        for (int c = 0; c < s->o->top_k; c++)
            add_expert(Y + x * m, exp(logit[chosen[c]]) / sum, &delta[chosen[c]], s->o->k,
                       X + x * n, b < 0 ? NULL : fc_tv_at(&f->set, chosen[c], b)->dense);
        s->mixed += last >= 0 && last != chosen[0];
        last = chosen[0];
    }
    free(dense);
    fc_arena_free(&arena);
}

static void test_definition(void **state)
{
    (void)state;
    const struct {
        int rank;
        fc_smile_options o;
    } cases[] = {
        {0, {1, 3, 1, true, false}},   {0, {4, 5, 2, true, false}}, {0, {2, -1, 3, true, false}},
        {3, {2, 2, 1, true, false}},   {3, {2, 3, 2, true, false}}, {0, {2, 3, 1, false, false}},
        {3, {2, -1, 2, false, false}},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        xf f;
        xf_init(&f, XF_TASKS, cases[c].rank, 0.2);
        fc_real logits[NUMBERS];
        smile_forward(logits, &f, &cases[c].o);
        slow_experts s = {.f = &f, .o = &cases[c].o};
        for (int i = 0; i < XF_IMAGES; i++) {
            double features[12], want[XF_CLASSES];
            slow_vit(features, &xf_shape, f.w.p, f.x + i * XF_PIXELS, smile_layer, &s);
            slow_linear(want, f.head.p, f.head.p + XF_CLASSES * 12, features, XF_CLASSES, 12);
            assert_all_close(logits + i * XF_CLASSES, want, XF_CLASSES, tolerance(), tolerance());
        }
        assert_true(s.mixed > 10);
        xf_free(&f);
    }
}

/* Statistics run the last block on all tokens: the same answer. */
static void test_whole_last_block(void **state)
{
    (void)state;
    xf f;
    xf_init(&f, XF_TASKS, 0, 0.2);
    fc_real want[NUMBERS];
    const fc_smile_options o = {2, 3, 2, true, false};
    fc_model m = xf_model(&f);
    m.smile = smile_of(&f, &o);
    xf_forward(want, &f, &m, XF_IMAGES, &size, &engine);
    fc_acts *acts;
    fc_grams none = {0};
    assert_int_equal(fc_acts_new(&acts, &xf_shape, &size, &engine, NULL), FC_OK);
    fc_vit_forward(acts, &m, f.x, XF_IMAGES, &none, NULL);
    assert_all_close(fc_acts_logits(acts), want, NUMBERS, tolerance(), tolerance());
    fc_acts_free(acts);
    xf_free(&f);
}

/* Tensors that are not linear: left alone, or the mean of the experts. */
static void test_other_tensors(void **state)
{
    (void)state;
    xf f;
    xf_init(&f, XF_TASKS, 0, 0.2);
    fc_real *before = xf_alloc(&f, f.w.n, sizeof *before);
    memcpy(before, f.w.p, f.w.n * sizeof *before);
    fc_smile_options o = {2, 3, 1, true, false};
    smile_of(&f, &o);
    assert_memory_equal(f.w.p, before, f.w.n * sizeof *before);
    o.average_experts = true;
    smile_of(&f, &o);
    for (int i = 0; i < f.layout.nspec; i++) {
        const fc_spec *s = &f.layout.spec[i];
        bool layer = xf_is_linear(i) || (i > 0 && xf_is_linear(i - 1));
        for (size_t e = 0; e < (size_t)s->rows * (size_t)s->cols; e++) {
            double want = (double)before[s->offset + e];
            for (int k = 0; k < XF_TASKS && !layer; k++)
                want += fc_tv_at(&f.set, k, i)->dense[e] / XF_TASKS;
            assert_close(f.w.p[s->offset + e], want, tolerance(), 1e-7);
        }
    }
    xf_free(&f);
}

/* Layers that no update has keep none. */
static void test_missing_layers(void **state)
{
    (void)state;
    xf f;
    xf_init(&f, 1, 2, 0.2);
    f.set.tensors = 1;
    const fc_smile_options o = {1, 2, 1, true, false};
    fc_real got[NUMBERS], want[NUMBERS];
    smile_forward(got, &f, &o);
    fc_model m = xf_model(&f);
    xf_add(f.w.p, &f, 0, 1, true);
    xf_forward(want, &f, &m, XF_IMAGES, &size, &engine);
    assert_all_close(got, want, NUMBERS, tolerance(), tolerance());
    xf_free(&f);
}

/* With packed kernels an image has the same bits whatever is around it, in bf16 too; bf16 is near
 * float where no router has to choose. */
static void test_engines(void **state)
{
    (void)state;
    xf f;
    xf_init(&f, XF_TASKS, 3, 0.1);
    const fc_smile_options o = {2, 2, XF_TASKS, true, false};
    fc_real exact[NUMBERS], whole[NUMBERS], single[NUMBERS];
    fc_model m = xf_model(&f);
    m.smile = smile_of(&f, &o);
    xf_forward(exact, &f, &m, XF_IMAGES, &size, &engine);
    for (int i = 0; i < fc_isa_count; i++)
        for (int bf16 = 0; bf16 < 2; bf16++) {
            fc_engine e = {.isa = fc_isa_table[i], .bf16 = bf16};
            const char *why;
            if (!fc_isa_usable(e.isa, &why))
                continue;
            xf_forward(whole, &f, &m, XF_IMAGES, &size, &e);
            xf_forward(single, &f, &m, 1, &size, &e);
            if (e.isa->panel)
                assert_memory_equal(single, whole, sizeof whole);
            double limit = bf16 ? 0.05 : tolerance();
            assert_all_close(whole, exact, NUMBERS, limit, limit);
        }
    xf_free(&f);
}

/* Experts made on one thread and on three are the same bytes. */
static void test_threads(void **state)
{
    (void)state;
    xf f;
    xf_init(&f, XF_TASKS, 0, 0.2);
    const fc_smile_options o = {2, 3, 1, true, false};
    const fc_smile *one = smile_of(&f, &o);
    fc_threads_init(3, NULL);
    const fc_smile *three = smile_of(&f, &o);
    fc_threads_init(1, NULL);
    for (int i = 0; i < fc_vit_slots(&xf_shape); i++) {
        size_t rows = (size_t)one[i].of.rows, cols = (size_t)one[i].of.cols;
        for (int e = 0; e < XF_TASKS; e++) {
            const fc_expert *a = &one[i].of.expert[e], *b = &three[i].of.expert[e];
            assert_int_equal(a->rank, 3);
            assert_memory_equal(a->B, b->B, rows * 3 * sizeof *a->B);
            assert_memory_equal(a->A, b->A, cols * 3 * sizeof *a->A);
        }
        assert_memory_equal(one[i].G, three[i].G, 2 * XF_TASKS * cols * sizeof *one[i].G);
    }
    xf_free(&f);
}

static void refused(xf *f, fc_status status, const char *says)
{
    fc_error err = {0};
    fc_smile s[8];
    fc_smile_options o = {2, 3, 1, true, false};
    assert_int_equal(fc_smile_backbone(s, f->w.p, &xf_shape, &f->set, &o, &f->arena, &err), status);
    if (!strstr(err.msg, says))
        fail_msg("%s", err.msg);
}

static void test_refused(void **state)
{
    (void)state;
    xf f;
    xf_init(&f, 1, 2, 0.2);
    fc_tv_shape kept = f.shape[1];
    f.shape[1].name = "head.weight";
    refused(&f, FC_EUSAGE, "tensor head.weight: the backbone has none");
    f.shape[1] = kept;
    f.shape[1].cols--;
    refused(&f, FC_EUSAGE, "blocks.0.attn.proj.weight: found 12 x 11 numbers, expected 12 x 12");
    f.shape[1] = kept;
    double bad = (double)NAN;
    f.tv[0] = (fc_tv){.rank = 1, .B = &bad, .A = &bad};
    f.shape[0].rows = f.shape[0].cols = 1;
    refused(&f, FC_EFAIL, "tensor blocks.0.attn.qkv.weight");
    xf_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact),
        cmocka_unit_test(test_definition),
        cmocka_unit_test(test_whole_last_block),
        cmocka_unit_test(test_other_tensors),
        cmocka_unit_test(test_missing_layers),
        cmocka_unit_test(test_engines),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_refused),
    };
    fc_threads_init(1, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
