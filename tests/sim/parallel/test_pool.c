/* One pool of threads: order and exclusion of its loops, the same bytes of trained clients and
 * Grams for any number of threads and any delay, the same failure, and no allocation inside a step.
 * Linked with --wrap (tests/meson.build), which sends the allocations of our code through here. */
#include "sim/parallel/pool.h"

#include "core/base/threads.h"
#include "sim/fed/evaluate.h"
#include "sim/fed/server.h"
#include "sim/run/loop.h"
#include "sim/run/setup.h"
#include "tests/support/tiny_net.h"
#include "tests/support/tmp.h"

#include <stdatomic.h>
#include <time.h>

static const int thread_counts[] = {1, 2, 3, 5, 8};
enum { COUNTS = sizeof thread_counts / sizeof *thread_counts, THREADS_MAX = 8 };

static void sleep_us(long us)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000 * us}, NULL);
}

/* cmocka's asserts belong to the main thread: what a thread of the pool finds wrong is kept. */
static atomic_int wrong; /* first line, 0: none */

static void expect_at(bool ok, int line)
{
    int none = 0;
    if (!ok)
        atomic_compare_exchange_strong(&wrong, &none, line);
}
#define expect(condition) expect_at((condition), __LINE__)

static void run_pool(fc_pool *p, int n, fc_pool_fn *piece, void *ctx)
{
    wrong = 0;
    fc_pool_run(p, n, piece, ctx);
    if (wrong)
        print_error("%s:%d: not as expected\n", __FILE__, wrong);
    assert_int_equal(wrong, 0);
}

/* Sleeps up to 0.3 ms at one call of four, another one each time. */
static void jitter(void)
{
    static atomic_uint calls;
    fc_rng g = fc_rng_at((fc_key){.sample = atomic_fetch_add(&calls, 1)});
    uint32_t r = fc_rng_u32(&g);
    if (r % 4 == 0)
        sleep_us(r / 4 % 300);
}

/* --- allocations ------------------------------------------------------------------------------ */

static atomic_long allocations;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);

void *__wrap_malloc(size_t n)
{
    atomic_fetch_add(&allocations, 1);
    return __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    atomic_fetch_add(&allocations, 1);
    return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    atomic_fetch_add(&allocations, 1);
    return __real_realloc(p, n);
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
    atomic_fetch_add(&allocations, 1);
    return __real_aligned_alloc(align, n);
}

/* --- the pool alone --------------------------------------------------------------------------- */

enum { PIECES = 7, LOOPS = 5, ITEMS = 9 };

typedef struct probe {
    fc_pool pool;
    atomic_int busy[THREADS_MAX];    /* items that a thread works on */
    atomic_int pieces[THREADS_MAX];  /* pieces that a thread runs */
    int computed[PIECES][ITEMS + 1]; /* of the present loop: thread + 1 */
    int committed[PIECES];
    int done[PIECES]; /* loops */
} probe;

typedef struct probe_loop {
    probe *p;
    int piece;
} probe_loop;

static void probe_item(void *ctx, int thread, int i)
{
    probe_loop *l = ctx;
    expect(atomic_fetch_add(&l->p->busy[thread], 1) == 0); /* its buffers are its own */
    expect(l->p->computed[l->piece][i] == 0);
    l->p->computed[l->piece][i] = thread + 1;
}

static void probe_commit(void *ctx, int thread, int i)
{
    probe_loop *l = ctx;
    expect(l->p->computed[l->piece][i] == thread + 1);
    expect(l->p->committed[l->piece]++ == i);
    atomic_fetch_sub(&l->p->busy[thread], 1);
}

/* Loops of 0 to 9 items. */
static void probe_piece(void *ctx, int thread, int i)
{
    probe *p = ctx;
    expect(atomic_fetch_add(&p->pieces[thread], 1) == 0);
    expect(thread >= 0 && thread < PIECES && thread < p->pool.threads);
    for (int k = 0; k < LOOPS; k++) {
        int n = (3 * i + 2 * k) % (ITEMS + 1);
        memset(p->computed[i], 0, sizeof p->computed[i]);
        p->committed[i] = 0;
        fc_pool_loop(&p->pool, thread, n, probe_item, probe_commit, &(probe_loop){p, i});
        expect(p->committed[i] == n);
        p->done[i]++;
    }
    atomic_fetch_sub(&p->pieces[thread], 1);
}

static void test_each_item_once_in_order(void **state)
{
    (void)state;
    for (int c = 0; c < COUNTS; c++)
        for (int run = 0; run < 20; run++) {
            fc_arena arena = {0};
            probe p = {0};
            assert_int_equal(fc_pool_init(&p.pool, thread_counts[c], &arena, NULL), FC_OK);
            p.pool.jitter = run % 2 ? jitter : NULL;
            run_pool(&p.pool, PIECES, probe_piece, &p);
            run_pool(&p.pool, 0, probe_piece, &p);
            for (int i = 0; i < PIECES; i++)
                assert_int_equal(p.done[i], LOOPS);
            fc_pool_free(&p.pool);
            fc_arena_free(&arena);
        }
}

/* One piece whose items wait until there are as many of them at work as threads. */
typedef struct meeting {
    fc_pool pool;
    atomic_int present, latest;
} meeting;

static void meeting_item(void *ctx, int thread, int i)
{
    meeting *m = ctx;
    (void)thread;
    (void)i;
    atomic_fetch_add(&m->present, 1);
    for (int ms = 0; ms < 10000 && atomic_load(&m->present) < m->pool.threads; ms++)
        sleep_us(1000);
}

static void meeting_commit(void *ctx, int thread, int i)
{
    meeting *m = ctx;
    (void)thread;
    atomic_store(&m->latest, i);
}

static void meeting_piece(void *ctx, int thread, int i)
{
    meeting *m = ctx;
    (void)i;
    fc_pool_loop(&m->pool, thread, m->pool.threads, meeting_item, meeting_commit, m);
}

static void test_all_threads_help(void **state)
{
    (void)state;
    for (int c = 0; c < COUNTS; c++) {
        fc_arena arena = {0};
        meeting m = {0};
        assert_int_equal(fc_pool_init(&m.pool, thread_counts[c], &arena, NULL), FC_OK);
        double begin = fc_wall();
        run_pool(&m.pool, 1, meeting_piece, &m);
        assert_true(fc_wall() - begin < 9); /* nobody waited in vain */
        assert_int_equal(m.latest, thread_counts[c] - 1);
        fc_pool_free(&m.pool);
        fc_arena_free(&arena);
    }
}

/* --- clients ---------------------------------------------------------------------------------- */

enum {
    CLASSES = TINY_CLASSES,
    PER_CLASS = 150,
    N = CLASSES * PER_CLASS,
    CLIENTS = 10,
    BATCH_MAX = 40
};
static const int size_of[CLIENTS] = {40, 1, 200, 5, 1, 400, 3, 8, 90, 2};

typedef enum gram_kind { NO_GRAMS, DIAGONAL, FULL } gram_kind;

typedef struct fixture {
    tiny_net t;
    fc_grams grams; /* layout; n = 0 without */
    uint32_t sample[N];
    fc_crew crew;
    fc_fit fit; /* of client 0 */
    /* of each client: its trained block, its Grams and the result of its training */
    size_t record;
    char *out;
} fixture;

static void open_grams(fixture *f, gram_kind kind)
{
    int n = fc_vit_slots(&f->t.net.shape), dim[9], d_out;
    double alpha[9];
    for (int i = 0; i < n; i++)
        fc_slot_dims(&f->t.net.shape, i, &d_out, &dim[i]);
    dim[n] = f->t.net.shape.width;
    for (int i = 0; i <= n; i++)
        alpha[i] = kind == FULL ? 0.5 : 0;
    assert_int_equal(fc_grams_init(&f->grams, n + 1, dim, alpha, &f->t.arena, &f->t.err), FC_OK);
}

static void open_fixture(fixture *f, fc_train_mode mode, gram_kind kind)
{
    *f = (fixture){0};
    tiny_net_open(&f->t, mode, PER_CLASS, 0);
    for (int i = 0; i < N; i++)
        f->sample[i] = (uint32_t)i;
    if (kind != NO_GRAMS)
        open_grams(f, kind);
    unsigned groups = mode == FC_TRAIN_FULL ? 1u << FC_GROUP_BACKBONE : 1u << FC_GROUP_B;
    groups |= 1u << FC_GROUP_HEAD;
    f->fit = tiny_net_fit(&f->t, groups, f->sample);
    f->record = f->t.start.n * sizeof(fc_real) + f->grams.size * sizeof(double);
    f->record += sizeof(fc_fit_result);
    f->out = fc_arena_alloc(&f->t.arena, CLIENTS, f->record, &f->t.err);
    assert_non_null(f->out);
}

static void close_fixture(fixture *f)
{
    tiny_net_close(&f->t);
}

static void open_crew(fixture *f, int threads, int clients)
{
    fc_crew_plan plan = {.net = &f->t.net,
                         .like = &f->t.start,
                         .threads = threads,
                         .clients = clients,
                         .batch = BATCH_MAX,
                         .samples = N,
                         .grams = f->grams.n ? &f->grams : NULL,
                         .max_side = 8};
    assert_int_equal(fc_crew_init(&f->crew, &plan, &f->t.err), FC_OK);
}

static void client(void *ctx, int thread, int i)
{
    fixture *f = ctx;
    fc_trainer *t = &f->crew.trainer[thread];
    fc_fit fit = f->fit;
    fc_fit_result result;
    char *out = f->out + (size_t)i * f->record;
    for (int k = 0; k < i; k++)
        fit.sample += size_of[k];
    fit.n = (size_t)size_of[i];
    fit.key.client = (uint32_t)i;
    memcpy(t->local.p, f->t.start.p, f->t.start.n * sizeof *f->t.start.p);
    expect(fc_fit_run(&result, t, &fit, NULL) == FC_OK);
    memcpy(out, &result, sizeof result);
    memcpy(out += sizeof result, t->local.p, f->t.start.n * sizeof *t->local.p);
    if (!f->grams.n)
        return;
    fc_model m =
        fc_model_of(&f->t.net.shape, f->t.net.mode, f->t.net.rank, CLASSES, f->t.w0.p, &t->local);
    expect(fc_fit_grams(&t->grams, t, &m, fit.sample, fit.n, 2, fit.key, NULL, NULL) == FC_OK);
    memcpy(out + f->t.start.n * sizeof *t->local.p, t->grams.g, t->grams.size * sizeof *t->grams.g);
}

/* The one long client, which all threads share. */
static void longest(void *ctx, int thread, int i)
{
    (void)i;
    client(ctx, thread, 5);
}

/* All clients, or the longest alone, for each number of threads, with and without delays. */
static void check_same_bytes(fixture *f, int clients)
{
    size_t bytes = CLIENTS * f->record;
    char *one = fc_arena_alloc(&f->t.arena, 1, bytes, &f->t.err);
    for (int c = 0; c < COUNTS; c++)
        for (int delays = 0; delays < 2; delays++) {
            memset(f->out, 0, bytes);
            open_crew(f, thread_counts[c], clients);
            f->crew.pool.jitter = delays ? jitter : NULL;
            run_pool(&f->crew.pool, clients, clients == 1 ? longest : client, f);
            fc_crew_free(&f->crew);
            if (c == 0 && !delays)
                memcpy(one, f->out, bytes);
            assert_memory_equal(f->out, one, bytes);
        }
}

static void check_mode(fc_train_mode mode)
{
    static const int batch[] = {16, 20, 40};
    for (int kind = NO_GRAMS; kind <= FULL; kind++)
        for (int b = 0; b < 3; b++) {
            fixture f;
            fc_fit_result r;
            open_fixture(&f, mode, kind);
            f.fit.batch = batch[b];
            check_same_bytes(&f, 1);
            check_same_bytes(&f, CLIENTS);
            memcpy(&r, f.out + 5 * f.record, sizeof r);
            assert_int_equal(r.steps, 400 / batch[b]);
            assert_true(r.loss_mean > 0 && r.loss_mean != r.loss_first);
            close_fixture(&f);
        }
}

static void test_same_bytes_lora(void **state)
{
    (void)state;
    check_mode(FC_TRAIN_LORA);
}

static void test_same_bytes_full(void **state)
{
    (void)state;
    check_mode(FC_TRAIN_FULL);
}

/* --- memory ----------------------------------------------------------------------------------- */

static void test_steps_allocate_nothing(void **state)
{
    (void)state;
    static const fc_train_mode mode[] = {FC_TRAIN_LORA, FC_TRAIN_FULL, FC_TRAIN_HEAD};
    for (int m = 0; m < 3; m++)
        for (int kind = NO_GRAMS; kind <= FULL; kind++) {
            fixture f;
            open_fixture(&f, mode[m], kind);
            f.fit.batch = BATCH_MAX;
            open_crew(&f, 3, CLIENTS);
            long before = allocations;
            assert_true(before > 0);
            run_pool(&f.crew.pool, CLIENTS, client, &f);
            assert_int_equal(allocations, before);
            fc_crew_free(&f.crew);
            close_fixture(&f);
        }
}

/* One worker per thread; no more trainers than threads or clients; a gradient of a slice only where
 * batches have several. */
static void test_buffers_per_thread(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, FC_TRAIN_FULL, DIAGONAL);
    open_crew(&f, 3, CLIENTS);
    assert_int_equal(f.crew.trainers, 3);
    assert_non_null(f.crew.worker[2].grad);
    fc_crew_free(&f.crew);
    open_crew(&f, 8, 2);
    assert_int_equal(f.crew.trainers, 2);
    fc_crew_free(&f.crew);
    fc_crew_plan plan = {.net = &f.t.net,
                         .like = &f.t.start,
                         .threads = 2,
                         .clients = 1,
                         .batch = FC_SLICE,
                         .samples = N,
                         .max_side = 8};
    assert_int_equal(fc_crew_init(&f.crew, &plan, &f.t.err), FC_OK);
    assert_null(f.crew.worker[1].grad);
    assert_int_equal(f.crew.worker[1].grams.n, 0);
    fc_crew_free(&f.crew);
    close_fixture(&f);
}

/* --- whole runs ------------------------------------------------------------------------------- */

static const char config[] =
    "run: {seed: 3}\n"
    "data: {name: synth, synth_classes: 4, synth_train: 40, synth_test: 15, synth_size: 8}\n"
    "tasks: {count: 2}\n"
    "fed: {clients: 4, rounds: 1, beta: 0.5, min_samples: 1}\n"
    "backbone: {patch: 4, width: 16, depth: 1, heads: 2}\n"
    "train: {epochs: 2, batch: 20, lora_rank: 2}\n";

typedef struct whole_run {
    fc_tmp tmp;
    fc_config cfg;
    fc_setup setup;
    fc_run run;
} whole_run;

static void open_run(whole_run *w, int threads, const char *option)
{
    fc_error err = {0};
    char count[32], *set[2] = {count, (char *)(uintptr_t)option};
    snprintf(count, sizeof count, "run.threads=%d", threads);
    w->tmp = fc_tmp_new();
    const char *path = fc_tmp_put(&w->tmp, "config.yaml", config, strlen(config));
    assert_int_equal(fc_config_load(&w->cfg, path, set, 2, &err), FC_OK);
    assert_int_equal(fc_run_open(&w->run, &w->setup, &w->cfg, (fc_console){0}, NULL, &err), FC_OK);
    assert_int_equal(fc_run_start(&w->run, w->tmp.dir, false, &err), FC_OK);
    w->run.scratch.crew.pool.jitter = jitter;
}

static void close_run(whole_run *w)
{
    fc_run_close(&w->run, &w->setup);
    fc_config_free(&w->cfg);
    fc_tmp_remove(&w->tmp);
}

/* The blocks of a test need no memory: only the list of them does, which is kept for the next. */
static void test_evaluation_allocates_nothing(void **state)
{
    (void)state;
    for (int c = 0; c < COUNTS; c++) {
        whole_run w;
        fc_error err = {0};
        open_run(&w, thread_counts[c], "method.name=lorm");
        for (int time = 0; time < 3; time++) {
            long before = allocations;
            fc_model m;
            assert_int_equal(fc_server_model(&m, &w.run, false, &err), FC_OK);
            assert_int_equal(fc_eval_run(&w.run, &m, 1, NULL, &err), FC_OK);
            assert_true(time == 0 || allocations == before);
        }
        assert_int_equal(w.run.state.eval.total[0] + w.run.state.eval.total[1], 60);
        close_run(&w);
    }
}

/* All clients fail, the longest first: the lowest is named, whoever comes to it. */
static void test_same_failure(void **state)
{
    (void)state;
    for (int c = 0; c < COUNTS; c++) {
        whole_run w;
        fc_error err = {0};
        open_run(&w, thread_counts[c], "method.name=fedavg");
        w.run.state.global.p[0] = NAN;
        assert_says(fc_run_loop(&w.run, &err), &err, FC_EFAIL, "task 1, round 1, client 0,",
                    "received were not finite");
        close_run(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_item_once_in_order),
        cmocka_unit_test(test_all_threads_help),
        cmocka_unit_test(test_same_bytes_lora),
        cmocka_unit_test(test_same_bytes_full),
        cmocka_unit_test(test_steps_allocate_nothing),
        cmocka_unit_test(test_buffers_per_thread),
        cmocka_unit_test(test_evaluation_allocates_nothing),
        cmocka_unit_test(test_same_failure),
    };
    fc_threads_init(THREADS_MAX, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
