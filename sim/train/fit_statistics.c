#include "sim/train/fit_statistics.h"

#include "sim/parallel/signals.h"

#include <math.h>

typedef struct pass {
    fc_piece_client *at;
    fc_trainer *t;
    const fc_fit *f;
    fc_model model;
    fc_key key;
    double flop; /* of an image */
} pass;

/* Images of slice i, and its first one. */
static int slice_images(const pass *p, int i, size_t *first)
{
    *first = (size_t)i * FC_SLICE;
    size_t left = p->f->n - *first;
    return (int)(left < FC_SLICE ? left : FC_SLICE);
}

static void forward_slice(void *ctx, int thread, int i)
{
    const pass *p = ctx;
    fc_worker *w = &p->t->crew->worker[thread];
    size_t first;
    int n = slice_images(p, i, &first);
    if (fc_stop_requested())
        return;
    fc_worker_load(w, p->t->net, p->t->net->train, p->f->sample + first, n, p->key,
                   p->at->piece->statistics->augmented ? 0 : -1);
    fc_vit_forward(w->acts, &p->model, w->x, n, NULL, NULL);
    if (p->f->progress)
        fc_progress_add(p->f->progress, p->flop * n, n, NAN);
}

static void show_slice(void *ctx, int thread, int i)
{
    const pass *p = ctx;
    const fc_worker *w = &p->t->crew->worker[thread];
    const fc_net *net = p->t->net;
    size_t first;
    int n = slice_images(p, i, &first);
    if (fc_stop_requested())
        return;
    const fc_piece_slice s = {.client = p->at,
                              .n = n,
                              .batch = n,
                              .classes = net->classes,
                              .width = net->shape.width,
                              .lo = p->f->lo,
                              .hi = p->f->hi,
                              .sample = p->f->sample + first,
                              .label = w->label,
                              .logits = fc_acts_logits(w->acts),
                              .features = fc_acts_features(w->acts)};
    p->at->piece->statistics->slice(p->at, &s);
}

fc_status fc_fit_statistics(fc_piece_client *at, fc_trainer *t, const fc_fit *f, fc_error *err)
{
    const fc_net *net = t->net;
    pass p = {.at = at,
              .t = t,
              .f = f,
              .model = fc_fit_model(t, f),
              .key = f->key,
              .flop = fc_vit_flop(&net->shape, net->rank, net->classes, net->mode, 0, false)};
    p.key.stream = FC_STREAM_STATISTICS;
    fc_pool_loop(&t->crew->pool, t->thread, (int)((f->n + FC_SLICE - 1) / FC_SLICE), forward_slice,
                 show_slice, &p);
    return fc_stop_requested() ? fc_fail(err, FC_ESTOP, "stopped on request") : FC_OK;
}
