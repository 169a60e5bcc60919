/* Training without labels: AdaMerging's gradient through the network, what is taken of the images,
 * same bytes for any number of threads, stops. */
#include "sim/train/adamerging.h"

#include "core/base/threads.h"
#include "sim/parallel/signals.h"
#include "tests/support/tiny_net.h"
#include "tests/support/tmp.h"
#include "tests/support/tv_fixture.h"

#include <signal.h>
#include <stdatomic.h>
#include <time.h>

enum { N = 30, UPDATES = 2, SLOTS = 8, TENSORS = SLOTS + 3, BATCH = 20, CLASSES = TINY_CLASSES };

/* Two tasks, logits 0 .. 2 and 3 .. 4; two updates of all linear weights, of the position embedding
 * and of two vectors. */
typedef struct fixture {
    tiny_net t;
    fc_crew crew;
    tvx f;
    int tensor[TENSORS];
    uint32_t sample[2][N];
    fc_task_images task[2];
    fc_adamerging_job job;
} fixture;

static void open_fixture(fixture *x, int threads, int rank)
{
    *x = (fixture){0};
    tiny_net_open(&x->t, FC_TRAIN_LORA, 2 * N / CLASSES, 1);
    const fc_vit_shape *shape = &x->t.net.shape;
    assert_int_equal(fc_vit_slots(shape), SLOTS);
    int dims[TENSORS][2];
    for (int t = 0; t < TENSORS; t++) {
        static const int others[] = {FC_VIT_POS, FC_VIT_BLOCK0 + FC_N2B, FC_VIT_BLOCK0 + FC_QKVB};
        x->tensor[t] = t < SLOTS ? fc_slot_tensor(t) : others[t - SLOTS];
        dims[t][0] = x->t.w0.spec[x->tensor[t]].rows;
        dims[t][1] = x->t.w0.spec[x->tensor[t]].cols;
    }
    tvx_init(&x->f, UPDATES, TENSORS, (const int(*)[2])dims);
    tvx_random(&x->f, 2, rank);
    for (int k = 0; k < UPDATES * TENSORS; k++)
        for (size_t e = 0; e < fc_tv_size(&x->f.shape[k % TENSORS]); e++)
            x->f.x[k][e] *= 0.2;
    for (int k = 0; rank && k < UPDATES * SLOTS; k++) { /* the same, in factors */
        fc_tv *tv = &x->f.tv[k / SLOTS * TENSORS + k % SLOTS];
        const fc_tv_shape *s = &x->f.shape[k % SLOTS];
        double *B = tvx_alloc(&x->f, (size_t)s->rows * (size_t)rank, sizeof *B);
        for (size_t e = 0; e < (size_t)s->rows * (size_t)rank; e++)
            B[e] = 0.2 * tv->B[e];
        tv->B = B;
    }
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
                         .max_side = 8};
    assert_int_equal(fc_crew_init(&x->crew, &plan, &x->t.err), FC_OK);
    const fc_spec *head = &x->t.start.spec[fc_train_head(&x->t.start)];
    x->job = (fc_adamerging_job){.options = {true, 0.3, 1e-3},
                                 .w0 = &x->t.w0,
                                 .in = &x->f.set,
                                 .tensor = x->tensor,
                                 .head_w = x->t.start.p + head[0].offset,
                                 .head_b = x->t.start.p + head[1].offset,
                                 .entropy = {.net = &x->t.net,
                                             .crew = &x->crew,
                                             .split = &x->t.data.train,
                                             .task = x->task,
                                             .tasks = 2,
                                             .steps = 1,
                                             .batch = BATCH,
                                             .seed = 5,
                                             .what = "AdaMerging"}};
}

static void close_fixture(fixture *x)
{
    fc_crew_free(&x->crew);
    tvx_free(&x->f);
    tiny_net_close(&x->t);
}

static fc_entropy_result run(fixture *x, fc_adamerging *a)
{
    fc_entropy_result r;
    fc_status s = fc_adamerging_run(a, x->f.out, &r, &x->job, &x->t.arena, &x->t.err);
    if (s != FC_OK)
        print_error("%s\n", x->t.err.msg);
    assert_int_equal(s, FC_OK);
    return r;
}

/* Sum over the tasks of the mean entropy, image by image, in a network put together here. */
static double entropy(fixture *x, const double *lambda)
{
    fc_real *w = tvx_alloc(&x->f, x->t.w0.n, sizeof *w);
    memcpy(w, x->t.w0.p, x->t.w0.n * sizeof *w);
    for (int t = 0; t < TENSORS; t++)
        for (size_t e = 0, at = x->t.w0.spec[x->tensor[t]].offset; e < fc_tv_size(&x->f.shape[t]);
             e++) {
            double sum = 0;
            for (int i = 0; i < UPDATES; i++)
                sum += lambda[i * TENSORS + t] * x->f.x[i * TENSORS + t][e];
            w[at + e] += (fc_real)sum;
        }
    fc_model m = fc_model_of(&x->t.net.shape, FC_TRAIN_HEAD, 0, CLASSES, w, &x->t.start);
    fc_worker *worker = &x->crew.worker[0];
    double total = 0;
    for (int t = 0; t < 2; t++)
        for (size_t i = 0; i < x->task[t].n; i++) {
            fc_worker_load(worker, &x->t.net, &x->t.data.train, &x->task[t].sample[i], 1,
                           (fc_key){0}, -1);
            fc_vit_forward(worker->acts, &m, worker->x, 1, NULL, NULL);
            const fc_real *z = fc_acts_logits(worker->acts);
            double sum = 0, H = 0;
            for (int c = x->task[t].lo; c < x->task[t].hi; c++)
                sum += exp((double)z[c]);
            for (int c = x->task[t].lo; c < x->task[t].hi; c++)
                H -= exp((double)z[c]) / sum * log(exp((double)z[c]) / sum);
            total += H / (double)x->task[t].n;
        }
    return total;
}

static void check_gradient(int rank)
{
    enum { COEFFICIENTS = UPDATES * TENSORS };
    fixture x;
    fc_adamerging a;
    open_fixture(&x, 1, rank);
    fc_entropy_result r = run(&x, &a);
    double lambda[COEFFICIENTS], top = 0;
    for (int k = 0; k < COEFFICIENTS; k++)
        lambda[k] = (double)(fc_real)0.3;
    assert_close(r.first, entropy(&x, lambda) / 2, 1e-5, 0);
    assert_true(r.first == r.last);
    for (int k = 0; k < COEFFICIENTS; k++)
        top = fmax(top, fabs((double)a.dlambda[k]));
    assert_true(top > 0.01);
    for (int k = 0; k < COEFFICIENTS; k++) {
        const double h = 0.02; /* float forward passes: rounding 1e-6 / h, truncation h^2 */
        double kept = lambda[k];
        lambda[k] = kept + h;
        double up = entropy(&x, lambda);
        lambda[k] = kept - h;
        double down = entropy(&x, lambda);
        lambda[k] = kept;
        assert_close(a.dlambda[k], (up - down) / (2 * h), 0, 3e-3 * top);
        int sign = (a.dlambda[k] > 0) - (a.dlambda[k] < 0);
        assert_close(a.lambda.p[k], 0.3 - 1e-3 * sign, 1e-5, 0);
    }
    for (int t = 0; t < TENSORS; t++)
        for (size_t e = 0; e < fc_tv_size(&x.f.shape[t]); e++) {
            double want = 0;
            for (int i = 0; i < UPDATES; i++)
                want += (double)a.lambda.p[i * TENSORS + t] * x.f.x[i * TENSORS + t][e];
            assert_close(x.f.out[t][e], want, 1e-12, 1e-12);
        }
    close_fixture(&x);
}

static void gradient(void **state)
{
    (void)state;
    check_gradient(0);
    check_gradient(2);
}

/* Task-wise, too, steps that are long enough lower the entropy. */
static void entropy_falls(void **state)
{
    (void)state;
    for (int layer_wise = 0; layer_wise < 2; layer_wise++) {
        fixture x;
        fc_adamerging a;
        open_fixture(&x, 1, 0);
        x.job.options = (fc_ada_options){layer_wise, 0.3, 0.03};
        x.job.entropy.steps = 40;
        fc_progress progress;
        fc_progress_init(&progress, (fc_console){0}, fc_adamerging_flop(&x.job), 0);
        x.job.entropy.progress = &progress;
        fc_entropy_result r = run(&x, &a);
        assert_close(progress.done, progress.total, 1e-9, 0);
        assert_int_equal(a.lambda.n, layer_wise ? UPDATES * TENSORS : UPDATES);
        assert_true(r.last < (layer_wise ? 0.8 : 0.98) * r.first);
        close_fixture(&x);
    }
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
    fc_real want[UPDATES * TENSORS];
    for (int threads = 1; threads <= 5; threads += 2) {
        fixture x;
        fc_adamerging a;
        fc_threads_init(threads, NULL);
        open_fixture(&x, threads, 2);
        x.crew.pool.jitter = threads > 1 ? jitter : NULL;
        x.job.entropy.steps = 5;
        run(&x, &a);
        if (threads == 1)
            memcpy(want, a.lambda.p, sizeof want);
        assert_memory_equal(a.lambda.p, want, sizeof want);
        close_fixture(&x);
    }
    fc_threads_init(1, NULL);
}

enum { DIARY = 3 }; /* numbers of its gradient */

/* A model that trains nothing and writes down which images it was shown. */
typedef struct diary {
    fixture *x;
    const fc_worker *worker;
    int slices, sums, steps, stop_at, fail_at;
    double pixel[400]; /* a pixel of each image seen */
    int images, batch_left;
} diary;

static fc_status diary_prepare(void *ctx, fc_model *m, fc_error *err)
{
    diary *d = ctx;
    if (d->steps + 1 == d->fail_at)
        return fc_fail(err, FC_EFAIL, "no more");
    *m = fc_model_of(&d->x->t.net.shape, FC_TRAIN_HEAD, 0, CLASSES, d->x->t.w0.p, &d->x->t.start);
    return FC_OK;
}

static fc_grads diary_grads(void *ctx, fc_real *gradient)
{
    enum { PIXELS = 3 * 8 * 8 };
    diary *d = ctx;
    const int left = d->x->job.entropy.batch - d->batch_left, n = left < FC_SLICE ? left : FC_SLICE;
    for (int i = 0; i < DIARY; i++)
        assert_true(gradient[i] == 0);
    gradient[d->slices % DIARY] = 1;
    for (int i = 0; i < n; i++)
        for (int p = 0; p < PIXELS; p++)
            d->pixel[d->images + i] += (p + 1) * (double)d->worker->x[i * PIXELS + p];
    d->images += n;
    d->batch_left = (d->batch_left + n) % d->x->job.entropy.batch;
    d->slices++;
    return (fc_grads){0};
}

static void diary_add(void *ctx, const fc_real *gradient, bool first)
{
    diary *d = ctx;
    assert_true(gradient[(d->slices - 1) % DIARY] == 1);
    d->sums += first;
}

static fc_status diary_step(void *ctx, fc_error *err)
{
    diary *d = ctx;
    (void)err;
    if (++d->steps == d->stop_at)
        raise(SIGTERM);
    return FC_OK;
}

static fc_status keep_diary(diary *d, fixture *x)
{
    fc_entropy_result r;
    fc_entropy_model m = {d, 1, DIARY, diary_prepare, diary_grads, diary_add, diary_step};
    d->x = x;
    d->worker = &x->crew.worker[0];
    return fc_entropy_run(&r, &x->job.entropy, &m, &x->t.err);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Batches of 10 from 15 images: in three steps each image comes twice, in an order of its own each
 * time round; slices are of 8 and 2 images. A list shorter than the batch comes more than once. */
static void images_in_turn(void **state)
{
    (void)state;
    enum { COUNT = 15 };
    fixture x;
    diary d = {0};
    open_fixture(&x, 1, 0);
    x.task[0].n = COUNT;
    x.job.entropy.tasks = 1;
    x.job.entropy.batch = 10;
    x.job.entropy.steps = 3;
    assert_int_equal(keep_diary(&d, &x), FC_OK);
    assert_int_equal(d.slices, 6);
    assert_int_equal(d.sums, 3);
    assert_int_equal(d.images, 2 * COUNT);
    assert_memory_not_equal(d.pixel, d.pixel + COUNT, COUNT * sizeof *d.pixel);
    qsort(d.pixel, COUNT, sizeof *d.pixel, by_value);
    qsort(d.pixel + COUNT, COUNT, sizeof *d.pixel, by_value);
    assert_memory_equal(d.pixel, d.pixel + COUNT, COUNT * sizeof *d.pixel);
    for (int i = 1; i < COUNT; i++)
        assert_true(d.pixel[i] > d.pixel[i - 1]);

    d = (diary){0};
    x.task[0].n = 1;
    assert_int_equal(keep_diary(&d, &x), FC_OK);
    assert_true(d.images == 30 && d.pixel[29] == d.pixel[0]);
    close_fixture(&x);
}

static void failures(void **state)
{
    (void)state;
    fixture x;
    diary d = {.fail_at = 3};
    open_fixture(&x, 1, 0);
    x.job.entropy.steps = 9;
    assert_says(keep_diary(&d, &x), &x.t.err, FC_EFAIL, "no more", "");
    assert_int_equal(d.steps, 2);
    x.t.err = (fc_error){0};
    x.t.start.p[x.t.start.n - 1] = NAN;
    d = (diary){0};
    assert_says(keep_diary(&d, &x), &x.t.err, FC_EFAIL, "AdaMerging, step 1: the entropy is nan",
                "finite");
    assert_int_equal(d.steps, 0);
    close_fixture(&x);
}

/* The last test: a stop cannot be taken back. */
static void stop(void **state)
{
    (void)state;
    fixture x;
    diary d = {.stop_at = 2};
    open_fixture(&x, 1, 0);
    x.job.entropy.steps = 9;
    fc_signals_install();
    assert_int_equal(keep_diary(&d, &x), FC_ESTOP);
    assert_int_equal(d.steps, 2);
    close_fixture(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradient),
        cmocka_unit_test(entropy_falls),
        cmocka_unit_test(same_bytes_for_any_threads),
        cmocka_unit_test(images_in_turn),
        cmocka_unit_test(failures),
        cmocka_unit_test(stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
