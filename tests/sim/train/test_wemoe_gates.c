/* WEMoE's gates trained without labels: the entropy falls, the gradient of a step is that of all
 * its images, same bytes for any number of threads. */
#include "sim/train/wemoe_gates.h"

#include "core/base/threads.h"
#include "core/vit/head.h"
#include "tests/support/tiny_net.h"
#include "tests/support/tv_fixture.h"

#include <math.h>
#include <stdatomic.h>
#include <time.h>

enum { N = 30, UPDATES = 2, BATCH = 12, CLASSES = TINY_CLASSES };

/* Two tasks, logits 0 .. 2 and 3 .. 4; two LoRA updates of all linear weights. */
typedef struct fixture {
    tiny_net t;
    fc_crew crew;
    tvx f;
    fc_wemoe wemoe;
    fc_model m;
    uint32_t sample[2][N];
    fc_task_images task[2];
    fc_wemoe_gates_job job;
} fixture;

static void open_fixture(fixture *x, int threads, bool batch_reduce)
{
    *x = (fixture){0};
    tiny_net_open(&x->t, FC_TRAIN_HEAD, 2 * N / CLASSES, 1);
    const fc_vit_shape *shape = &x->t.net.shape;
    int dims[8][2], slots = fc_vit_slots(shape);
    for (int t = 0; t < slots; t++)
        fc_slot_dims(shape, t, &dims[t][0], &dims[t][1]);
    tvx_init(&x->f, UPDATES, slots, (const int(*)[2])dims);
    tvx_random(&x->f, 2, 3);
    for (int t = 0; t < slots; t++)
        x->f.shape[t].name = x->t.w0.spec[fc_slot_tensor(t)].name;
    const fc_wemoe_options o = {0.3, 2, batch_reduce};
    assert_int_equal(
        fc_wemoe_init(&x->wemoe, x->t.w0.p, shape, &x->f.set, &o, 3, &x->t.arena, &x->t.err),
        FC_OK);
    x->m = fc_model_of(shape, FC_TRAIN_HEAD, 0, CLASSES, x->t.w0.p, &x->t.start);
    for (uint32_t i = 0; i < N; i++) {
        x->sample[0][i] = i;
        x->sample[1][i] = N + i;
    }
    x->task[0] = (fc_task_images){x->sample[0], BATCH, 0, 3};
    x->task[1] = (fc_task_images){x->sample[1], BATCH, 3, CLASSES};
    fc_crew_plan plan = {.net = &x->t.net,
                         .like = &x->t.start,
                         .threads = threads,
                         .clients = 1,
                         .batch = 1,
                         .samples = 1,
                         .max_side = 8,
                         .acts = {.experts = UPDATES, .gate_k = 2, .gates = true, .whole = true}};
    assert_int_equal(fc_crew_init(&x->crew, &plan, &x->t.err), FC_OK);
    x->job = (fc_wemoe_gates_job){.wemoe = &x->wemoe,
                                  .m = &x->m,
                                  .lr = 1e-4,
                                  .entropy = {.net = &x->t.net,
                                              .crew = &x->crew,
                                              .split = &x->t.data.train,
                                              .task = x->task,
                                              .tasks = 2,
                                              .steps = 1,
                                              .batch = BATCH,
                                              .seed = 5,
                                              .what = "WEMoE"}};
}

static void close_fixture(fixture *x)
{
    fc_crew_free(&x->crew);
    tvx_free(&x->f);
    tiny_net_close(&x->t);
}

static fc_entropy_result run(fixture *x)
{
    fc_entropy_result r;
    fc_status s = fc_wemoe_gates_run(&r, &x->job, &x->t.err);
    if (s != FC_OK)
        print_error("%s\n", x->t.err.msg);
    assert_int_equal(s, FC_OK);
    return r;
}

static void entropy_falls(void **state)
{
    (void)state;
    for (int batch_reduce = 0; batch_reduce < 2; batch_reduce++) {
        fixture x;
        open_fixture(&x, 1, batch_reduce);
        x.job.lr = 0.01;
        x.job.entropy.steps = 60;
        fc_progress progress;
        fc_progress_init(&progress, (fc_console){0}, fc_wemoe_gates_flop(&x.job), 0);
        x.job.entropy.progress = &progress;
        fc_entropy_result r = run(&x);
        assert_close(progress.done, progress.total, 1e-9, 0);
        assert_true(r.last < 0.9 * r.first);
        close_fixture(&x);
    }
}

/* The first step of Adam is lr against the sign of the gradient of all images of both tasks, image
 * by image. */
static void first_step(void **state)
{
    (void)state;
    fixture x;
    open_fixture(&x, 1, false);
    size_t n = x.wemoe.gates.n;
    fc_real *before = tvx_alloc(&x.f, n, sizeof *before), *grad = tvx_alloc(&x.f, n, sizeof *grad);
    memcpy(before, x.wemoe.gates.p, n * sizeof *before);
    fc_model m = x.m;
    m.wemoe = &x.wemoe;
    fc_worker *w = &x.crew.worker[0];
    for (int t = 0; t < 2; t++)
        for (int i = 0; i < BATCH; i++) {
            fc_real d[CLASSES];
            fc_worker_load(w, &x.t.net, &x.t.data.train, &x.task[t].sample[i], 1, (fc_key){0}, -1);
            const fc_grads g = {.gates = grad};
            fc_vit_forward(w->acts, &m, w->x, 1, NULL, &g);
            fc_entropy(d, fc_acts_logits(w->acts), 1, CLASSES, x.task[t].lo, x.task[t].hi, BATCH);
            fc_vit_backward(w->acts, &m, d, &g);
        }
    run(&x);
    double top = 0;
    size_t compared = 0;
    for (size_t i = 0; i < n; i++)
        top = fmax(top, fabs((double)grad[i]));
    for (size_t i = 0; i < n; i++) {
        if (fabs((double)grad[i]) < 1e-4 * top)
            continue; /* rounding may turn the sign */
        int sign = (grad[i] > 0) - (grad[i] < 0);
        assert_close(x.wemoe.gates.p[i], (double)before[i] - 1e-4 * sign, 1e-6, 2e-7);
        compared++;
    }
    assert_true(compared > n / 4);
    close_fixture(&x);
}

/* Sleeps now and then, so that slices are done in any order. */
static void jitter(void)
{
    static atomic_uint calls;
    if (atomic_fetch_add(&calls, 1) % 3 == 0)
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

static void same_bytes_for_any_threads(void **state)
{
    (void)state;
    fc_real *want = NULL;
    for (int threads = 1; threads <= 5; threads += 2) {
        fixture x;
        fc_threads_init(threads, NULL);
        open_fixture(&x, threads, false);
        x.crew.pool.jitter = threads > 1 ? jitter : NULL;
        x.job.entropy.steps = 5;
        run(&x);
        size_t bytes = x.wemoe.gates.n * sizeof *want;
        if (!want) {
            want = malloc(bytes);
            memcpy(want, x.wemoe.gates.p, bytes);
        }
        assert_memory_equal(x.wemoe.gates.p, want, bytes);
        close_fixture(&x);
    }
    free(want);
    fc_threads_init(1, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entropy_falls),
        cmocka_unit_test(first_step),
        cmocka_unit_test(same_bytes_for_any_threads),
    };
    fc_threads_init(1, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
