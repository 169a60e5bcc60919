/* RegMean++: its defining equation, block by block, with Grams taken here; laws; threads; stop. */
#include "sim/train/regmean_pp.h"

#include "core/base/threads.h"
#include "core/linalg/gemm.h"
#include "sim/parallel/signals.h"
#include "tests/support/tiny_net.h"
#include "tests/support/tmp.h"
#include "tests/support/tv_fixture.h"

#include <signal.h>
#include <stdatomic.h>
#include <time.h>

enum { TASKS = 3, SLOTS = 8, EXTRA = 5, TENSORS = SLOTS + EXTRA, N = 70, RATIO_PERCENT = 95 };

/* The tensors of the set: vectors and slots, not in the order of the network. */
static const int extra[EXTRA] = {FC_VIT_BLOCK0 + 2 * FC_VIT_PER_BLOCK, FC_VIT_POS,
                                 FC_VIT_BLOCK0 + FC_VIT_PER_BLOCK + FC_FC1B, FC_VIT_BLOCK0 + FC_N2W,
                                 FC_VIT_PATCH_W};

typedef struct fixture {
    tiny_net t;
    fc_crew crew;
    tvx f;
    int tensor[TENSORS];
    uint32_t sample[TASKS][N];
    fc_task_images task[TASKS];
    fc_regmean_pp_job job;
} fixture;

/* Sleeps now and then, so that items are done in any order. */
static void jitter(void)
{
    static atomic_uint calls;
    if (atomic_fetch_add(&calls, 1) % 3 == 0)
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

static void open_fixture(fixture *x, int threads, int rank)
{
    *x = (fixture){0};
    tiny_net_open(&x->t, FC_TRAIN_LORA, N, 0);
    const fc_net *net = &x->t.net;
    int dims[TENSORS][2];
    for (int t = 0; t < TENSORS; t++) {
        x->tensor[t] = t < EXTRA ? extra[t] : fc_slot_tensor(SLOTS - 1 - (t - EXTRA));
        dims[t][0] = x->t.w0.spec[x->tensor[t]].rows;
        dims[t][1] = x->t.w0.spec[x->tensor[t]].cols;
    }
    tvx_init(&x->f, TASKS, TENSORS, (const int(*)[2])dims);
    tvx_random(&x->f, 2, rank);
    for (int k = 0; k < TASKS * TENSORS; k++)
        for (size_t e = 0; e < fc_tv_size(&x->f.shape[k % TENSORS]) && !rank; e++)
            x->f.x[k][e] *= 0.3;
    for (int i = 0; i < TASKS; i++) {
        for (uint32_t k = 0; k < N; k++)
            x->sample[i][k] = (uint32_t)i + 4 * k;
        x->task[i] = (fc_task_images){.sample = x->sample[i], .n = (size_t)(N - 25 * i)};
    }
    fc_crew_plan plan = {.net = net,
                         .like = &x->t.start,
                         .threads = threads,
                         .clients = 1,
                         .batch = 1,
                         .samples = 1,
                         .max_side = 8};
    assert_int_equal(fc_crew_init(&x->crew, &plan, &x->t.err), FC_OK);
    x->crew.pool.jitter = threads > 1 ? jitter : NULL;
    x->job = (fc_regmean_pp_job){.net = net,
                                 .crew = &x->crew,
                                 .split = &x->t.data.train,
                                 .w0 = &x->t.w0,
                                 .in = &x->f.set,
                                 .tensor = x->tensor,
                                 .task = x->task,
                                 .off_diagonal = RATIO_PERCENT / 100.};
}

static void close_fixture(fixture *x)
{
    fc_crew_free(&x->crew);
    tvx_free(&x->f);
    tiny_net_close(&x->t);
}

static void run(fixture *x)
{
    fc_status s = fc_regmean_pp_run(x->f.out, &x->job, &x->t.err);
    if (s != FC_OK)
        print_error("%s\n", x->t.err.msg);
    assert_int_equal(s, FC_OK);
}

static int block_of(int tensor)
{
    return tensor < FC_VIT_BLOCK0 ? -1 : (tensor - FC_VIT_BLOCK0) / FC_VIT_PER_BLOCK;
}

/* The network with the parts below block `block` merged, and the block itself that of model i. */
static fc_real *network(fixture *x, int block, int i)
{
    fc_real *w = tvx_alloc(&x->f, x->t.w0.n, sizeof *w);
    memcpy(w, x->t.w0.p, x->t.w0.n * sizeof *w);
    for (int t = 0; t < TENSORS; t++) {
        const double *delta = block_of(x->tensor[t]) < block    ? x->f.out[t]
                              : block_of(x->tensor[t]) == block ? x->f.x[i * TENSORS + t]
                                                                : NULL;
        for (size_t e = 0; delta && e < fc_tv_size(&x->f.shape[t]); e++)
            w[x->t.w0.spec[x->tensor[t]].offset + e] += (fc_real)delta[e];
    }
    return w;
}

/* Grams of all slots, image by image, divided and scaled. */
static void take_grams(fc_grams *g, fixture *x, const fc_real *w, int i)
{
    int dims[SLOTS], d_out;
    double alphas[SLOTS];
    for (int s = 0; s < SLOTS; s++) {
        fc_slot_dims(&x->t.net.shape, s, &d_out, &dims[s]);
        alphas[s] = x->job.off_diagonal;
    }
    assert_int_equal(fc_grams_init(g, SLOTS, dims, alphas, &x->f.arena, NULL), FC_OK);
    fc_model m = {.shape = &x->t.net.shape, .w = w, .scale = 1};
    fc_worker *worker = &x->crew.worker[0];
    for (size_t k = 0; k < x->task[i].n; k++) {
        fc_worker_load(worker, &x->t.net, x->job.split, &x->task[i].sample[k], 1, (fc_key){0}, -1);
        fc_vit_forward(worker->acts, &m, worker->x, 1, g, NULL);
    }
    fc_grams_finish(g);
    for (size_t e = 0; e < g->size; e++)
        g->g[e] /= (double)x->task[i].n * fc_vit_tokens(&x->t.net.shape);
}

/* sum_i (W - W_i) M_i = 0 in every slot of the block. */
static void check_block(fixture *x, int block)
{
    fc_grams M[TASKS];
    for (int i = 0; i < TASKS; i++)
        take_grams(&M[i], x, network(x, block, i), i);
    for (int t = EXTRA; t < TENSORS; t++) {
        int slot = SLOTS - 1 - (t - EXTRA), m = x->f.shape[t].rows, d = x->f.shape[t].cols;
        if (slot / 4 != block)
            continue;
        size_t n = fc_tv_size(&x->f.shape[t]);
        double *R = tvx_alloc(&x->f, n, sizeof *R), *diff = tvx_alloc(&x->f, n, sizeof *diff);
        double largest = 0, top = 0;
        for (int i = 0; i < TASKS; i++) {
            const double *G = M[i].g + M[i].slot[slot].offset;
            for (int e = 0; e < d * d; e++)
                top = fmax(top, fabs(G[e]));
            for (size_t e = 0; e < n; e++) {
                diff[e] = x->f.out[t][e] - x->f.x[i * TENSORS + t][e];
                largest = fmax(largest, fabs(diff[e]));
            }
            fc_dgemm(false, false, m, d, d, 1, diff, d, G, d, 1, R, d);
        }
        assert_true(largest > 0.1);
        for (size_t e = 0; e < n; e++) /* Grams of float forward passes: 1e-6 of each term */
            fc_close_at(R[e], 0, 0, 1e-6 * d * largest * top, x->t.w0.spec[x->tensor[t]].name, e,
                        __FILE__, __LINE__);
    }
}

static void check_equations(int rank)
{
    fixture x;
    fc_progress progress;
    open_fixture(&x, 1, rank);
    fc_progress_init(&progress, (fc_console){0}, fc_regmean_pp_flop(&x.job), 0);
    x.job.progress = &progress;
    run(&x);
    assert_close(progress.done, progress.total, 1e-12, 0);
    for (int t = 0; t < EXTRA; t++)
        for (size_t e = 0; e < fc_tv_size(&x.f.shape[t]) && !x.f.shape[t].linear; e++) {
            double sum = 0;
            for (int i = 0; i < TASKS; i++)
                sum += x.f.x[i * TENSORS + t][e];
            assert_close(x.f.out[t][e], sum / TASKS, 1e-12, 1e-12);
        }
    for (int block = 0; block < SLOTS / 4; block++)
        check_block(&x, block);
    for (int i = 0; i < x.crew.pool.threads; i++)
        assert_int_equal(x.crew.worker[i].grams.n, 0); /* as they were */
    close_fixture(&x);
}

static void equations(void **state)
{
    (void)state;
    check_equations(0);
    check_equations(2);
}

/* A single task, and equal ones. */
static void own_and_equal(void **state)
{
    (void)state;
    for (int tasks = 1; tasks <= TASKS; tasks += 2) {
        fixture x;
        open_fixture(&x, 1, 0);
        x.f.set.n = tasks;
        for (int i = 1; i < tasks; i++)
            memcpy(&x.f.tv[i * TENSORS], x.f.tv, TENSORS * sizeof *x.f.tv);
        run(&x);
        for (int t = 0; t < TENSORS; t++)
            assert_all_close(x.f.out[t], x.f.x[t], fc_tv_size(&x.f.shape[t]), 1e-8, 1e-8);
        close_fixture(&x);
    }
}

static void same_bytes_for_any_threads(void **state)
{
    (void)state;
    double *want[TENSORS] = {0};
    for (int threads = 1; threads <= 5; threads += 2) {
        fixture x;
        fc_threads_init(threads, NULL);
        open_fixture(&x, threads, 2);
        run(&x);
        for (int t = 0; t < TENSORS; t++) {
            size_t size = fc_tv_size(&x.f.shape[t]) * sizeof *want[t];
            if (threads == 1)
                want[t] = memcpy(malloc(size), x.f.out[t], size);
            assert_memory_equal(x.f.out[t], want[t], size);
        }
        close_fixture(&x);
    }
    for (int t = 0; t < TENSORS; t++)
        free(want[t]);
    fc_threads_init(1, NULL);
}

static void refusals(void **state)
{
    (void)state;
    fixture x;
    open_fixture(&x, 1, 0);
    x.job.off_diagonal = 2;
    assert_says(fc_regmean_pp_run(x.f.out, &x.job, &x.t.err), &x.t.err, FC_EUSAGE,
                "off_diagonal is 2", "");
    x.t.err = (fc_error){0};
    x.f.x[TENSORS + 6][1] = NAN;
    assert_says(fc_regmean_pp_run(x.f.out, &x.job, &x.t.err), &x.t.err, FC_EFAIL,
                "update 1, tensor layer6", "");
    close_fixture(&x);
}

/* The last test: a stop cannot be taken back. */
static void stop(void **state)
{
    (void)state;
    fixture x;
    open_fixture(&x, 1, 0);
    fc_signals_install();
    raise(SIGTERM);
    assert_int_equal(fc_regmean_pp_run(x.f.out, &x.job, &x.t.err), FC_ESTOP);
    close_fixture(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equations),
        cmocka_unit_test(own_and_equal),
        cmocka_unit_test(same_bytes_for_any_threads),
        cmocka_unit_test(refusals),
        cmocka_unit_test(stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
