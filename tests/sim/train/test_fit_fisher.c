/* Fisher information of many images: the mean of that of single ones, the same bytes for any number
 * of threads; and what clients send of it. */
#include "sim/train/fit_fisher.h"

#include "sim/parallel/signals.h"
#include "tests/support/tiny_net.h"
#include "tests/support/tmp.h"

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

static void open_mode(fixture *x, fc_train_mode mode, fc_fisher_kind kind, int threads)
{
    *x = (fixture){0};
    tiny_net_open(&x->t, mode, 2 * N, 2);
    const fc_net *net = &x->t.net;
    fc_crew_plan plan = {.net = net,
                         .like = &x->t.start,
                         .threads = threads,
                         .clients = threads,
                         .batch = 1,
                         .samples = N,
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
    x->m = fc_model_of(&net->shape, mode, net->rank, CLASSES, x->t.w0.p, &x->t.start);
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

static void open_fixture(fixture *x, fc_fisher_kind kind, int threads)
{
    open_mode(x, FC_TRAIN_LORA, kind, threads);
}

static void close_fixture(fixture *x)
{
    fc_crew_free(&x->crew);
    tiny_net_close(&x->t);
}

static void test_mean(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        fixture x;
        double largest = 0;
        open_fixture(&x, (fc_fisher_kind)kind, 1);
        x.F[0] = 1e6; /* what was there is forgotten */
        fc_progress progress;
        const fc_net *net = x.job.net;
        fc_progress_init(
            &progress, (fc_console){0},
            N * fc_fisher_flop(x.job.kind, &net->shape, x.m.rank, net->classes, HI - LO), 0);
        x.job.progress = &progress;
        assert_int_equal(fc_fit_fisher_alone(x.F, &x.layout, &x.job, &x.t.err), FC_OK);
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
        assert_int_equal(fc_fit_fisher_alone(x.F, &x.layout, &x.job, &x.t.err), FC_OK);
        if (threads == 1)
            want = memcpy(malloc(size), x.F, size);
        assert_memory_equal(x.F, want, size);
        close_fixture(&x);
    }
    free(want);
}

/* --- clients ------------------------------------------------------------------------------------
 */

/* A client with the model that the fixture starts from, and its first n samples. */
static fc_fit fit_of(fixture *x, fc_trainer *t, size_t n)
{
    const bool lora = x->t.net.mode == FC_TRAIN_LORA;
    const unsigned A = 1u << FC_GROUP_A, B = 1u << FC_GROUP_B, head = 1u << FC_GROUP_HEAD;
    memcpy(t->local.p, x->t.start.p, x->t.start.n * sizeof *t->local.p);
    fc_fit fit =
        tiny_net_fit(&x->t, lora ? A | B | head : head | 1u << FC_GROUP_BACKBONE, x->sample);
    fit.batch = 1;
    fit.n = n;
    fit.lo = LO;
    fit.hi = HI;
    fit.key = (fc_key){.seed = 3, .task = 1, .client = 2};
    return fit;
}

/* Squares of the gradients that training makes of single samples, without augmentation. */
static void check_training(fc_train_mode mode, fc_fisher_kind kind)
{
    enum { IMAGES = 3 };
    fixture x;
    fc_fisher_room room;
    const fc_params *sent;
    fc_fit_result result;
    open_mode(&x, mode, kind, 2);
    assert_int_equal(fc_fisher_room_init(&room, &x.t.net, &x.crew, &x.t.arena, NULL), FC_OK);
    fc_trainer *t = &x.crew.trainer[1];
    fc_fit fit = fit_of(&x, t, IMAGES);
    assert_int_equal(fc_fit_fisher_client(&sent, &room, t, &fit, kind, 0, NULL), FC_OK);

    x.t.net.transform.augment = FC_AUG_NONE;
    double *want = fc_arena_alloc(&x.t.arena, x.t.start.n, sizeof *want, NULL), top = 0;
    for (int i = 0; i < IMAGES; i++) {
        fit = fit_of(&x, t, 1);
        fit.sample = &x.sample[i];
        assert_int_equal(fc_fit_run(&result, t, &fit, NULL), FC_OK);
        double p = kind == FC_FISHER_WEIGHTED ? exp(-result.loss_first) : 1;
        for (size_t e = 0; e < x.t.start.n; e++)
            want[e] += p * (double)t->grad[e] * (double)t->grad[e] / IMAGES;
    }
    for (int s = 0; s < sent->nspec; s++) {
        const fc_spec *F = &sent->spec[s], *g = fc_params_find(&x.t.start, F->name);
        for (size_t e = 0; g && e < (size_t)F->rows * (size_t)F->cols; e++) {
            fc_close_at(sent->p[F->offset + e], want[g->offset + e], 1e-4, 1e-9, F->name, e,
                        __FILE__, __LINE__);
            top = fmax(top, want[g->offset + e]);
        }
    }
    assert_true(top > 1e-3); /* of LoRA the head: it trains no whole layer */
    close_fixture(&x);
}

static void test_training(void **state)
{
    (void)state;
    for (int mode = 0; mode < 2; mode++) {
        check_training(mode ? FC_TRAIN_FULL : FC_TRAIN_LORA, FC_FISHER_LABELS);
        check_training(mode ? FC_TRAIN_FULL : FC_TRAIN_LORA, FC_FISHER_WEIGHTED);
    }
}

/* What is sent: of all images, of some, of none. */
static void test_samples(void **state)
{
    (void)state;
    enum { MOST = 6 };
    fixture x;
    fc_fisher_room room;
    const fc_params *sent;
    open_fixture(&x, FC_FISHER_EXPECTED, 1);
    assert_int_equal(fc_fisher_room_init(&room, &x.t.net, &x.crew, &x.t.arena, NULL), FC_OK);
    fc_trainer *t = &x.crew.trainer[0];
    for (int k = 0; k < 3; k++) {
        fc_fit fit = fit_of(&x, t, k == 2 ? 0 : N);
        size_t most = k == 1 ? MOST : 0;
        assert_int_equal(
            fc_fit_fisher_client(&sent, &room, t, &fit, FC_FISHER_EXPECTED, most, NULL), FC_OK);
        if (k == 1) { /* other ones than the first */
            int later = 0;
            for (int i = 0; i < MOST; i++) {
                later++;
                for (int j = 0; j < MOST; j++)
                    later -= t->order[i] == x.sample[j];
            }
            assert_true(later > 0);
            x.job.sample = t->order;
            x.job.n = MOST;
        }
        memset(x.F, 0, x.layout.n * sizeof *x.F);
        if (k < 2)
            assert_int_equal(fc_fit_fisher_alone(x.F, &x.layout, &x.job, NULL), FC_OK);
        for (int s = 0; s < sent->nspec; s++) {
            const fc_spec *to = &sent->spec[s], *from = fc_params_find(&x.layout, to->name);
            for (size_t e = 0; e < (size_t)to->rows * (size_t)to->cols; e++)
                assert_close(sent->p[to->offset + e], (fc_real)x.F[from->offset + e], 0, 0);
        }
    }
    close_fixture(&x);
}

/* Clients at the same time, which help one another. */
enum { CLIENTS = 4 };

typedef struct clients {
    fixture x;
    fc_fisher_room room;
    fc_real *sent; /* (CLIENTS, room.part.n) */
} clients;

static void client(void *ctx, int thread, int i)
{
    clients *c = ctx;
    const fc_params *sent;
    fc_trainer *t = &c->x.crew.trainer[thread];
    fc_fit fit = fit_of(&c->x, t, (size_t)(N - 4 * i));
    assert_int_equal(fc_fit_fisher_client(&sent, &c->room, t, &fit, FC_FISHER_WEIGHTED, 0, NULL),
                     FC_OK);
    memcpy(c->sent + (size_t)i * sent->n, sent->p, sent->n * sizeof *sent->p);
}

static void test_clients_and_threads(void **state)
{
    (void)state;
    for (int mode = 0; mode < 2; mode++) {
        fc_real *want = NULL;
        for (int threads = 1; threads <= 3; threads++) {
            clients c = {0};
            open_mode(&c.x, mode ? FC_TRAIN_FULL : FC_TRAIN_LORA, FC_FISHER_WEIGHTED, threads);
            fc_crew *crew = &c.x.crew;
            fc_arena *arena = &c.x.t.arena;
            assert_int_equal(fc_fisher_room_init(&c.room, &c.x.t.net, crew, arena, NULL), FC_OK);
            size_t size = c.room.part.n * sizeof *want;
            c.sent = fc_arena_alloc(arena, CLIENTS, size, NULL);
            fc_pool_run(&crew->pool, CLIENTS, client, &c);
            if (threads == 1)
                want = memcpy(malloc(CLIENTS * size), c.sent, CLIENTS * size);
            assert_memory_equal(c.sent, want, CLIENTS * size);
            assert_memory_not_equal(c.sent, c.sent + c.room.part.n, size);
            close_fixture(&c.x);
        }
        free(want);
    }
}

/* The last test: a stop cannot be taken back. */
static void test_stop(void **state)
{
    (void)state;
    fixture x;
    open_fixture(&x, FC_FISHER_LABELS, 1);
    fc_signals_install();
    raise(SIGTERM);
    assert_int_equal(fc_fit_fisher_alone(x.F, &x.layout, &x.job, &x.t.err), FC_ESTOP);
    close_fixture(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mean),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_training),
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_clients_and_threads),
        cmocka_unit_test(test_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
