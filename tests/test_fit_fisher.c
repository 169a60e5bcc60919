/* Fisher information of many images: the mean of that of single ones, the same bytes for any number
 * of threads. */
#include "sim/fit_fisher.h"

#include "sim/signals.h"
#include "tests/tiny_net.h"
#include "tests/tmp.h"

#include <signal.h>
#include <stdatomic.h>
#include <time.h>

enum { N = 20, CLASSES = TINY_CLASSES, LO = 1, HI = 4 };

typedef struct fixture {
    tiny_net t;
    fc_crew crew;
    fc_params layout;
    fc_model m;
    uint32_t sample[N];
    fc_fisher_job job;
    double *F;
} fixture;

/* Sleeps now and then, so that slices are done in any order. */
static void jitter(void)
{
    static atomic_uint calls;
    if (atomic_fetch_add(&calls, 1) % 3 == 0)
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

static void open_fixture(fixture *x, fc_fisher_kind kind, int threads)
{
    *x = (fixture){0};
    tiny_net_open(&x->t, FC_TRAIN_LORA, 2 * N, 2);
    const fc_net *net = &x->t.net;
    fc_crew_plan plan = {.net = net,
                         .like = &x->t.start,
                         .threads = threads,
                         .clients = 1,
                         .batch = 1,
                         .samples = 1,
                         .max_side = 8};
    assert_int_equal(fc_crew_init(&x->crew, &plan, &x->t.err), FC_OK);
    x->crew.pool.jitter = threads > 1 ? jitter : NULL;
    assert_int_equal(
        fc_train_layout(&x->layout, &net->shape, FC_TRAIN_FULL, 0, CLASSES, &x->t.arena, NULL),
        FC_OK);
    x->F = fc_arena_alloc(&x->t.arena, x->layout.n, sizeof *x->F, NULL);
    for (int i = 0, n = 0; n < N; i++) { /* of the task's classes */
        int logit = x->t.logit[x->t.data.train.label[i]];
        if (logit >= LO && logit < HI)
            x->sample[n++] = (uint32_t)i;
    }
    x->m = fc_model_of(&net->shape, FC_TRAIN_LORA, net->rank, CLASSES, x->t.w0.p, &x->t.start);
    x->job = (fc_fisher_job){.net = net,
                             .crew = &x->crew,
                             .m = &x->m,
                             .kind = kind,
                             .lo = LO,
                             .hi = HI,
                             .split = &x->t.data.train,
                             .sample = x->sample,
                             .n = N};
}

static void close_fixture(fixture *x)
{
    fc_crew_free(&x->crew);
    tiny_net_close(&x->t);
}

static void test_mean(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        fixture x;
        double largest = 0;
        open_fixture(&x, (fc_fisher_kind)kind, 1);
        x.F[0] = 1e6; /* what was there is forgotten */
        fc_progress progress;
        fc_progress_init(&progress, (fc_console){0}, fc_fit_fisher_flop(&x.job), 0);
        x.job.progress = &progress;
        assert_int_equal(fc_fit_fisher(x.F, &x.layout, &x.job, &x.t.err), FC_OK);
        assert_close(progress.done, progress.total, 1e-12, 0);
        fc_worker *w = &x.crew.worker[0];
        fc_fisher one = {(fc_fisher_kind)kind, LO, HI, .acts = w->acts, .dlogits = w->dlogits};
        fc_real *sum = fc_arena_alloc(&x.t.arena, x.layout.n, sizeof *sum, NULL);
        assert_int_equal(fc_params_alloc(&one.grad, &x.layout, &x.t.arena, NULL), FC_OK);
        for (int i = 0; i < N; i++) {
            fc_worker_load(w, &x.t.net, x.job.split, &x.sample[i], 1, (fc_key){0}, -1);
            fc_fisher_add(sum, &one, &x.m, w->x, w->label, 1);
        }
        for (size_t e = 0; e < x.layout.n; e++) {
            assert_close(x.F[e], (double)sum[e] / N, 1e-5, 0);
            largest = fmax(largest, x.F[e]);
        }
        assert_true(largest > 1e-3);
        close_fixture(&x);
    }
}

static void test_threads(void **state)
{
    (void)state;
    double *want = NULL;
    for (int threads = 1; threads <= 5; threads += 2) {
        fixture x;
        open_fixture(&x, FC_FISHER_EXPECTED, threads);
        size_t size = x.layout.n * sizeof *want;
        assert_int_equal(fc_fit_fisher(x.F, &x.layout, &x.job, &x.t.err), FC_OK);
        if (threads == 1)
            want = memcpy(malloc(size), x.F, size);
        assert_memory_equal(x.F, want, size);
        close_fixture(&x);
    }
    free(want);
}

/* The last test: a stop cannot be taken back. */
static void test_stop(void **state)
{
    (void)state;
    fixture x;
    open_fixture(&x, FC_FISHER_LABELS, 1);
    fc_signals_install();
    raise(SIGTERM);
    assert_int_equal(fc_fit_fisher(x.F, &x.layout, &x.job, &x.t.err), FC_ESTOP);
    close_fixture(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mean),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
