/* Grams, merges, cross-task deltas and metrics against golden vectors, in double to 1e-10. */
#include "core/base/metrics.h"
#include "core/vit/deltas.h"
#include "core/vit/stats.h"
#include "tests/support/golden.h"
#include "tests/support/merge_fixture.h"

#include <float.h>

/* 1e-10 of the largest element: small elements are sums of large ones of both signs */
static void check(const fc_real *got, const gold_tensor *want, const char *what)
{
    double top = 0;
    for (size_t i = 0; i < want->n; i++)
        top = fmax(top, fabs(want->v[i]));
    for (size_t i = 0; i < want->n; i++)
        fc_close_at((double)got[i], want->v[i], 1e-10, 1e-10 * top, what, i, __FILE__, __LINE__);
}

static void set(fc_real *x, gold_tensor t)
{
    for (size_t i = 0; i < t.n; i++)
        x[i] = (fc_real)t.v[i];
}

/* A dense golden Gram into slot i: its diagonal where only that is kept. */
static void set_gram(fc_grams *g, int i, gold_tensor G)
{
    const fc_gram_slot *s = &g->slot[i];
    size_t d = (size_t)s->dim, step = s->full ? 1 : d + 1;
    assert_int_equal(G.n, d * d);
    for (size_t j = 0; j < (s->full ? d * d : d); j++)
        g->g[s->offset + j] = G.v[j * step];
}

/* out (m, n) = B (m, r) A (r, n) */
static void product(fc_real *out, const fc_real *B, const fc_real *A, int m, int n, int r)
{
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            fc_real sum = 0;
            for (int k = 0; k < r; k++)
                sum += B[i * r + k] * A[k * n + j];
            out[i * n + j] = sum;
        }
}

static void gram_case(const char *name)
{
    gold g = gold_open(name);
    double alpha = gold_scalar(&g, "param.alpha");
    for (int k = 0; k < gold_count(&g, "in.X"); k++) {
        gold_tensor X = gold_item(&g, "in.X", k), want = gold_item(&g, "out.G", k);
        int rows = X.dim[0], d = X.dim[1];
        fc_arena arena = {0};
        fc_grams got;
        assert_int_equal(fc_grams_init(&got, 1, &d, &alpha, &arena, NULL), FC_OK);
        fc_real *x = fc_arena_alloc(&arena, X.n, sizeof *x, NULL);
        set(x, X);
        fc_grams_add(&got, 0, x, 1, d); /* in two calls */
        fc_grams_add(&got, 0, x + d, rows - 1, d);
        fc_grams_finish(&got);
        fc_grams expected;
        assert_int_equal(fc_grams_init(&expected, 1, &d, &alpha, &arena, NULL), FC_OK);
        set_gram(&expected, 0, want);
        assert_int_equal(got.slot[0].full, alpha != 0);
        assert_all_close(got.g, expected.g, got.size, 1e-10, 1e-10);
        fc_arena_free(&arena);
    }
    gold_close(&g);
}

static void test_grams(void **state)
{
    (void)state;
    gram_case("lorm_gram_full");
    gram_case("lorm_gram_half");
    gram_case("lorm_gram_diag");
}

/* A case of one LoRA pair; trained is 'A' or 'B', the other is common (zero where not given). */
static void lorm_case(const char *name, char trained)
{
    gold g = gold_open(name);
    const char *one = trained == 'A' ? "in.A" : "in.B";
    gold_tensor W = gold_item(&g, one, 0), G = gold_item(&g, "in.G", 0);
    int r = trained == 'A' ? W.dim[0] : W.dim[1];
    const gold_tensor *B = gold_find(&g, "in.B");
    fx_shape s = {.slots = 1, .d_in = {G.dim[0]}, .rank = r, .clients = gold_count(&g, one)};
    s.d_out[0] = trained == 'B' ? W.dim[0] : B ? B->dim[0] : 3;
    s.alpha_backbone = gold_scalar(&g, "param.alpha");
    fixture f;
    fx_init(&f, s);
    f.job.groups = 1u << (trained == 'A' ? FC_GROUP_A : FC_GROUP_B);
    if (trained == 'B')
        set(fx_tensor(&f, &f.base, "layer0.lora_A"), *gold_get(&g, "in.A"));
    else if (B)
        set(fx_tensor(&f, &f.base, "layer0.lora_B"), *B);
    for (int k = 0; k < s.clients; k++) {
        set(fx_tensor(&f, &f.client[k], trained == 'A' ? "layer0.lora_A" : "layer0.lora_B"),
            gold_item(&g, one, k));
        set_gram(&f.gram[k], 0, gold_item(&g, "in.G", k));
    }
    fc_error err = {0};
    assert_int_equal(fx_merge(&f, "lorm", &err), FC_OK);
    fc_real *A = fx_tensor(&f, &f.out, "layer0.lora_A"),
            *Bm = fx_tensor(&f, &f.out, "layer0.lora_B");
    check(trained == 'A' ? A : Bm, gold_get(&g, "out.%c", trained), name);
    if (gold_find(&g, "out.delta")) {
        fc_real *delta =
            fc_arena_alloc(&f.arena, gold_get(&g, "out.delta")->n, sizeof *delta, NULL);
        product(delta, Bm, A, s.d_out[0], s.d_in[0], r);
        check(delta, gold_get(&g, "out.delta"), name);
    }
    fx_free(&f);
    gold_close(&g);
}

static void test_lorm_A(void **state)
{
    (void)state;
    lorm_case("lorm_merge_A_full", 'A');
    lorm_case("lorm_merge_A_half", 'A');
    lorm_case("lorm_merge_A_diag", 'A');
    lorm_case("lorm_merge_A_diag_dead_feature", 'A');
    lorm_case("lorm_merge_A_rankdef", 'A');
}

static void test_lorm_B(void **state)
{
    (void)state;
    lorm_case("lorm_merge_B_full", 'B');
    lorm_case("lorm_merge_B_half", 'B');
    lorm_case("lorm_merge_B_diag", 'B');
    lorm_case("lorm_merge_B_rankdef_gram", 'B');
    lorm_case("lorm_merge_B_rankdef_A", 'B');
}

static void test_head(void **state)
{
    (void)state;
    gold g = gold_open("lorm_head");
    const gold_tensor *W = gold_get(&g, "out.W"), *n = gold_get(&g, "in.n");
    fx_shape s = {.classes = W->dim[0], .width = W->dim[1], .clients = (int)n->n};
    s.alpha_head = gold_scalar(&g, "param.alpha");
    fixture f;
    fx_init(&f, s);
    for (int k = 0; k < s.clients; k++) {
        set(fx_tensor(&f, &f.client[k], "head.weight"), gold_item(&g, "in.W", k));
        set(fx_tensor(&f, &f.client[k], "head.bias"), gold_item(&g, "in.b", k));
        set_gram(&f.gram[k], 0, gold_item(&g, "out.G", k));
        f.update[k].n_samples = (size_t)n->v[k];
    }
    assert_int_equal(fx_merge(&f, "lorm", NULL), FC_OK);
    check(fx_tensor(&f, &f.out, "head.weight"), W, "head.weight");
    check(fx_tensor(&f, &f.out, "head.bias"), gold_get(&g, "out.b"), "head.bias");
    fx_free(&f);
    gold_close(&g);
    gram_case("lorm_head");
}

static void regmean_case(const char *name)
{
    gold g = gold_open(name);
    const gold_tensor *W = gold_get(&g, "out.W");
    fx_shape s = {.slots = 1, .d_out = {W->dim[0]}, .d_in = {W->dim[1]}};
    s.clients = gold_count(&g, "in.W");
    s.alpha_backbone = gold_scalar(&g, "param.alpha");
    fixture f;
    fx_init(&f, s);
    for (int k = 0; k < s.clients; k++) {
        set(fx_tensor(&f, &f.client[k], "layer0.weight"), gold_item(&g, "in.W", k));
        set_gram(&f.gram[k], 0, gold_item(&g, "out.G", k));
    }
    assert_int_equal(fx_merge(&f, "regmean", NULL), FC_OK);
    check(fx_tensor(&f, &f.out, "layer0.weight"), W, name);
    fx_free(&f);
    gold_close(&g);
    gram_case(name);
}

static void test_regmean(void **state)
{
    (void)state;
    regmean_case("regmean_full");
    regmean_case("regmean_half");
}

static void test_fedavg(void **state)
{
    (void)state;
    gold g = gold_open("fedavg");
    const gold_tensor *n = gold_get(&g, "in.n");
    fixture f;
    fx_init(&f, (fx_shape){.classes = (int)gold_get(&g, "out.uniform")->n, .clients = (int)n->n});
    for (int k = 0; k < f.s.clients; k++) {
        set(f.client[k].p, gold_item(&g, "in.theta", k));
        f.update[k].n_samples = (size_t)n->v[k];
    }
    assert_int_equal(fx_merge(&f, "average", NULL), FC_OK);
    check(f.out.p, gold_get(&g, "out.weighted"), "weighted");
    f.job.weighted = false;
    assert_int_equal(fx_merge(&f, "average", NULL), FC_OK);
    check(f.out.p, gold_get(&g, "out.uniform"), "uniform");
    fx_free(&f);
    gold_close(&g);
}

/* FedIT averages A and B; FFA-LoRA only B, with the common A of client 0. */
static void test_lora_averaging(void **state)
{
    (void)state;
    gold g = gold_open("lora_averaging");
    gold_tensor A = gold_item(&g, "in.A", 0), B = gold_item(&g, "in.B", 0);
    const gold_tensor *n = gold_get(&g, "in.n");
    int r = A.dim[0], d_in = A.dim[1], d_out = B.dim[0];
    fixture f;
    fx_init(&f, (fx_shape){
                    .slots = 1, .d_out = {d_out}, .d_in = {d_in}, .rank = r, .clients = (int)n->n});
    set(fx_tensor(&f, &f.base, "layer0.lora_A"), A);
    for (int k = 0; k < f.s.clients; k++) {
        set(fx_tensor(&f, &f.client[k], "layer0.lora_A"), gold_item(&g, "in.A", k));
        set(fx_tensor(&f, &f.client[k], "layer0.lora_B"), gold_item(&g, "in.B", k));
        f.update[k].n_samples = (size_t)n->v[k];
    }
    fc_real *delta = fc_arena_alloc(&f.arena, (size_t)d_out * (size_t)d_in, sizeof *delta, NULL);
    const char *want[] = {"out.ffa_delta", "out.fedit_delta"};
    for (int both = 0; both < 2; both++) {
        f.job.groups = 1u << FC_GROUP_B | (both ? 1u << FC_GROUP_A : 0);
        assert_int_equal(fx_merge(&f, "average", NULL), FC_OK);
        product(delta, fx_tensor(&f, &f.out, "layer0.lora_B"),
                fx_tensor(&f, &f.out, "layer0.lora_A"), d_out, d_in, r);
        check(delta, gold_get(&g, "%s", want[both]), want[both]);
    }
    fx_free(&f);
    gold_close(&g);
}

/* The golden layer is fc1 (hidden x width) of a one-block ViT whose other slots stay zero. */
static void cross_task_case(const char *name)
{
    gold g = gold_open(name);
    gold_tensor A = gold_item(&g, "in.A", 0), B = gold_item(&g, "in.B", 0);
    int r = A.dim[0], d_in = A.dim[1], d_out = B.dim[0], T = gold_count(&g, "in.A"), fc1 = 2;
    fc_vit_shape s = {
        .image = 1, .patch = 1, .width = d_in, .depth = 1, .heads = 1, .hidden = d_out};
    fc_arena arena = {0};
    fc_params layout, w, train;
    assert_int_equal(fc_vit_layout(&layout, &s, &arena, NULL), FC_OK);
    assert_int_equal(fc_params_alloc(&w, &layout, &arena, NULL), FC_OK);
    assert_int_equal(fc_train_layout(&layout, &s, FC_TRAIN_LORA, r, 2, &arena, NULL), FC_OK);
    assert_int_equal(fc_params_alloc(&train, &layout, &arena, NULL), FC_OK);
    int dims[4];
    double alpha[4];
    for (int i = 0; i < 4; i++) {
        int ignored;
        fc_slot_dims(&s, i, &ignored, &dims[i]);
        alpha[i] = gold_scalar(&g, "param.alpha");
    }
    fc_grams Gs;
    assert_int_equal(fc_grams_init(&Gs, 4, dims, alpha, &arena, NULL), FC_OK);
    fc_deltas d;
    assert_int_equal(fc_deltas_init(&d, &s, r, T, &Gs, &arena, NULL), FC_OK);
    const fc_spec *W = &w.spec[fc_slot_tensor(fc1)];
    for (int t = 0; t < T; t++) {
        set(train.p + train.spec[fc_train_A(fc1)].offset, gold_item(&g, "in.A", t));
        set(train.p + train.spec[fc_train_B(&s, fc1)].offset, gold_item(&g, "in.B", t));
        set_gram(&Gs, fc1, gold_item(&g, "in.G", t));
        assert_int_equal(fc_deltas_push(&d, &train, &Gs, NULL), FC_OK);
        gold_tensor mean = gold_item(&g, "out.mean_delta", t),
                    delta = gold_item(&g, "out.delta", t);
        memset(w.p, 0, w.n * sizeof *w.p);
        fc_deltas_add_sum(w.p, &d, t + 1, 1.0 / (t + 1));
        check(w.p + W->offset, &mean, "mean_delta");
        memset(w.p, 0, w.n * sizeof *w.p);
        if (t == 0) /* the protocol uses no Gram after the first task */
            fc_deltas_add_sum(w.p, &d, 1, 1);
        else
            assert_int_equal(fc_deltas_add_gram_merge(w.p, &d, NULL), FC_OK);
        check(w.p + W->offset, &delta, "delta");
    }
    fc_grams Q;
    assert_int_equal(fc_grams_init(&Q, 4, dims, alpha, &arena, NULL), FC_OK);
    set_gram(&Q, fc1, *gold_get(&g, "out.run_g"));
    assert_all_close(d.Q.g, Q.g, Q.size, 1e-10, 1e-12);
    fc_arena_free(&arena);
    gold_close(&g);
}

static void test_cross_task(void **state)
{
    (void)state;
    cross_task_case("lorm_cross_task_full");
    cross_task_case("lorm_cross_task_diag");
}

static void test_metrics(void **state)
{
    (void)state;
    gold g = gold_open("metrics");
    const gold_tensor *acc = gold_get(&g, "in.acc"), *n = gold_get(&g, "in.n");
    enum { T_MAX = 32 };
    long correct[T_MAX * T_MAX], total[T_MAX * T_MAX];
    int T = gold_int(&g, "param.T");
    assert_true(T <= T_MAX);
    const double unit = 1e12; /* so many "samples" per sample: any accuracy is a count */
    for (int i = 0; i < T * T; i++) {
        total[i] = lrint(n->v[i % T] * unit);
        correct[i] = lrint(acc->v[i] / 100 * n->v[i % T] * unit);
    }
    fc_acc_matrix m = {T, T, T, correct, total};
    fc_metrics r = fc_metrics_of(&m);
    for (int i = 0; i < T; i++) {
        assert_close(fc_acc_micro(&m, i), gold_get(&g, "out.micro")->v[i], 1e-10, 0);
        assert_close(fc_acc_task_mean(&m, i), gold_get(&g, "out.macro")->v[i], 1e-10, 0);
        assert_close(fc_acc(&m, i, i) - fc_acc(&m, T - 1, i),
                     gold_get(&g, "out.forgetting_per_task")->v[i], 1e-10, 1e-8);
    }
    assert_close(r.faa, gold_scalar(&g, "out.faa_micro"), 1e-10, 0);
    assert_close(r.faa_task_mean, gold_scalar(&g, "out.faa_macro"), 1e-10, 0);
    assert_close(r.aia, gold_scalar(&g, "out.avg_incremental_micro"), 1e-10, 0);
    assert_close(r.aia_task_mean, gold_scalar(&g, "out.avg_incremental_macro"), 1e-10, 0);
    assert_close(r.forgetting_max, gold_scalar(&g, "out.forgetting_std"), 1e-10, 1e-8);
    assert_close(r.bwt, gold_scalar(&g, "out.bwt"), 1e-10, 1e-8);
    /* the reference rounds to two decimals */
    assert_close(r.forgetting_fedmammoth, gold_scalar(&g, "out.forgetting_code"), 0, 0.005 + 1e-8);
    gold_close(&g);
}

/* fed-mammoth's rule for how many test samples of a class a client gets. The program tests on one
 * global set (same global metrics), so the rule lives only here, beside its golden vector. */
static void test_split_rule(void **state)
{
    (void)state;
    gold g = gold_open("test_split");
    const gold_tensor *train = gold_get(&g, "in.train_counts"), *want = gold_get(&g, "out.counts");
    double sum = 0, top = 0;
    for (size_t i = 0; i < train->n; i++) {
        sum += train->v[i];
        top = fmax(top, train->v[i]);
    }
    double ratio = sum / gold_scalar(&g, "in.n_test");
    if (top < ratio)
        ratio = 1;
    assert_close(ratio, gold_scalar(&g, "out.ratio"), 1e-15, 0);
    for (size_t i = 0; i < train->n; i++) /* nearbyint: half to even, as Python's round */
        assert_close(nearbyint(train->v[i] / ratio), want->v[i], 0, 0);
    gold_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grams),          cmocka_unit_test(test_lorm_A),
        cmocka_unit_test(test_lorm_B),         cmocka_unit_test(test_head),
        cmocka_unit_test(test_regmean),        cmocka_unit_test(test_fedavg),
        cmocka_unit_test(test_lora_averaging), cmocka_unit_test(test_cross_task),
        cmocka_unit_test(test_metrics),        cmocka_unit_test(test_split_rule),
    };
    fc_threads_init(2, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
