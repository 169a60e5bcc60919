/* Local training: gradients against single images, steps, failures, Grams. All on one thread; for
 * more of them see test_pool.c. */
#include "sim/train/fit.h"

#include "core/vit/head.h"
#include "sim/parallel/signals.h"
#include "tests/support/tiny_net.h"
#include "tests/support/tmp.h"

#include <signal.h>

enum { CLASSES = TINY_CLASSES, PER_CLASS = 14, N = CLASSES * PER_CLASS, LONG_BATCH = 40 };
enum { BACKBONE = 1u << FC_GROUP_BACKBONE, A = 1u << FC_GROUP_A, B = 1u << FC_GROUP_B };
enum { HEAD = 1u << FC_GROUP_HEAD };

typedef struct fixture {
    tiny_net t;
    fc_crew crew;
    fc_trainer *trainer; /* the one of the crew */
    uint32_t sample[N];
} fixture;

static void open_crew(fixture *f, const fc_grams *grams)
{
    fc_crew_plan plan = {.net = &f->t.net,
                         .like = &f->t.start,
                         .threads = 1,
                         .clients = 1,
                         .batch = LONG_BATCH,
                         .samples = N,
                         .grams = grams,
                         .max_side = 8};
    assert_int_equal(fc_crew_init(&f->crew, &plan, &f->t.err), FC_OK);
    f->trainer = &f->crew.trainer[0];
    memcpy(f->trainer->local.p, f->t.start.p, f->t.start.n * sizeof *f->t.start.p);
}

static void open_fixture(fixture *f, fc_train_mode mode)
{
    *f = (fixture){0};
    tiny_net_open(&f->t, mode, PER_CLASS, 2);
    for (int i = 0; i < N; i++)
        f->sample[i] = (uint32_t)(N - 1 - i);
    open_crew(f, NULL);
}

static void close_fixture(fixture *f)
{
    fc_crew_free(&f->crew);
    tiny_net_close(&f->t);
}

static fc_fit fit_of(const fixture *f, unsigned groups, int n, int batch, int epochs)
{
    fc_fit fit = tiny_net_fit(&f->t, groups, f->sample);
    fit.epochs = epochs;
    fit.batch = batch;
    fit.n = (size_t)n;
    fit.key = (fc_key){.seed = 9, .task = 1, .round = 2, .client = 3};
    fit.what = "task 2, round 3, client 3";
    return fit;
}

/* Plain steps p <- p - grad. */
static void use_gradient_descent(fc_fit *fit)
{
    fit->optim.kind = FC_SGD;
    fit->optim.momentum = 0;
    for (int g = 0; g < FC_NGROUP; g++)
        fit->optim.lr[g] = 1;
}

static fc_fit_result run(fixture *f, const fc_fit *fit)
{
    fc_fit_result r;
    assert_int_equal(fc_fit_run(&r, f->trainer, fit, &f->t.err), FC_OK);
    return r;
}

/* --- images -----------------------------------------------------------------------------------
 */

/* Augmentation follows from key, epoch and sample, not from the place in the batch. */
static void test_load(void **state)
{
    (void)state;
    enum { PIXELS = 3 * 8 * 8 };
    fixture f;
    open_fixture(&f, FC_TRAIN_HEAD);
    fc_worker *w = &f.crew.worker[0];
    fc_real at_place_2[PIXELS];
    fc_key key = {.seed = 1, .stream = FC_STREAM_AUGMENT};
    const size_t size = sizeof at_place_2;
    fc_worker_load(w, &f.t.net, f.t.net.train, f.sample, 3, key, 0);
    memcpy(at_place_2, w->x + 2 * PIXELS, size);
    for (int i = 0; i < 3; i++)
        assert_int_equal(w->label[i], f.t.logit[f.t.data.train.label[f.sample[i]]]);
    fc_worker_load(w, &f.t.net, f.t.net.train, f.sample + 2, 1, key, 0);
    assert_memory_equal(w->x, at_place_2, size);
    fc_worker_load(w, &f.t.net, f.t.net.train, f.sample + 2, 1, key, 1);
    assert_memory_not_equal(w->x, at_place_2, size);
    key.seed = 2;
    fc_worker_load(w, &f.t.net, f.t.net.train, f.sample + 2, 1, key, 0);
    assert_memory_not_equal(w->x, at_place_2, size);
    fc_worker_load(w, &f.t.net, f.t.net.train, f.sample + 2, 1, key, -1);
    fc_transform_apply(at_place_2, &f.t.data.train.image[f.sample[2]], &f.t.net.transform, NULL,
                       w->resampler);
    assert_memory_equal(w->x, at_place_2, size);
    close_fixture(&f);
}

/* --- gradients --------------------------------------------------------------------------------
 */

/* Sum over single images of loss and gradient, divided by their number; classes lo .. hi-1. */
static double mean_gradient(fixture *f, const fc_fit *fit, double *grad)
{
    const fc_net *net = &f->t.net;
    fc_worker *w = &f->crew.worker[0];
    fc_params one = f->t.start;
    fc_model m =
        fc_model_of(&net->shape, net->mode, net->rank, net->classes, f->t.w0.p, &f->t.start);
    fc_key key = fit->key;
    double loss = 0;
    key.stream = FC_STREAM_AUGMENT;
    one.p = fc_arena_alloc(&f->t.arena, one.n, sizeof *one.p, NULL);
    for (size_t i = 0; i < fit->n; i++) {
        fc_worker_load(w, net, net->train, &fit->sample[i], 1, key, 0);
        fc_grads g = fc_grads_of(net->mode, &one, fit->groups);
        fc_vit_forward(w->acts, &m, w->x, 1, NULL, &g);
        loss +=
            fc_ce(w->dlogits, fc_acts_logits(w->acts), w->label, 1, CLASSES, fit->lo, fit->hi, 1);
        memset(one.p, 0, one.n * sizeof *one.p);
        fc_vit_backward(w->acts, &m, w->dlogits, &g);
        for (size_t j = 0; j < one.n; j++)
            grad[j] += (double)one.p[j] / (double)fit->n;
    }
    return loss / (double)fit->n;
}

static void check_gradient(fc_train_mode mode, unsigned groups)
{
    fixture f;
    open_fixture(&f, mode);
    fc_fit fit = fit_of(&f, groups, LONG_BATCH, LONG_BATCH, 1);
    use_gradient_descent(&fit);
    double *grad = fc_arena_alloc(&f.t.arena, f.t.start.n, sizeof *grad, NULL), largest = 0;
    double loss = mean_gradient(&f, &fit, grad);
    fc_fit_result r = run(&f, &fit);
    assert_int_equal(r.steps, 1);
    assert_close(r.loss_first, loss, 1e-6, 0);
    assert_true(r.loss_last == r.loss_first && r.loss_mean == r.loss_first);
    for (size_t i = 0; i < f.t.start.n; i++) {
        assert_close((double)f.t.start.p[i] - (double)f.trainer->local.p[i], grad[i], 1e-5, 1e-6);
        largest = fabs(grad[i]) > largest ? fabs(grad[i]) : largest;
    }
    assert_true(largest > 0.05);
    close_fixture(&f);
}

static void test_gradient_is_the_mean_over_images(void **state)
{
    (void)state;
    check_gradient(FC_TRAIN_FULL, BACKBONE | HEAD);
    check_gradient(FC_TRAIN_LORA, A | B | HEAD);
    check_gradient(FC_TRAIN_LORA, B | HEAD);
    check_gradient(FC_TRAIN_HEAD, HEAD);
}

/* --- what is trained --------------------------------------------------------------------------
 */

static void check_frozen(fc_train_mode mode, unsigned groups)
{
    fixture f;
    open_fixture(&f, mode);
    fc_fit fit = fit_of(&f, groups, 20, 16, 2);
    fit.optim.clip_norm = 0.5;
    run(&f, &fit);
    for (int i = 0; i < f.t.start.nspec; i++) {
        const fc_spec *s = &f.t.start.spec[i];
        size_t n = (size_t)s->rows * (size_t)s->cols * sizeof *f.t.start.p;
        int changed = memcmp(f.trainer->local.p + s->offset, f.t.start.p + s->offset, n) != 0;
        assert_int_equal(changed, groups >> s->group & 1);
    }
    close_fixture(&f);
}

static void test_frozen_groups_stay(void **state)
{
    (void)state;
    check_frozen(FC_TRAIN_LORA, B | HEAD);
    check_frozen(FC_TRAIN_LORA, A | HEAD);
    check_frozen(FC_TRAIN_LORA, HEAD);
    check_frozen(FC_TRAIN_FULL, HEAD);
    check_frozen(FC_TRAIN_FULL, BACKBONE | HEAD);
}

/* Only rows 2 .. 3 of the head belong to the task, as do the classes of the samples. */
static void test_other_classes_stay(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, FC_TRAIN_HEAD);
    fc_fit fit = fit_of(&f, HEAD, N, 16, 1);
    fit.lo = 2;
    fit.hi = 4;
    fit.n = 0;
    for (uint32_t i = 0; i < N; i++) {
        int logit = f.t.logit[f.t.data.train.label[i]];
        if (logit >= 2 && logit < 4)
            f.sample[fit.n++] = i;
    }
    assert_int_equal(fit.n, 2 * PER_CLASS);
    run(&f, &fit);
    int D = f.t.net.shape.width;
    for (int c = 0; c < CLASSES; c++) {
        const fc_real *now = f.trainer->local.p, *before = f.t.start.p;
        bool own = c == 2 || c == 3;
        size_t bias = (size_t)(CLASSES * D + c);
        assert_int_equal(memcmp(now + c * D, before + c * D, (size_t)D * sizeof *now) != 0, own);
        assert_int_equal(now[bias] != before[bias], own);
    }
    close_fixture(&f);
}

/* --- epochs and steps -------------------------------------------------------------------------
 */

typedef struct watch {
    int calls, fail_at;
    double loss;
    fc_real *after_first;
} watch;

static fc_status epoch_end(void *ctx, fc_trainer *t, int epoch, double loss, fc_error *err)
{
    watch *w = ctx;
    assert_int_equal(epoch, w->calls++);
    w->loss += loss;
    if (epoch == 0 && w->after_first)
        memcpy(w->after_first, t->local.p, t->local.n * sizeof *t->local.p);
    return w->calls == w->fail_at ? fc_fail(err, FC_EFAIL, "no more") : FC_OK;
}

static void check_steps(int n, int batch, int epochs, long want)
{
    fixture f;
    watch w = {0};
    open_fixture(&f, FC_TRAIN_HEAD);
    fc_fit fit = fit_of(&f, HEAD, n, batch, epochs);
    fit.epoch_end = epoch_end;
    fit.ctx = &w;
    fc_fit_result r = run(&f, &fit);
    assert_int_equal(r.steps, want);
    assert_int_equal(w.calls, epochs);
    assert_close(r.loss_mean, w.loss / epochs, 1e-12, 0);
    fc_key key = fit.key; /* the order of an epoch follows from its key alone */
    key.stream = FC_STREAM_SHUFFLE;
    key.epoch = (uint32_t)epochs - 1;
    fc_rng g = fc_rng_at(key);
    fc_rng_shuffle(&g, f.sample, (size_t)n);
    assert_memory_equal(f.trainer->order, f.sample, (size_t)n * sizeof *f.sample);
    close_fixture(&f);
}

static void test_steps(void **state)
{
    (void)state;
    check_steps(47, 16, 3, 9);
    check_steps(48, 16, 3, 9);
    check_steps(49, 16, 1, 4);
    check_steps(5, 16, 2, 2);
    check_steps(1, 1, 1, 1);
    check_steps(47, LONG_BATCH, 2, 4);
}

/* Without steps that move, the loss of an epoch is the mean over the images, whatever the batches.
 */
static void test_loss_is_the_mean_over_images(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, FC_TRAIN_HEAD);
    fc_fit fit = fit_of(&f, HEAD, LONG_BATCH + 7, LONG_BATCH, 1);
    use_gradient_descent(&fit);
    fit.optim.lr[FC_GROUP_HEAD] = 0;
    double *grad = fc_arena_alloc(&f.t.arena, f.t.start.n, sizeof *grad, NULL);
    double loss = mean_gradient(&f, &fit, grad);
    assert_close(run(&f, &fit).loss_mean, loss, 1e-6, 0);
    close_fixture(&f);
}

/* Warm-up over all four steps: the first is a quarter of a full one. */
static void test_warm_up(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, FC_TRAIN_HEAD);
    watch w = {.after_first = fc_arena_alloc(&f.t.arena, f.t.start.n, sizeof(fc_real), NULL)};
    fc_params full;
    assert_int_equal(fc_params_alloc(&full, &f.t.start, &f.t.arena, &f.t.err), FC_OK);
    fc_fit fit = fit_of(&f, HEAD, 16, 16, 1);
    use_gradient_descent(&fit);
    run(&f, &fit);
    memcpy(full.p, f.trainer->local.p, full.n * sizeof *full.p);
    memcpy(f.trainer->local.p, f.t.start.p, f.t.start.n * sizeof *f.t.start.p);
    fit.epochs = 4;
    fit.warmup = 1;
    fit.epoch_end = epoch_end;
    fit.ctx = &w;
    run(&f, &fit);
    for (size_t i = 0; i < f.t.start.n; i++)
        assert_close(w.after_first[i] - f.t.start.p[i],
                     0.25 * ((double)full.p[i] - (double)f.t.start.p[i]), 1e-5, 1e-6);
    close_fixture(&f);
}

/* One step that does nothing but decay: which tensors are halved. */
static void check_decay(fc_train_mode mode, unsigned groups, bool no_decay_1d)
{
    fixture f;
    open_fixture(&f, mode);
    fc_fit fit = fit_of(&f, groups, 16, 16, 1);
    int halved = 0, kept = 0;
    fit.no_decay_1d = no_decay_1d;
    fit.optim.weight_decay = 0.5e8;
    for (int g = 0; g < FC_NGROUP; g++)
        fit.optim.lr[g] = 1e-8;
    run(&f, &fit);
    for (int i = 0; i < f.t.start.nspec; i++) {
        const fc_spec *s = &f.t.start.spec[i];
        bool alone =
            s->ndim <= 1 || strcmp(s->name, "cls_token") == 0 || strcmp(s->name, "pos_embed") == 0;
        double share = alone && no_decay_1d ? 1 : 0.5;
        *(share == 1 ? &kept : &halved) += 1;
        for (size_t j = s->offset; j < s->offset + (size_t)s->rows * (size_t)s->cols; j++)
            assert_close(f.trainer->local.p[j], share * (double)f.t.start.p[j], 1e-5, 1e-6);
    }
    assert_true(halved > 0 && (kept > 0) == no_decay_1d);
    close_fixture(&f);
}

static void test_decay(void **state)
{
    (void)state;
    check_decay(FC_TRAIN_FULL, BACKBONE | HEAD, true);
    check_decay(FC_TRAIN_FULL, BACKBONE | HEAD, false);
    check_decay(FC_TRAIN_LORA, A | B | HEAD, false);
}

static void test_epoch_end_stops(void **state)
{
    (void)state;
    fixture f;
    watch w = {.fail_at = 2};
    fc_fit_result r;
    open_fixture(&f, FC_TRAIN_HEAD);
    fc_fit fit = fit_of(&f, HEAD, 20, 16, 5);
    fit.epoch_end = epoch_end;
    fit.ctx = &w;
    assert_says(fc_fit_run(&r, f.trainer, &fit, &f.t.err), &f.t.err, FC_EFAIL, "no more", "");
    assert_int_equal(r.steps, 4);
    close_fixture(&f);
}

/* --- failures ---------------------------------------------------------------------------------
 */

static void test_divergence(void **state)
{
    (void)state;
    fixture f;
    fc_fit_result r;
    open_fixture(&f, FC_TRAIN_FULL);
    fc_fit fit = fit_of(&f, BACKBONE | HEAD, 40, 16, 2);
    use_gradient_descent(&fit);
    fit.optim.lr[FC_GROUP_BACKBONE] = 3e38;
    fit.optim.lr[FC_GROUP_A] = HUGE_VAL; /* not trained, not named */
    fc_status s = fc_fit_run(&r, f.trainer, &fit, &f.t.err);
    assert_says(s, &f.t.err, FC_EFAIL, "task 2, round 3, client 3, epoch 1, step 2: loss is ",
                "diverged");
    assert_non_null(strstr(f.t.err.msg, "the largest is 3e+38"));
    close_fixture(&f);

    open_fixture(&f, FC_TRAIN_FULL); /* one step per epoch */
    fit.w = NULL;
    fit.sample = f.sample;
    fit.n = 16;
    s = fc_fit_run(&r, f.trainer, &fit, &f.t.err);
    assert_says(s, &f.t.err, FC_EFAIL, "epoch 2, step 2", "diverged");
    close_fixture(&f);
}

static void test_bad_weights(void **state)
{
    (void)state;
    fixture f;
    fc_fit_result r;
    open_fixture(&f, FC_TRAIN_LORA);
    f.trainer->local.p[f.t.start.n - 1] = NAN;
    fc_fit fit = fit_of(&f, B | HEAD, 16, 16, 1);
    fc_status s = fc_fit_run(&r, f.trainer, &fit, &f.t.err);
    assert_says(s, &f.t.err, FC_EFAIL, "task 2, round 3, client 3, epoch 1, step 1: loss is nan",
                "received were not finite");
    close_fixture(&f);
}

/* --- Grams ------------------------------------------------------------------------------------
 */

/* Passes over 70 samples, two items of work each; the oracle takes one image at a time. */
static void check_grams(double alpha, int passes)
{
    enum { COUNT = 70 };
    fixture f;
    open_fixture(&f, FC_TRAIN_LORA);
    int D = f.t.net.shape.width, n = fc_vit_slots(&f.t.net.shape), dim[9], d_out;
    double alphas[9] = {0};
    for (int i = 0; i < n; i++)
        fc_slot_dims(&f.t.net.shape, i, &d_out, &dim[i]);
    dim[n] = D;
    alphas[n] = alpha;
    fc_grams g;
    assert_int_equal(fc_grams_init(&g, n + 1, dim, alphas, &f.t.arena, NULL), FC_OK);
    fc_crew_free(&f.crew);
    open_crew(&f, &g);
    fc_model m =
        fc_model_of(&f.t.net.shape, f.t.net.mode, f.t.net.rank, CLASSES, f.t.w0.p, &f.t.start);
    fc_key key = {.seed = 4, .client = 2};
    g.g[0] = 1e6; /* what was there is forgotten */
    assert_int_equal(fc_fit_grams(&g, f.trainer, &m, f.sample, COUNT, passes, key, NULL, &f.t.err),
                     FC_OK);

    double *want = fc_arena_alloc(&f.t.arena, (size_t)(D * D), sizeof *want, NULL);
    fc_worker *w = &f.crew.worker[0];
    key.stream = FC_STREAM_GRAM;
    int times = passes ? passes : 1;
    for (int pass = 0; pass < times; pass++)
        for (int i = 0; i < COUNT; i++) {
            fc_worker_load(w, &f.t.net, f.t.net.train, &f.sample[i], 1, key, passes ? pass : -1);
            fc_vit_forward(w->acts, &m, w->x, 1, NULL, NULL);
            const fc_real *x = fc_acts_features(w->acts);
            for (int r = 0; r < D; r++)
                for (int c = 0; c < D; c++)
                    want[r * D + c] += (r == c ? 1 : alpha) * x[r] * x[c];
        }
    const double *head = g.g + g.slot[n].offset;
    for (int r = 0; r < D; r++)
        for (int c = 0; c < D; c++)
            if (alpha != 0)
                assert_close(head[r * D + c], want[r * D + c], 1e-5, 1e-4);
            else if (r == c)
                assert_close(head[r], want[r * D + r], 1e-6, 0);
    /* the first layer's inputs come out of a LayerNorm: rows of squared length D, for every token
     */
    double trace = 0;
    for (int i = 0; i < D; i++)
        trace += g.g[i];
    assert_close(trace, (double)D * times * COUNT * fc_vit_tokens(&f.t.net.shape), 1e-3, 0);
    close_fixture(&f);
}

static void test_grams(void **state)
{
    (void)state;
    check_grams(1, 2);
    check_grams(0.5, 2);
    check_grams(0, 2);
    check_grams(1, 0); /* not augmented */
}

/* The last test: a stop cannot be taken back. */
static void test_stop(void **state)
{
    (void)state;
    fixture f;
    fc_fit_result r;
    open_fixture(&f, FC_TRAIN_HEAD);
    fc_signals_install();
    raise(SIGTERM);
    fc_fit fit = fit_of(&f, HEAD, 40, 16, 2);
    assert_int_equal(fc_fit_run(&r, f.trainer, &fit, &f.t.err), FC_ESTOP);
    assert_int_equal(r.steps, 1); /* the step under way was finished */
    assert_true(memcmp(f.trainer->local.p, f.t.start.p, f.t.start.n * sizeof *f.t.start.p) != 0);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load),
        cmocka_unit_test(test_gradient_is_the_mean_over_images),
        cmocka_unit_test(test_frozen_groups_stay),
        cmocka_unit_test(test_other_classes_stay),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_loss_is_the_mean_over_images),
        cmocka_unit_test(test_warm_up),
        cmocka_unit_test(test_decay),
        cmocka_unit_test(test_epoch_end_stops),
        cmocka_unit_test(test_divergence),
        cmocka_unit_test(test_bad_weights),
        cmocka_unit_test(test_grams),
        cmocka_unit_test(test_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
