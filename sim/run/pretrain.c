#include "sim/run/pretrain.h"

#include "core/base/threads.h"
#include "core/vit/head.h"
#include "sim/config/make.h"
#include "sim/parallel/signals.h"
#include "sim/train/fit.h"

#include <string.h>

enum { GROUPS = 1u << FC_GROUP_BACKBONE | 1u << FC_GROUP_HEAD };

typedef struct pretraining {
    fc_config *c;
    fc_net net;
    fc_dataset data;
    fc_crew crew;
    int *logit;
    uint32_t *fit, *held;
    size_t n_fit, n_held;
    fc_params best;
    double best_acc;
    int best_epoch;
    long correct; /* of the held-out images */
    fc_progress progress;
    fc_status status; /* of the training */
    fc_error *err;
    fc_arena arena;
} pretraining;

/* The last hold_out training images of each class are held out. */
static fc_status split_held_out(pretraining *p, fc_error *err)
{
    int hold = p->c->pretrain.hold_out;
    const fc_split *s = &p->data.train;
    bool *last = fc_last_of_class(NULL, s, p->data.classes, hold, &p->arena, err);
    p->fit = fc_arena_alloc(&p->arena, s->n, sizeof *p->fit, err);
    p->held = fc_arena_alloc(&p->arena, s->n, sizeof *p->held, err);
    if (!last || !p->fit || !p->held)
        return FC_EFAIL;
    for (size_t i = s->n; i-- > 0;)
        if (last[i])
            p->held[p->n_held++] = (uint32_t)i;
        else
            p->fit[p->n_fit++] = (uint32_t)i;
    if (p->n_fit == 0)
        return fc_fail(err, FC_EUSAGE,
                       "pretrain.hold_out: %d images per class leave none to train on", hold);
    return FC_OK;
}

static fc_model model_of(const pretraining *p)
{
    return fc_model_of(&p->net.shape, FC_TRAIN_FULL, 0, p->net.classes, NULL,
                       &p->crew.trainer[0].local);
}

/* The held-out images are tested in blocks of FC_SLICE. */
static int block_size(const pretraining *p, int block)
{
    size_t left = p->n_held - (size_t)block * FC_SLICE;
    return left < FC_SLICE ? (int)left : FC_SLICE;
}

static void held_out_forward(void *ctx, int thread, int block)
{
    const pretraining *p = ctx;
    fc_worker *w = &p->crew.worker[thread];
    int n = block_size(p, block);
    fc_model m = model_of(p);
    fc_worker_load(w, &p->net, &p->data.train, p->held + (size_t)block * FC_SLICE, n, (fc_key){0},
                   -1);
    fc_vit_forward(w->acts, &m, w->x, n, NULL, NULL);
}

static void held_out_count(void *ctx, int thread, int block)
{
    pretraining *p = ctx;
    const fc_worker *w = &p->crew.worker[thread];
    const fc_real *z = fc_acts_logits(w->acts);
    for (int i = 0; i < block_size(p, block); i++, z += p->net.classes)
        p->correct += fc_argmax(z, 0, p->net.classes) == w->label[i];
}

/* Per cent right. */
static double held_out_acc(pretraining *p, const fc_trainer *t)
{
    p->correct = 0;
    fc_pool_loop(&p->crew.pool, t->thread, (int)((p->n_held + FC_SLICE - 1) / FC_SLICE),
                 held_out_forward, held_out_count, p);
    return 100.0 * (double)p->correct / (double)p->n_held;
}

/* epoch from 0. */
static void show_epoch(pretraining *p, int epoch)
{
    fc_progress_stage(&p->progress, (fc_counter){0},
                      (fc_counter){"pretraining epoch", epoch + 1, p->c->train.epochs}, 0);
}

static fc_status epoch_end(void *ctx, fc_trainer *t, int epoch, double loss, fc_error *err)
{
    pretraining *p = ctx;
    (void)err;
    show_epoch(p, epoch + 1);
    if (p->n_held == 0) {
        memcpy(p->best.p, t->local.p, t->local.n * sizeof *t->local.p);
        p->best_epoch = epoch;
        fc_progress_line(&p->progress, FC_VERBOSE, "pretrain epoch %d/%d  loss %.4f", epoch + 1,
                         p->c->train.epochs, loss);
        return FC_OK;
    }
    double acc = held_out_acc(p, t);
    if (epoch == 0 || acc > p->best_acc) {
        p->best_acc = acc;
        p->best_epoch = epoch;
        memcpy(p->best.p, t->local.p, t->local.n * sizeof *t->local.p);
    }
    fc_progress_line(&p->progress, FC_VERBOSE,
                     "pretrain epoch %d/%d  loss %.4f  held-out acc %.2f %%", epoch + 1,
                     p->c->train.epochs, loss, acc);
    return FC_OK;
}

static fc_status prepare(pretraining *p, fc_error *err)
{
    fc_config *c = p->c;
    fc_params w0, layout;
    FC_TRY(fc_engine_open(&p->net.engine, c, &p->progress, err));
    FC_TRY(fc_backbone_random(&w0, &p->net.shape, c, &p->arena, err));
    FC_TRY(fc_data_open(&p->data, c, err));
    p->logit = fc_arena_alloc(&p->arena, (size_t)p->data.classes, sizeof *p->logit, err);
    if (!p->logit)
        return FC_EFAIL;
    for (int i = 0; i < p->data.classes; i++)
        p->logit[i] = i;
    p->net.mode = FC_TRAIN_FULL;
    const fc_transform transform = fc_transform_of(c, p->net.shape.image);
    fc_net_sees(&p->net, &p->data.train, &transform, p->logit, p->data.classes);
    FC_TRY(split_held_out(p, err));
    FC_TRY(
        fc_train_layout(&layout, &p->net.shape, FC_TRAIN_FULL, 0, p->net.classes, &p->arena, err));
    FC_TRY(fc_params_alloc(&p->best, &layout, &p->arena, err));
    fc_crew_plan plan = fc_crew_plan_one(&p->net, &layout, fc_threads(), fc_dataset_side(&p->data));
    plan.batch = c->train.batch;
    plan.samples = p->n_fit;
    FC_TRY(fc_crew_init(&p->crew, &plan, err));
    fc_params *start = &p->crew.trainer[0].local;
    memcpy(start->p, w0.p, w0.n * sizeof *w0.p);
    fc_head_init(start, fc_seed(c, c->seed.init));
    return FC_OK;
}

/* The one piece of work of the pool: all threads help with its batches. */
static void train(void *ctx, int thread, int i)
{
    pretraining *p = ctx;
    const fc_config *c = p->c;
    fc_fit_result result;
    fc_fit f = {.groups = GROUPS,
                .optim = fc_optim_of(c, GROUPS),
                .schedule = (fc_schedule)c->train.schedule,
                .warmup = c->train.warmup,
                .epochs = c->train.epochs,
                .batch = c->train.batch,
                .hi = p->net.classes,
                .no_decay_1d = true,
                .sample = p->fit,
                .n = p->n_fit,
                .key = {.seed = fc_seed(c, c->seed.train)},
                .progress = &p->progress,
                .what = "pretraining",
                .epoch_end = epoch_end,
                .ctx = p};
    (void)i;
    p->status = fc_fit_run(&result, &p->crew.trainer[thread], &f, p->err);
}

static fc_status save_best(const pretraining *p, const char *path, fc_error *err)
{
    fc_model m = fc_model_of(&p->net.shape, FC_TRAIN_FULL, 0, p->net.classes, NULL, &p->best);
    return fc_vit_save(path, &m, NULL, err);
}

fc_status fc_pretrain(fc_config *c, const char *path, fc_console console, fc_error *err)
{
    pretraining p = {.c = c, .err = err};
    fc_progress_init(&p.progress, console, 0, 0);
    fc_status s = prepare(&p, err);
    if (s == FC_OK) {
        fc_progress_init(&p.progress, console,
                         fc_fit_flop(&p.net, GROUPS) * (double)p.n_fit * c->train.epochs, 0);
        show_epoch(&p, 0);
        fc_pool_run(&p.crew.pool, 1, train, &p);
        s = p.status;
        fc_progress_end(&p.progress);
    }
    if (s == FC_OK)
        s = save_best(&p, path, err);
    if (s == FC_ESTOP) { /* 75 would promise that something was saved */
        *err = (fc_error){0};
        s = fc_fail(err, FC_EFAIL, "pretraining was stopped before its end: nothing was saved");
    }
    if (s == FC_OK && p.n_held)
        fc_progress_line(&p.progress, FC_NORMAL,
                         "pretrained backbone: held-out acc %.2f %% (epoch %d of %d), %s",
                         p.best_acc, p.best_epoch + 1, c->train.epochs, path);
    else if (s == FC_OK)
        fc_progress_line(&p.progress, FC_NORMAL, "pretrained backbone: %s", path);
    fc_crew_free(&p.crew);
    fc_dataset_free(&p.data);
    fc_arena_free(&p.arena);
    return s;
}
