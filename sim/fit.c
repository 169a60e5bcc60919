#include "sim/fit.h"

#include "core/head.h"
#include "sim/signals.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static fc_status worker_init(fc_worker *w, const fc_net *net, size_t n_grad, int max_side,
                             fc_arena *arena, fc_error *err)
{
    size_t side = (size_t)net->shape.image;
    FC_TRY(fc_acts_new(&w->acts, &net->shape, net->rank, net->classes, FC_SLICE, true,
                       &net->engine, err));
    FC_TRY(fc_resampler_new(&w->resampler, max_side, net->shape.image, err));
    w->x = fc_arena_alloc(arena, (size_t)FC_SLICE * 3 * side * side, sizeof *w->x, err);
    w->dlogits =
        fc_arena_alloc(arena, (size_t)FC_SLICE * (size_t)net->classes, sizeof *w->dlogits, err);
    w->label = fc_arena_alloc(arena, (size_t)FC_SLICE, sizeof *w->label, err);
    if (n_grad)
        w->grad = fc_arena_alloc(arena, n_grad, sizeof *w->grad, err);
    return w->x && w->dlogits && w->label && (w->grad || !n_grad) ? FC_OK : FC_EFAIL;
}

fc_status fc_trainer_init(fc_trainer *t, const fc_net *net, const fc_params *like, int workers,
                          int batch, size_t samples, const fc_grams *grams, int max_side,
                          fc_error *err)
{
    *t = (fc_trainer){.net = net, .workers = workers, .order_max = samples};
    fc_optim_config adam = {.kind = FC_ADAMW};
    t->worker = fc_arena_alloc(&t->arena, (size_t)workers, sizeof *t->worker, err);
    t->grad = fc_arena_alloc(&t->arena, like->n, sizeof *t->grad, err);
    t->order = fc_arena_alloc(&t->arena, samples, sizeof *t->order, err);
    fc_status s = t->worker && t->grad && t->order ? FC_OK : FC_EFAIL;
    if (s == FC_OK)
        s = fc_params_alloc(&t->local, like, &t->arena, err);
    if (s == FC_OK)
        s = fc_optim_init(&t->optim, &adam, &t->local, &t->arena, err);
    if (s == FC_OK && grams)
        s = fc_grams_like(&t->grams, grams, &t->arena, err);
    for (int i = 0; s == FC_OK && i < workers; i++)
        s = worker_init(&t->worker[i], net, batch > FC_SLICE ? like->n : 0, max_side, &t->arena,
                        err);
    if (s != FC_OK)
        fc_trainer_free(t);
    return s;
}

void fc_trainer_free(fc_trainer *t)
{
    for (int i = 0; t->worker && i < t->workers; i++) {
        fc_acts_free(t->worker[i].acts);
        fc_resampler_free(t->worker[i].resampler);
    }
    fc_arena_free(&t->arena);
    *t = (fc_trainer){0};
}

void fc_worker_load(fc_worker *w, const fc_net *net, const fc_split *split, const uint32_t *sample,
                    int n, fc_key key, int epoch)
{
    size_t pixels = 3 * (size_t)net->shape.image * (size_t)net->shape.image;
    key.epoch = (uint32_t)epoch;
    for (int i = 0; i < n; i++) {
        key.sample = sample[i];
        fc_rng rng = fc_rng_at(key);
        fc_transform_apply(w->x + (size_t)i * pixels, &split->image[sample[i]], &net->transform,
                           epoch < 0 ? NULL : &rng, w->resampler);
        w->label[i] = net->logit[split->label[sample[i]]];
    }
}

/* Zero the trained groups of a block shaped like p. */
static void zero_groups(fc_real *block, const fc_params *p, unsigned groups)
{
    for (int g = 0; g < FC_NGROUP; g++) {
        size_t offset, n = groups >> g & 1 ? fc_params_group(p, (fc_group)g, &offset) : 0;
        if (n)
            memset(block + offset, 0, n * sizeof *block);
    }
}

static void add_groups(fc_real *dst, const fc_real *src, const fc_params *p, unsigned groups)
{
    for (int g = 0; g < FC_NGROUP; g++) {
        size_t offset, n = groups >> g & 1 ? fc_params_group(p, (fc_group)g, &offset) : 0;
        for (size_t i = 0; i < n; i++)
            dst[offset + i] += src[offset + i];
    }
}

/* Loss (sum) and gradient of one slice of a batch of n_batch. */
static void slice_gradient(fc_trainer *t, fc_worker *w, const fc_fit *f, const uint32_t *sample,
                           int n, int n_batch, int epoch, fc_real *grad)
{
    const fc_net *net = t->net;
    fc_key key = f->key;
    key.stream = FC_STREAM_AUGMENT;
    fc_worker_load(w, net, net->train, sample, n, key, epoch);
    fc_model m = fc_model_of(&net->shape, net->mode, net->rank, net->classes, f->w, &t->local);
    m.packed = f->packed;
    fc_vit_forward(w->acts, &m, w->x, n, NULL);
    w->loss = fc_ce(w->dlogits, fc_acts_logits(w->acts), w->label, n, net->classes, f->lo, f->hi,
                    n_batch);
    fc_params view = t->local;
    view.p = grad;
    zero_groups(grad, &view, f->groups);
    fc_grads g = fc_grads_of(net->mode, &view, f->groups);
    fc_vit_backward(w->acts, &m, w->dlogits, &g);
}

/* Gradient of the mean loss of a batch into t->grad; returns the mean loss. */
static double batch_gradient(fc_trainer *t, const fc_fit *f, const uint32_t *sample, int n,
                             int epoch)
{
    double loss = 0;
    int slices = (n + FC_SLICE - 1) / FC_SLICE;
    for (int s0 = 0; s0 < slices; s0 += t->workers) {
        int wave = slices - s0 < t->workers ? slices - s0 : t->workers;
        /* Slices over the workers of this trainer; serial where clients already run in parallel. */
#pragma omp parallel for num_threads(wave) schedule(static, 1) if (wave > 1)
        for (int j = 0; j < wave; j++) {
            int at = (s0 + j) * FC_SLICE, count = n - at < FC_SLICE ? n - at : FC_SLICE;
            slice_gradient(t, &t->worker[j], f, sample + at, count, n, epoch,
                           s0 + j == 0 ? t->grad : t->worker[j].grad);
        }
        for (int j = 0; j < wave; j++) {
            loss += t->worker[j].loss;
            if (s0 + j > 0)
                add_groups(t->grad, t->worker[j].grad, &t->local, f->groups);
        }
    }
    return loss / n;
}

static fc_status not_finite(const fc_trainer *t, const fc_fit *f, int epoch, long step, double loss,
                            fc_error *err)
{
    const char *found = isnan(loss) ? "nan" : "infinite";
    double lr = 0;
    for (int g = 0; g < FC_NGROUP; g++)
        if (f->groups >> g & 1 && f->optim.lr[g] > lr)
            lr = f->optim.lr[g];
    for (size_t i = 0; step == 0 && i < t->local.n; i++)
        if (!isfinite(t->local.p[i]))
            return fc_fail(
                err, FC_EFAIL,
                "%s, epoch %d, step %ld: loss is %s: the weights received were not finite already",
                f->what, epoch + 1, step + 1, found);
    return fc_fail(err, FC_EFAIL,
                   "%s, epoch %d, step %ld: loss is %s: training diverged, most likely because a "
                   "learning rate is too high (the largest is %g)",
                   f->what, epoch + 1, step + 1, found, lr);
}

fc_status fc_fit_run(fc_fit_result *out, fc_trainer *t, const fc_fit *f, fc_error *err)
{
    long per_epoch = (long)((f->n + (size_t)f->batch - 1) / (size_t)f->batch),
         total = per_epoch * f->epochs;
    double flop = fc_fit_flop(t->net, f->groups), sum = 0;
    *out = (fc_fit_result){.loss_first = NAN, .loss_last = NAN};
    assert(f->n <= t->order_max && f->batch >= 1);
    fc_optim_reset(&t->optim, &f->optim, &t->local);
    for (int epoch = 0; epoch < f->epochs; epoch++) {
        fc_key key = f->key;
        key.stream = FC_STREAM_SHUFFLE;
        key.epoch = (uint32_t)epoch;
        fc_rng rng = fc_rng_at(key);
        memcpy(t->order, f->sample, f->n * sizeof *t->order);
        fc_rng_shuffle(&rng, t->order, f->n);
        double epoch_sum = 0;
        for (size_t at = 0; at < f->n; at += (size_t)f->batch) {
            int n = f->n - at < (size_t)f->batch ? (int)(f->n - at) : f->batch;
            double loss = batch_gradient(t, f, t->order + at, n, epoch);
            if (!isfinite(loss))
                return not_finite(t, f, epoch, out->steps, loss, err);
            double scale =
                fc_schedule_at(f->schedule, out->steps, total, (long)(f->warmup * (double)total));
            fc_optim_step(&t->optim, &t->local, t->grad, scale, f->no_decay_1d);
            if (out->steps++ == 0)
                out->loss_first = loss;
            out->loss_last = loss;
            epoch_sum += loss * n;
            if (f->progress)
                fc_progress_add(f->progress, flop * n, f->what);
            if (fc_stop_requested())
                return fc_fail(err, FC_ESTOP, "stopped on request");
        }
        sum += epoch_sum;
        if (f->epoch_end)
            FC_TRY(f->epoch_end(f->ctx, t, epoch, epoch_sum / (double)f->n, err));
    }
    out->loss_mean = sum / ((double)f->n * f->epochs);
    return FC_OK;
}

fc_status fc_fit_grams(fc_grams *out, fc_trainer *t, const fc_model *m, const uint32_t *sample,
                       size_t n, int passes, fc_key key, fc_progress *progress, const char *what,
                       fc_error *err)
{
    double flop = fc_vit_flop(&t->net->shape, m->rank, m->classes, t->net->mode, 0, false);
    key.stream = FC_STREAM_GRAM;
    fc_grams_zero(out);
    for (int pass = 0; pass < passes; pass++)
        for (size_t at = 0; at < n; at += FC_SLICE) {
            fc_worker *w = &t->worker[0];
            int count = n - at < FC_SLICE ? (int)(n - at) : FC_SLICE;
            fc_worker_load(w, t->net, t->net->train, sample + at, count, key, pass);
            fc_vit_forward(w->acts, m, w->x, count, out);
            if (progress)
                fc_progress_add(progress, flop * count, what);
            if (fc_stop_requested())
                return fc_fail(err, FC_ESTOP, "stopped on request");
        }
    fc_grams_finish(out);
    return FC_OK;
}

double fc_fit_flop(const fc_net *net, unsigned groups)
{
    return fc_vit_flop(&net->shape, net->rank, net->classes, net->mode, groups, true);
}
