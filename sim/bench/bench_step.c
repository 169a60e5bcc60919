/* fcil bench step and data: the training step, the evaluation and the data pipeline of a run, on
 * random weights and procedural images of 32 px, the size of CIFAR's. */
#include "sim/bench/bench.h"

#include "core/base/threads.h"
#include "core/vit/head.h"
#include "core/vit/kernels.h"
#include "datasets/dataset.h"
#include "sim/train/fit.h"

#include <string.h>

enum { SOURCE_SIDE = 32, TURNS_MIN = 4, TURNS_MAX = 10000 };

/* What a run has. A turn is one step of every client, or one block of images on every thread. */
typedef struct bench {
    const fc_bench_options *o;
    int threads, clients;
    fc_arena arena;
    fc_dataset data;
    fc_net net;
    unsigned groups;
    fc_params w, start; /* backbone; what clients start from */
    fc_packed packed;   /* of w; empty in full fine-tuning, where w changes */
    fc_crew crew;
    uint32_t *sample; /* (clients * batch, at least FC_SLICE) images */
    int logit[FC_BENCH_CLASSES];
    double *done;     /* moments: end of a step of one client, or of a block */
    fc_real *patches; /* (FC_SLICE, tokens - 1, 3 patch^2) */
} bench;

/* Ends of work per turn, and images of each. */
static int ends_per_turn(const bench *b)
{
    return b->o->eval ? b->threads : b->clients;
}

static int images_per_end(const bench *b)
{
    return b->o->eval ? FC_SLICE : b->o->batch;
}

/* ---- set-up --------------------------------------------------------------------------------- */

static fc_status open_data(bench *b, fc_error *err)
{
    int n = b->clients * b->o->batch;
    n = n < FC_SLICE ? FC_SLICE : n;
    fc_data_request q = {.name = "synth",
                         .path = "",
                         .root = "",
                         .classes = FC_BENCH_CLASSES,
                         .per_class_train = (n + FC_BENCH_CLASSES - 1) / FC_BENCH_CLASSES,
                         .per_class_test = 1,
                         .size = SOURCE_SIDE,
                         .difficulty = 0.5};
    FC_TRY(fc_dataset_load(&b->data, &q, err));
    b->sample = fc_arena_alloc(&b->arena, (size_t)n, sizeof *b->sample, err);
    for (int i = 0; b->sample && i < n; i++)
        b->sample[i] = (uint32_t)i;
    return b->sample ? FC_OK : FC_EFAIL;
}

static fc_status open_net(bench *b, int shape, fc_error *err)
{
    const fc_bench_options *o = b->o;
    bool full = o->mode == FC_BENCH_FULL;
    fc_engine engine = {.bf16 = o->precision == FC_BENCH_BF16};
    FC_TRY(fc_isa_find(&engine.isa, o->isa, engine.bf16, err));
    for (int i = 0; i < FC_BENCH_CLASSES; i++)
        b->logit[i] = i;
    b->net = (fc_net){.shape = fc_bench_shape[shape],
                      .mode = full ? FC_TRAIN_FULL : FC_TRAIN_LORA,
                      .rank = full ? 0 : o->rank,
                      .classes = FC_BENCH_CLASSES,
                      .engine = engine,
                      .transform = {.size = fc_bench_shape[shape].image,
                                    .augment = FC_AUG_RRC,
                                    .test = FC_TEST_CENTRE,
                                    .scale_low = 0.08,
                                    .mean = {0.5f, 0.5f, 0.5f},
                                    .std = {0.5f, 0.5f, 0.5f}},
                      .train = &b->data.train,
                      .logit = b->logit};
    b->groups = 1u << FC_GROUP_HEAD;
    if (full)
        b->groups |= 1u << FC_GROUP_BACKBONE;
    else
        b->groups |= o->train == FC_BENCH_B   ? 1u << FC_GROUP_B
                     : o->train == FC_BENCH_A ? 1u << FC_GROUP_A
                                              : 1u << FC_GROUP_A | 1u << FC_GROUP_B;
    return FC_OK;
}

static fc_status open_weights(bench *b, fc_error *err)
{
    const fc_vit_shape *s = &b->net.shape;
    fc_params layout;
    FC_TRY(fc_vit_layout(&layout, s, &b->arena, err));
    FC_TRY(fc_params_alloc(&b->w, &layout, &b->arena, err));
    fc_vit_init(&b->w, 0);
    FC_TRY(fc_train_layout(&layout, s, b->net.mode, b->net.rank, b->net.classes, &b->arena, err));
    FC_TRY(fc_params_alloc(&b->start, &layout, &b->arena, err));
    fc_head_init(&b->start, 0);
    if (b->net.mode == FC_TRAIN_LORA)
        fc_lora_init(&b->start, s, 0, 0);
    else
        memcpy(b->start.p, b->w.p, b->w.n * sizeof *b->w.p);
    if (b->net.mode == FC_TRAIN_FULL && !b->o->eval)
        return FC_OK;
    FC_TRY(fc_packed_new(&b->packed, s, !b->o->eval, &b->net.engine, err));
    fc_packed_fill(&b->packed, s, b->w.p);
    return FC_OK;
}

static fc_status open_crew(bench *b, fc_error *err)
{
    fc_crew_plan plan = {.net = &b->net,
                         .like = &b->start,
                         .threads = b->threads,
                         .clients = b->clients,
                         .batch = b->o->batch,
                         .samples = (size_t)b->o->batch,
                         .max_side = SOURCE_SIDE};
    return fc_crew_init(&b->crew, &plan, err);
}

static fc_status bench_open(bench *b, const fc_bench_options *o, int shape, fc_error *err)
{
    *b = (bench){.o = o};
    b->threads = fc_threads_init(o->threads ? o->threads : fc_threads_default(), NULL);
    b->clients = o->eval ? 1 : o->clients ? o->clients : b->threads;
    b->done = fc_arena_alloc(&b->arena, (size_t)ends_per_turn(b) * TURNS_MAX, sizeof *b->done, err);
    size_t side = (size_t)fc_bench_shape[shape].image;
    b->patches = fc_arena_alloc(&b->arena, FC_SLICE * 3 * side * side, sizeof *b->patches, err);
    if (!b->done || !b->patches)
        return FC_EFAIL;
    FC_TRY(open_net(b, shape, err));
    FC_TRY(open_data(b, err));
    FC_TRY(open_weights(b, err));
    return open_crew(b, err);
}

static void bench_close(bench *b)
{
    fc_crew_free(&b->crew);
    fc_packed_free(&b->packed);
    fc_dataset_free(&b->data);
    fc_arena_free(&b->arena);
}

/* ---- turns ---------------------------------------------------------------------------------- */

static fc_status step_done(void *ctx, fc_trainer *t, int epoch, double loss, fc_error *err)
{
    (void)t;
    (void)loss;
    (void)err;
    double *done = ctx; /* (turns) of this client */
    done[epoch] = fc_wall();
    return FC_OK;
}

/* Turns under way. */
typedef struct job {
    bench *b;
    int turns;
    fc_model m;    /* evaluation */
    fc_error *err; /* (clients), training */
} job;

/* One client, as sim/fed/client.c trains it; an epoch is one batch. The learning rate leaves the
 * weights where they are, so that all steps cost the same. */
static void train_client(void *ctx, int thread, int k)
{
    const job *j = ctx;
    bench *b = j->b;
    fc_trainer *t = &b->crew.trainer[thread];
    fc_fit_result result;
    fc_fit f = {.w = b->w.p,
                .packed = b->packed.block ? &b->packed : NULL,
                .groups = b->groups,
                .optim = {.kind = FC_ADAMW,
                          .lr = {1e-6, 1e-6, 1e-6, 1e-6},
                          .groups = b->groups,
                          .beta1 = 0.9,
                          .beta2 = 0.999,
                          .eps = 1e-8},
                .epochs = j->turns,
                .batch = b->o->batch,
                .hi = b->net.classes,
                .sample = b->sample + (size_t)k * (size_t)b->o->batch,
                .n = (size_t)b->o->batch,
                .key = {.client = (uint32_t)k},
                .what = "bench",
                .epoch_end = step_done,
                .ctx = b->done + (size_t)k * (size_t)j->turns};
    memcpy(t->local.p, b->start.p, b->start.n * sizeof *b->start.p);
    fc_fit_run(&result, t, &f, &j->err[k]);
}

/* A block of test images, as sim/train/eval.c does it. */
static void evaluate_block(void *ctx, int thread, int i)
{
    const job *j = ctx;
    bench *b = j->b;
    fc_worker *w = &b->crew.worker[thread];
    int classes = b->net.classes;
    fc_worker_load(w, &b->net, &b->data.test, b->sample, FC_SLICE, (fc_key){0}, -1);
    fc_vit_forward(w->acts, &j->m, w->x, FC_SLICE, NULL, NULL);
    fc_ce(NULL, fc_acts_logits(w->acts), w->label, FC_SLICE, classes, 0, classes, FC_SLICE);
    b->done[i] = fc_wall();
}

static fc_status take_turns(bench *b, int turns, fc_error *err)
{
    fc_net *n = &b->net;
    job j = {.b = b, .turns = turns};
    if (b->o->eval) {
        j.m = fc_model_of(&n->shape, n->mode, 0, n->classes, b->w.p, &b->start);
        j.m.packed = &b->packed;
        fc_pool_run(&b->crew.pool, turns * ends_per_turn(b), evaluate_block, &j);
        return FC_OK;
    }
    fc_mark mark = fc_arena_mark(&b->arena);
    j.err = fc_arena_alloc(&b->arena, (size_t)b->clients, sizeof *j.err, err);
    if (!j.err)
        return FC_EFAIL;
    fc_pool_run(&b->crew.pool, b->clients, train_client, &j);
    fc_status s = FC_OK;
    for (int k = 0; k < b->clients && s == FC_OK; k++)
        if (j.err[k].code != FC_OK)
            s = fc_fail(err, j.err[k].code, "%s", j.err[k].msg);
    fc_arena_release(&b->arena, mark);
    return s;
}

/* Images per second of each turn but the first: whoever finishes, a turn is over when as many ends
 * as it has have come. */
static fc_spread rates_of_turns(bench *b, int turns)
{
    int per_turn = ends_per_turn(b);
    fc_bench_sort(b->done, turns * per_turn);
    for (int i = 0; i < turns; i++)
        b->done[i] = b->done[(i + 1) * per_turn - 1];
    for (int i = 0; i < turns - 1; i++)
        b->done[i] = per_turn * images_per_end(b) / (b->done[i + 1] - b->done[i]);
    return fc_spread_of(b->done, turns - 1);
}

/* Turns that take the time asked for, after two to warm up. */
static fc_status choose_turns(bench *b, int *turns, fc_error *err)
{
    FC_TRY(take_turns(b, 1, err));
    double begin = fc_wall();
    FC_TRY(take_turns(b, 1, err));
    double n = b->o->seconds / (fc_wall() - begin);
    *turns = n < TURNS_MIN ? TURNS_MIN : n > TURNS_MAX ? TURNS_MAX : (int)n;
    return FC_OK;
}

static fc_status measure_rate(fc_spread *rate, bench *b, int *turns, fc_error *err)
{
    FC_TRY(choose_turns(b, turns, err));
    FC_TRY(take_turns(b, *turns, err));
    *rate = rates_of_turns(b, *turns);
    return FC_OK;
}

/* ---- shares --------------------------------------------------------------------------------- */

/* Loads FC_SLICE images and lays them out as patches. */
static void load_images(void *ctx)
{
    bench *b = ctx;
    const fc_vit_shape *s = &b->net.shape;
    fc_worker *w = &b->crew.worker[0];
    bool eval = b->o->eval;
    fc_key key = {.stream = FC_STREAM_AUGMENT};
    fc_worker_load(w, &b->net, eval ? &b->data.test : &b->data.train, b->sample, FC_SLICE, key,
                   eval ? -1 : 0);
    fc_patches(b->patches, w->x, FC_SLICE, s->image, s->patch);
}

static void optimise(void *ctx)
{
    bench *b = ctx;
    fc_trainer *t = &b->crew.trainer[0];
    fc_optim_step(&t->optim, &t->local, t->grad, 1, false);
}

/* Where the time of all threads goes, as fractions: the kernels' from turns with timed kernels,
 * data and optimiser from calls of their own; the rest is the loss, copies, sums, waiting, and all
 * products of OpenBLAS. */
static fc_status measure_shares(json_t *out, bench *b, int turns, fc_error *err)
{
    static const char *const names[FC_SHARES] = {"gemm", "packing", "normalisation",
                                                 "gelu", "softmax", "bias"};
    const fc_isa *plain = b->net.engine.isa;
    fc_crew_free(&b->crew);
    b->net.engine.isa = fc_share_begin(plain);
    FC_TRY(open_crew(b, err));
    FC_TRY(take_turns(b, 1, err));
    fc_share_begin(plain);
    double begin = fc_wall();
    FC_TRY(take_turns(b, turns, err));
    double total = (fc_wall() - begin) * b->threads, rest = 1;
    for (int i = 0; i < FC_SHARES; i++) {
        double share = fc_share_seconds((fc_share)i) / total;
        json_object_set_new(out, names[i], json_real(share));
        rest -= share;
    }
    double n = (double)turns * ends_per_turn(b), load = fc_bench_time(load_images, b, 0.01).median;
    double data = load / FC_SLICE * n * images_per_end(b) / total;
    double optimiser = b->o->eval ? 0 : fc_bench_time(optimise, b, 0.01).median * n / total;
    json_object_set_new(out, "optimiser", json_real(optimiser));
    json_object_set_new(out, "data", json_real(data));
    json_object_set_new(out, "other", json_real(rest - optimiser - data));
    return FC_OK;
}

/* ---- verbs ---------------------------------------------------------------------------------- */

static double flop_per_image(const bench *b)
{
    const fc_net *n = &b->net;
    return b->o->eval ? fc_vit_flop(&n->shape, 0, n->classes, n->mode, 0, false)
                      : fc_fit_flop(n, b->groups);
}

static fc_status print_step_speed(bench *b, int shape, fc_error *err)
{
    const fc_bench_options *o = b->o;
    fc_spread rate;
    int turns;
    FC_TRY(measure_rate(&rate, b, &turns, err));
    double flop = flop_per_image(b), peak = fc_rss_peak();
    json_t *share = json_object();
    fc_status s = measure_shares(share, b, turns / 4 + 1, err);
    if (s != FC_OK) {
        json_decref(share);
        return s;
    }
    json_t *line = json_pack(
        "{s:s, s:o, s:o, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i}", "bench", "step", "shape",
        fc_bench_shape_name(shape), "mode", fc_bench_word(FC_BENCH_MODE_CHOICES, o->mode), "phase",
        o->eval ? "eval" : "train", "precision", b->net.engine.bf16 ? "bf16" : "f32", "isa",
        b->net.engine.isa->name, "threads", b->threads, "clients", b->clients, "batch",
        images_per_end(b), "rank", o->eval ? 0 : b->net.rank, "turns", turns);
    if (!o->eval && b->net.mode == FC_TRAIN_LORA)
        json_object_set_new(line, "train", fc_bench_word(FC_BENCH_TRAIN_CHOICES, o->train));
    fc_bench_add(line, "images_per_s", rate);
    json_object_set_new(line, "gflops", json_real(1e-9 * flop * rate.median));
    json_object_set_new(line, "mflop_per_image", json_real(1e-6 * flop));
    json_object_set_new(line, "peak_mib", json_real(peak));
    json_object_set_new(line, "share", share);
    return fc_bench_print(line, err);
}

static fc_status print_data_speed(bench *b, int shape, fc_error *err)
{
    fc_spread rate, load = fc_bench_time(load_images, b, b->o->seconds);
    int turns;
    FC_TRY(measure_rate(&rate, b, &turns, err));
    double us = 1e6 / FC_SLICE;
    json_t *line =
        json_pack("{s:s, s:o, s:s, s:s, s:i}", "bench", "data", "shape", fc_bench_shape_name(shape),
                  "precision", b->net.engine.bf16 ? "bf16" : "f32", "isa", b->net.engine.isa->name,
                  "threads", 1);
    fc_bench_add(line, "us_per_image", (fc_spread){us * load.median, us * load.p10, us * load.p90});
    json_object_set_new(line, "share_of_step", json_real(load.median / FC_SLICE * rate.median));
    return fc_bench_print(line, err);
}

static fc_status each_shape(const fc_bench_options *o,
                            fc_status (*print)(bench *b, int shape, fc_error *err), fc_error *err)
{
    fc_status s = FC_OK;
    for (int i = 0; i < FC_BENCH_SHAPES && s == FC_OK; i++) {
        bench b;
        if (!fc_bench_wants(o, i))
            continue;
        s = bench_open(&b, o, i, err);
        if (s == FC_OK)
            s = print(&b, i, err);
        bench_close(&b);
    }
    return s;
}

fc_status fc_bench_step(const fc_bench_options *o, fc_error *err)
{
    return each_shape(o, print_step_speed, err);
}

fc_status fc_bench_data(const fc_bench_options *o, fc_error *err)
{
    fc_bench_options one = *o; /* a client on one thread */
    one.threads = one.clients = 1;
    return each_shape(&one, print_data_speed, err);
}
