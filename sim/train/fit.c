#include "sim/train/fit.h"

#include "core/vit/head.h"
#include "sim/parallel/signals.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static fc_status worker_init(fc_worker *w, const fc_crew_plan *p, fc_arena *arena, fc_error *err)
{
    const fc_net *net = p->net;
    size_t side = (size_t)net->shape.image,
           n_grad = p->batch > FC_SLICE || p->second_batch ? p->like->n : 0;
    fc_acts_size size = p->acts;
    size.rank = net->rank;
    size.classes = net->classes;
    size.n_max = FC_SLICE;
    size.backward = true;
    FC_TRY(fc_acts_new(&w->acts, &net->shape, &size, &net->engine, err));
    FC_TRY(fc_resampler_new(&w->resampler, p->max_side, net->shape.image, err));
    w->x = fc_arena_alloc(arena, (size_t)FC_SLICE * 3 * side * side, sizeof *w->x, err);
    w->dlogits =
        fc_arena_alloc(arena, (size_t)FC_SLICE * (size_t)net->classes, sizeof *w->dlogits, err);
    w->label = fc_arena_alloc(arena, (size_t)FC_SLICE, sizeof *w->label, err);
    if (n_grad)
        w->grad = fc_arena_alloc(arena, n_grad, sizeof *w->grad, err);
    if (p->grams)
        FC_TRY(fc_grams_like(&w->grams, p->grams, arena, err));
    if (p->teacher) {
        fc_acts_size forward = {.rank = net->rank, .classes = net->classes, .n_max = FC_SLICE};
        FC_TRY(fc_acts_new(&w->teacher, &net->shape, &forward, &net->engine, err));
    }
    if (p->slice_terms) {
        w->dfeatures = fc_arena_alloc(arena, (size_t)FC_SLICE * (size_t)net->shape.width,
                                      sizeof *w->dfeatures, err);
        if (!w->dfeatures)
            return FC_EFAIL;
    }
    return w->x && w->dlogits && w->label && (w->grad || !n_grad) ? FC_OK : FC_EFAIL;
}

static fc_status trainer_init(fc_trainer *t, const fc_crew_plan *p, fc_arena *arena, fc_error *err)
{
    fc_optim_config adam = {.kind = FC_ADAMW};
    t->net = p->net;
    t->order_max = p->samples;
    t->grad = fc_arena_alloc(arena, p->like->n, sizeof *t->grad, err);
    t->order = fc_arena_alloc(arena, p->samples, sizeof *t->order, err);
    if (!t->grad || !t->order)
        return FC_EFAIL;
    if (p->second_batch) {
        t->second = fc_arena_alloc(arena, (size_t)p->batch, sizeof *t->second, err);
        if (!t->second)
            return FC_EFAIL;
    }
    FC_TRY(fc_params_alloc(&t->local, p->like, arena, err));
    FC_TRY(fc_optim_init(&t->optim, &adam, &t->local, arena, err));
    if (p->net->mode == FC_TRAIN_FULL)
        FC_TRY(fc_packed_new(&t->packed, &p->net->shape, true, &p->net->engine, err));
    return p->grams ? fc_grams_like(&t->grams, p->grams, arena, err) : FC_OK;
}

static fc_status crew_init(fc_crew *c, const fc_crew_plan *p, fc_error *err)
{
    FC_TRY(fc_pool_init(&c->pool, p->threads, &c->arena, err));
    c->trainers = p->clients < p->threads ? p->clients : p->threads;
    c->worker = fc_arena_alloc(&c->arena, (size_t)p->threads, sizeof *c->worker, err);
    c->trainer = fc_arena_alloc(&c->arena, (size_t)c->trainers, sizeof *c->trainer, err);
    if (!c->worker || !c->trainer)
        return FC_EFAIL;
    for (int i = 0; i < p->threads; i++)
        FC_TRY(worker_init(&c->worker[i], p, &c->arena, err));
    for (int i = 0; i < c->trainers; i++) {
        c->trainer[i].crew = c;
        c->trainer[i].thread = i;
        FC_TRY(trainer_init(&c->trainer[i], p, &c->arena, err));
    }
    return FC_OK;
}

void fc_net_sees(fc_net *net, const fc_split *train, const fc_transform *transform,
                 const int *logit, int classes)
{
    net->train = train;
    net->transform = *transform;
    net->logit = logit;
    net->classes = classes;
}

fc_crew_plan fc_crew_plan_one(const fc_net *net, const fc_params *like, int threads, int max_side)
{
    return (fc_crew_plan){.net = net,
                          .like = like,
                          .threads = threads,
                          .clients = 1,
                          .batch = FC_SLICE,
                          .max_side = max_side};
}

fc_status fc_crew_init(fc_crew *c, const fc_crew_plan *plan, fc_error *err)
{
    *c = (fc_crew){0};
    fc_status s = crew_init(c, plan, err);
    if (s != FC_OK)
        fc_crew_free(c);
    return s;
}

void fc_crew_free(fc_crew *c)
{
    for (int i = 0; c->worker && i < c->pool.threads; i++) {
        fc_acts_free(c->worker[i].acts);
        fc_acts_free(c->worker[i].teacher);
        fc_resampler_free(c->worker[i].resampler);
    }
    for (int i = 0; c->trainer && i < c->trainers; i++)
        fc_packed_free(&c->trainer[i].packed);
    fc_pool_free(&c->pool);
    fc_arena_free(&c->arena);
    *c = (fc_crew){0};
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
        size_t offset, n = fc_params_group_of(p, groups, (fc_group)g, &offset);
        memset(block + offset, 0, n * sizeof *block);
    }
}

static void add_groups(fc_real *dst, const fc_real *src, const fc_params *p, unsigned groups)
{
    for (int g = 0; g < FC_NGROUP; g++) {
        size_t offset, n = fc_params_group_of(p, groups, (fc_group)g, &offset);
        for (size_t i = 0; i < n; i++)
            dst[offset + i] += src[offset + i];
    }
}

/* How many of the n things from `at` on fall into a block of `size`. */
static int count_at(size_t n, size_t at, int size)
{
    return n - at < (size_t)size ? (int)(n - at) : size;
}

/* A batch while its slices are shared out. */
typedef struct batch {
    fc_trainer *t;
    const fc_fit *f;
    fc_model model;
    const uint32_t *sample;
    int n, epoch;
    int n_second, slices; /* images of the second batch; slices of the first one */
    double loss;          /* sum over the committed slices */
} batch;

/* The teacher of a term runs over the images of a slice. */
static void run_teacher(fc_piece_slice *s, fc_worker *w, const fc_trainer *t, const fc_fit *f,
                        const fc_loss_term *term, const fc_piece_client *at)
{
    const fc_net *net = t->net;
    fc_params block = t->local;
    block.p = (fc_real *)(uintptr_t)(term->teacher == FC_TEACHER_START
                                         ? at->start
                                         : at->array[term->teacher_array].p);
    fc_model m = fc_model_of(&net->shape, net->mode, net->rank, net->classes, f->w, &block);
    bool full = net->mode == FC_TRAIN_FULL;
    m.packed = full ? f->teacher_packed : f->packed;
    fc_vit_forward(w->teacher, &m, w->x, s->n, NULL, NULL);
    s->teacher_logits = fc_acts_logits(w->teacher);
    s->teacher_features = fc_acts_features(w->teacher);
}

/* Terms of the logits and features of a slice: their sum, and w->dlogits, w->dfeatures += their
 * gradient. Is there any? */
static bool slice_terms(fc_worker *w, const batch *b, const uint32_t *sample, int n, bool second)
{
    const fc_fit *f = b->f;
    const fc_net *net = b->t->net;
    bool any = false;
    for (int k = 0; k < f->pieces; k++) {
        const fc_piece_client *at = &f->at[k];
        const fc_loss_term *term = at->piece->term;
        if (!term || !term->slice || (second && !term->second) ||
            (term->now && !term->now(at->setup, at->options, at->task)))
            continue;
        if (!any)
            memset(w->dfeatures, 0, (size_t)n * (size_t)net->shape.width * sizeof *w->dfeatures);
        any = true;
        fc_piece_slice s = {.client = at,
                            .n = n,
                            .batch = b->n,
                            .classes = net->classes,
                            .width = net->shape.width,
                            .lo = f->lo,
                            .hi = f->hi,
                            .second = second,
                            .sample = sample,
                            .label = w->label,
                            .logits = fc_acts_logits(w->acts),
                            .features = fc_acts_features(w->acts),
                            .dlogits = w->dlogits,
                            .dfeatures = w->dfeatures};
        if (term->teacher != FC_NO_TEACHER)
            run_teacher(&s, w, b->t, f, term, at);
        w->loss += term->slice(&s);
    }
    return any;
}

/* Terms of the trained block: their sum, and t->grad += their gradient. */
static double block_terms(fc_trainer *t, const fc_fit *f, long steps)
{
    double sum = 0;
    for (int k = 0; k < f->pieces; k++) {
        fc_piece_client *at = &f->at[k];
        const fc_loss_term *term = at->piece->term;
        at->steps = steps;
        if (term && term->block && (!term->now || term->now(at->setup, at->options, at->task)))
            sum += term->block(t->grad, at);
    }
    return sum;
}

/* Loss L_s = sum over the images of the slice of CE(logits lo .. hi-1, label) and gradient
 * d (L_s / n) / d theta, n the images of the batch; the first one writes straight into the gradient
 * of the batch. */
static void slice_gradient(void *ctx, int thread, int i)
{
    batch *b = ctx;
    fc_trainer *t = b->t;
    const fc_fit *f = b->f;
    const fc_net *net = t->net;
    fc_worker *w = &t->crew->worker[thread];
    bool second = i >= b->slices;
    const uint32_t *of = second ? t->second : b->sample;
    size_t at = (size_t)(second ? i - b->slices : i) * FC_SLICE;
    int n = count_at((size_t)(second ? b->n_second : b->n), at, FC_SLICE);
    fc_key key = f->key;
    key.stream = FC_STREAM_AUGMENT;
    fc_worker_load(w, net, net->train, of + at, n, key, b->epoch);
    fc_params grad = t->local;
    grad.p = i == 0 ? t->grad : w->grad;
    zero_groups(grad.p, &grad, f->groups);
    fc_grads g = fc_grads_of(net->mode, &grad, f->groups);
    fc_vit_forward(w->acts, &b->model, w->x, n, NULL, &g);
    w->loss = 0;
    if (second)
        memset(w->dlogits, 0, (size_t)n * (size_t)net->classes * sizeof *w->dlogits);
    else
        w->loss = fc_ce(w->dlogits, fc_acts_logits(w->acts), w->label, n, net->classes, f->lo,
                        f->hi, b->n);
    bool terms = f->pieces > 0 && slice_terms(w, b, of + at, n, second);
    fc_vit_backward_features(w->acts, &b->model, w->dlogits, terms ? w->dfeatures : NULL, &g);
}

static void slice_commit(void *ctx, int thread, int i)
{
    batch *b = ctx;
    fc_trainer *t = b->t;
    const fc_worker *w = &t->crew->worker[thread];
    b->loss += w->loss;
    if (i > 0)
        add_groups(t->grad, w->grad, &t->local, b->f->groups);
}

/* The second batch of a step, as large as the first at most, into t->second; returns its size. */
static int draw_second(fc_trainer *t, const fc_fit *f, int most, int epoch, long step)
{
    fc_key key = f->key;
    key.stream = FC_STREAM_REPLAY;
    key.epoch = (uint32_t)epoch;
    key.sample = (uint32_t)step;
    fc_rng rng = fc_rng_at(key);
    for (int k = 0; k < f->pieces; k++) {
        const fc_piece_client *at = &f->at[k];
        const fc_loss_term *term = at->piece->term;
        if (term && term->second && (!term->now || term->now(at->setup, at->options, at->task)))
            return term->second(t->second, most, at, &rng);
    }
    return 0;
}

fc_model fc_fit_model(fc_trainer *t, const fc_fit *f)
{
    const fc_net *net = t->net;
    fc_model m = fc_model_of(&net->shape, net->mode, net->rank, net->classes, f->w, &t->local);
    m.packed = f->packed;
    if (net->mode == FC_TRAIN_FULL) {
        fc_packed_fill(&t->packed, &net->shape, t->local.p);
        m.packed = &t->packed;
    }
    return m;
}

/* Gradient of the mean loss of a batch, sum_s d (L_s / n) / d theta in the order of the slices,
 * into t->grad; returns the mean loss sum_s L_s / n. */
static double batch_gradient(fc_trainer *t, const fc_fit *f, const uint32_t *sample, int n,
                             int epoch, long step)
{
    batch b = {
        .t = t, .f = f, .model = fc_fit_model(t, f), .sample = sample, .n = n, .epoch = epoch};
    b.slices = (n + FC_SLICE - 1) / FC_SLICE;
    b.n_second = f->pieces > 0 ? draw_second(t, f, n, epoch, step) : 0;
    int slices = b.slices + (b.n_second + FC_SLICE - 1) / FC_SLICE;
    assert(slices == 1 || t->crew->worker[0].grad);
    fc_pool_loop(&t->crew->pool, t->thread, slices, slice_gradient, slice_commit, &b);
    return b.loss / n;
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
    double flop = fc_fit_flop_with(t->net, f->groups, &f->extra), sum = 0;
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
            int n = count_at(f->n, at, f->batch);
            double loss = batch_gradient(t, f, t->order + at, n, epoch, out->steps);
            loss += block_terms(t, f, out->steps);
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
                fc_progress_add(f->progress, flop * n, n, loss);
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

fc_status fc_fit_gradient(fc_real *out, fc_trainer *t, const fc_fit *f, fc_error *err)
{
    fc_fit plain = *f;
    double flop = fc_fit_flop(t->net, f->groups);
    plain.pieces = 0;
    memset(out, 0, t->local.n * sizeof *out);
    for (size_t at = 0; at < f->n; at += (size_t)f->batch) {
        int n = count_at(f->n, at, f->batch);
        double share = (double)n / (double)f->n;
        batch_gradient(t, &plain, f->sample + at, n, 0, 0);
        for (int g = 0; g < FC_NGROUP; g++) { /* out += (n / N) grad */
            size_t first, count = fc_params_group_of(&t->local, f->groups, (fc_group)g, &first);
            for (size_t i = 0; i < count; i++)
                out[first + i] += (fc_real)(share * t->grad[first + i]);
        }
        if (f->progress)
            fc_progress_add(f->progress, flop * n, n, NAN);
        if (fc_stop_requested())
            return fc_fail(err, FC_ESTOP, "stopped on request");
    }
    return FC_OK;
}

/* Gram passes while their items are shared out. */
typedef struct gram_passes {
    fc_grams *out;
    fc_trainer *t;
    const fc_model *m;
    const uint32_t *sample;
    size_t n;
    int items; /* of one pass */
    bool augmented;
    fc_key key;
    fc_progress *progress;
} gram_passes;

/* The first item writes straight into the result. */
static fc_grams gram_sum(const gram_passes *g, int thread, int i)
{
    return i == 0 ? *g->out : fc_grams_first(&g->t->crew->worker[thread].grams, g->out->n);
}

/* G (slot) = sum over the images of the item of X^T X, X (tokens, d_in) the slot's inputs */
static void gram_item(void *ctx, int thread, int i)
{
    const gram_passes *g = ctx;
    const fc_net *net = g->t->net;
    fc_worker *w = &g->t->crew->worker[thread];
    fc_grams sum = gram_sum(g, thread, i);
    double flop = fc_vit_flop(&net->shape, g->m->rank, g->m->classes, net->mode, 0, false);
    size_t first = (size_t)(i % g->items) * FC_GRAM_ITEM;
    size_t end = first + (size_t)count_at(g->n, first, FC_GRAM_ITEM);
    fc_grams_zero(&sum);
    for (size_t at = first; at < end && !fc_stop_requested(); at += FC_SLICE) {
        int n = count_at(end, at, FC_SLICE);
        fc_worker_load(w, net, net->train, g->sample + at, n, g->key,
                       g->augmented ? i / g->items : -1);
        fc_vit_forward(w->acts, g->m, w->x, n, &sum, NULL);
        if (g->progress)
            fc_progress_add(g->progress, flop * n, n, NAN);
    }
}

/* G += G_item, in order */
static void gram_commit(void *ctx, int thread, int i)
{
    const gram_passes *g = ctx;
    fc_grams sum = gram_sum(g, thread, i);
    if (i > 0)
        fc_grams_accumulate(g->out, &sum);
}

fc_status fc_fit_grams(fc_grams *out, fc_trainer *t, const fc_model *m, const uint32_t *sample,
                       size_t n, int passes, fc_key key, fc_progress *progress, fc_error *err)
{
    gram_passes g = {.out = out,
                     .t = t,
                     .m = m,
                     .sample = sample,
                     .n = n,
                     .items = (int)((n + FC_GRAM_ITEM - 1) / FC_GRAM_ITEM),
                     .augmented = passes > 0,
                     .key = key,
                     .progress = progress};
    g.key.stream = FC_STREAM_GRAM;
    fc_grams_zero(out); /* a client without images has no item */
    fc_pool_loop(&t->crew->pool, t->thread, (passes > 0 ? passes : 1) * g.items, gram_item,
                 gram_commit, &g);
    if (fc_stop_requested())
        return fc_fail(err, FC_ESTOP, "stopped on request");
    fc_grams_finish(out);
    return FC_OK;
}

/* The one piece of work of the pool: all threads help with its items. */
typedef struct grams_alone {
    fc_grams *out;
    const fc_gram_job *j;
    fc_status status;
    fc_error *err;
} grams_alone;

static void grams_piece(void *ctx, int thread, int i)
{
    grams_alone *a = ctx;
    const fc_gram_job *j = a->j;
    fc_net net = *j->net;
    (void)i;
    net.train = j->split;
    fc_trainer t = {.net = &net, .crew = j->crew, .thread = thread};
    a->status =
        fc_fit_grams(a->out, &t, j->m, j->sample, j->n, 0, (fc_key){0}, j->progress, a->err);
}

fc_status fc_fit_grams_alone(fc_grams *out, const fc_gram_job *j, fc_error *err)
{
    grams_alone a = {.out = out, .j = j, .err = err};
    fc_pool_run(&j->crew->pool, 1, grams_piece, &a);
    return a.status;
}

double fc_fit_flop(const fc_net *net, unsigned groups)
{
    return fc_vit_flop(&net->shape, net->rank, net->classes, net->mode, groups, true);
}

double fc_fit_flop_with(const fc_net *net, unsigned groups, const fc_fit_extra *extra)
{
    double forward = fc_vit_flop(&net->shape, net->rank, net->classes, net->mode, 0, false);
    double one = fc_fit_flop(net, groups) + (extra->teacher ? forward : 0);
    return extra->second ? 2 * one : one;
}
