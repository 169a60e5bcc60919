/* AdaMerging without a network: the golden vector, gradients of the coefficients, steps, refusals.
 */
#include "core/merge/rules/adamerging.h"
#include "tests/support/golden.h"
#include "tests/support/tv_fixture.h"

enum { TENSORS = 4, UPDATES = 3 };
static const int dims[TENSORS][2] = {{5, 7}, {1, 9}, {3, 0}, {8, 5}};
static const fc_ada_options LAYERS = {true, 0.3, 1e-3}, TASKS = {false, 0.3, 1e-3};

/* Updates, rank 0: dense; their coefficients, made different; and a gradient of theta. */
typedef struct fixture {
    tvx f;
    fc_adamerging a;
    double *dtheta[TENSORS];
} fixture;

static void open_fixture(fixture *x, const fc_ada_options *o, int rank)
{
    tvx_init(&x->f, UPDATES, TENSORS, dims);
    tvx_random(&x->f, 3, rank);
    assert_int_equal(fc_ada_init(&x->a, &x->f.set, o, &x->f.arena, NULL), FC_OK);
    fc_rng g = fc_rng_at((fc_key){.seed = 11, .stream = FC_STREAM_TEST});
    for (size_t k = 0; k < x->a.lambda.n; k++)
        x->a.lambda.p[k] += (fc_real)(0.2 * fc_rng_normal(&g));
    for (int t = 0; t < TENSORS; t++)
        x->dtheta[t] = tvx_normal(&x->f, &g, fc_tv_size(&x->f.shape[t]));
}

static void golden_merge(void **state)
{
    (void)state;
    gold g = gold_open("adamerging_merge");
    const gold_tensor *lambda = gold_get(&g, "in.lam"), *w = gold_get(&g, "out.w"),
                      *b = gold_get(&g, "out.b");
    tvx f;
    tvx_init(&f, lambda->dim[0], 2, (const int[][2]){{w->dim[0], w->dim[1]}, {1, b->dim[0]}});
    for (int i = 0; i < f.set.n; i++) {
        memcpy(f.x[2 * i], gold_get(&g, "in.tv.%d.w", i)->v, w->n * sizeof *w->v);
        memcpy(f.x[2 * i + 1], gold_get(&g, "in.tv.%d.b", i)->v, b->n * sizeof *b->v);
    }
    fc_adamerging a;
    assert_int_equal(fc_ada_init(&a, &f.set, &LAYERS, &f.arena, NULL), FC_OK);
    for (size_t k = 0; k < lambda->n; k++)
        a.lambda.p[k] = (fc_real)lambda->v[k];
    assert_int_equal(fc_ada_merge(f.out, &a, NULL), FC_OK);
    const double tol = fmax(1e-10, 10 * (double)FC_REAL_EPS); /* coefficients are fc_real */
    const double *w0 = gold_get(&g, "in.w0")->v, *b0 = gold_get(&g, "in.b0")->v;
    for (size_t e = 0; e < w->n; e++)
        assert_close(w0[e] + f.out[0][e], w->v[e], tol, tol);
    for (size_t e = 0; e < b->n; e++)
        assert_close(b0[e] + f.out[1][e], b->v[e], tol, tol);
    tvx_free(&f);
    gold_close(&g);
}

/* H = <dtheta, theta> of the merged theta: linear, so that its differences are exact. */
static double loss(fixture *x)
{
    double sum = 0;
    assert_int_equal(fc_ada_merge(x->f.out, &x->a, NULL), FC_OK);
    for (int t = 0; t < TENSORS; t++)
        for (size_t e = 0; e < fc_tv_size(&x->f.shape[t]); e++)
            sum += x->dtheta[t][e] * x->f.out[t][e];
    return sum;
}

static void check_gradient(const fc_ada_options *o, int rank)
{
    fixture x;
    open_fixture(&x, o, rank);
    assert_int_equal(fc_ada_gradient(&x.a, (const double *const *)x.dtheta, NULL), FC_OK);
    assert_int_equal(x.a.lambda.n, UPDATES * (o->layer_wise ? TENSORS : 1));
    double at = loss(&x), largest = 0;
    for (size_t k = 0; k < x.a.lambda.n; k++) {
        fc_real kept = x.a.lambda.p[k];
        x.a.lambda.p[k] = kept + 1;
        double step = (double)x.a.lambda.p[k] - (double)kept;
        assert_close(x.a.dlambda[k], (loss(&x) - at) / step, 10 * (double)FC_REAL_EPS, 1e-12);
        x.a.lambda.p[k] = kept;
        largest = fmax(largest, fabs((double)x.a.dlambda[k]));
    }
    assert_true(largest > 1);
    tvx_free(&x.f);
}

static void gradient(void **state)
{
    (void)state;
    check_gradient(&LAYERS, 0);
    check_gradient(&LAYERS, 2);
    check_gradient(&TASKS, 0);
    check_gradient(&TASKS, 2);
}

/* One coefficient per update is one per tensor, all alike. */
static void task_wise_is_layer_wise_tied(void **state)
{
    (void)state;
    fixture tasks, layers;
    open_fixture(&tasks, &TASKS, 0);
    open_fixture(&layers, &LAYERS, 2);
    for (int i = 0; i < UPDATES; i++)
        for (int t = 0; t < TENSORS; t++) {
            layers.a.lambda.p[i * TENSORS + t] = tasks.a.lambda.p[i];
            tasks.f.tv[i * TENSORS + t] = layers.f.tv[i * TENSORS + t];
        }
    assert_int_equal(fc_ada_merge(tasks.f.out, &tasks.a, NULL), FC_OK);
    assert_int_equal(fc_ada_merge(layers.f.out, &layers.a, NULL), FC_OK);
    for (int t = 0; t < TENSORS; t++)
        assert_memory_equal(tasks.f.out[t], layers.f.out[t],
                            fc_tv_size(&tasks.f.shape[t]) * sizeof(double));
    tvx_free(&tasks.f);
    tvx_free(&layers.f);
}

/* Adam's first step is lr against the sign of the gradient; many steps on |theta - target|^2 / 2
 * find the coefficients that made the target. */
static void steps(void **state)
{
    (void)state;
    fixture x;
    open_fixture(&x, &(fc_ada_options){true, 0.3, 1e-2}, 2);
    double *target[TENSORS];
    fc_real want[UPDATES * TENSORS];
    memcpy(want, x.a.lambda.p, sizeof want);
    assert_int_equal(fc_ada_merge(x.f.out, &x.a, NULL), FC_OK);
    for (int t = 0; t < TENSORS; t++) {
        size_t size = fc_tv_size(&x.f.shape[t]);
        target[t] = tvx_alloc(&x.f, size, sizeof(double));
        memcpy(target[t], x.f.out[t], size * sizeof(double));
    }
    for (int k = 0; k < UPDATES * TENSORS; k++)
        x.a.lambda.p[k] = (fc_real)0.3;
    for (int step = 0; step < 3000; step++) {
        assert_int_equal(fc_ada_merge(x.f.out, &x.a, NULL), FC_OK);
        for (int t = 0; t < TENSORS; t++)
            for (size_t e = 0; e < fc_tv_size(&x.f.shape[t]); e++)
                x.dtheta[t][e] = x.f.out[t][e] - target[t][e];
        assert_int_equal(fc_ada_gradient(&x.a, (const double *const *)x.dtheta, NULL), FC_OK);
        fc_ada_step(&x.a);
        for (int k = 0; k < UPDATES * TENSORS && step == 0; k++) {
            int sign = (x.a.dlambda[k] > 0) - (x.a.dlambda[k] < 0);
            assert_close(x.a.lambda.p[k], 0.3 - 1e-2 * sign, 1e-5, 0);
        }
    }
    for (int k = 0; k < UPDATES * TENSORS; k++)
        assert_close(x.a.lambda.p[k], x.f.shape[k % TENSORS].cols ? want[k] : 0.3, 0, 1e-3);
    tvx_free(&x.f);
}

static void same_bits_for_any_threads(void **state)
{
    (void)state;
    double merged[8 * 5];
    fc_real dlambda[UPDATES];
    for (int threads = 1; threads <= 3; threads += 2) {
        fixture x;
        fc_threads_init(threads, NULL);
        open_fixture(&x, &TASKS, 2);
        assert_int_equal(fc_ada_merge(x.f.out, &x.a, NULL), FC_OK);
        assert_int_equal(fc_ada_gradient(&x.a, (const double *const *)x.dtheta, NULL), FC_OK);
        if (threads == 1) {
            memcpy(merged, x.f.out[3], sizeof merged);
            memcpy(dlambda, x.a.dlambda, sizeof dlambda);
        }
        assert_memory_equal(merged, x.f.out[3], sizeof merged);
        assert_memory_equal(dlambda, x.a.dlambda, sizeof dlambda);
        tvx_free(&x.f);
    }
}

static void refused(tvx *f, fc_ada_options o, fc_status status, const char *text)
{
    fc_error err = {0};
    fc_adamerging a;
    assert_int_equal(fc_ada_init(&a, &f->set, &o, &f->arena, &err), status);
    if (!strstr(err.msg, text))
        print_error("found \"%s\", expected \"%s\"\n", err.msg, text);
    assert_non_null(strstr(err.msg, text));
}

static void refusals(void **state)
{
    (void)state;
    tvx f;
    tvx_init(&f, UPDATES, TENSORS, dims);
    refused(&f, (fc_ada_options){true, NAN, 1e-3}, FC_EUSAGE, "AdaMerging: init is nan");
    refused(&f, (fc_ada_options){true, 0.3, 0}, FC_EUSAGE, "AdaMerging: lr is 0");
    f.x[2 * TENSORS + 3][1] = INFINITY;
    refused(&f, LAYERS, FC_EFAIL, "update 2, tensor layer3");
    f.set.n = 0;
    refused(&f, LAYERS, FC_EUSAGE, "0 updates");
    tvx_free(&f);
}

int main(void)
{
    fc_threads_init(2, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_merge),
        cmocka_unit_test(gradient),
        cmocka_unit_test(task_wise_is_layer_wise_tied),
        cmocka_unit_test(steps),
        cmocka_unit_test(same_bits_for_any_threads),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
