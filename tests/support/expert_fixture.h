/* A small network and task vectors of its backbone, for tests of models that keep their experts. */
#ifndef FC_TEST_EXPERT_FIXTURE_H
#define FC_TEST_EXPERT_FIXTURE_H

#include "core/base/rng.h"
#include "core/base/threads.h"
#include "core/merge/combine.h"
#include "core/vit/vit.h"
#include "tests/support/close.h"
#include "tests/support/engine.h"

#include <string.h>

enum { XF_TASKS = 3, XF_CLASSES = 5, XF_IMAGES = 3, XF_PIXELS = 3 * 12 * 12 };
/* Activations take two images at a time. */
static const fc_vit_shape xf_shape = {
    .image = 12, .patch = 4, .width = 12, .depth = 2, .heads = 2, .hidden = 20};

typedef struct xf {
    fc_arena arena;
    fc_params layout, w, head;
    fc_tv_shape *shape;
    fc_tv *tv;
    fc_tv_set set; /* XF_TASKS updates of linear layers, and with rank 0 of all tensors */
    fc_real x[XF_IMAGES * XF_PIXELS];
} xf;

static inline void *xf_alloc(xf *f, size_t n, size_t size)
{
    void *p = fc_arena_alloc(&f->arena, n, size, NULL);
    assert_non_null(p);
    return p;
}

static inline double *xf_normal(xf *f, size_t n, double scale, uint32_t sample)
{
    fc_rng g = fc_rng_at((fc_key){.seed = 3, .stream = FC_STREAM_TEST, .sample = sample});
    double *x = xf_alloc(f, n, sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = scale * fc_rng_normal(&g);
    return x;
}

static inline void xf_fill(xf *f, fc_real *p, size_t n, double scale, uint32_t sample)
{
    const double *x = xf_normal(f, n, scale, sample);
    for (size_t i = 0; i < n; i++)
        p[i] = (fc_real)x[i];
}

static inline bool xf_is_linear(int tensor)
{
    for (int i = 0; i < fc_vit_slots(&xf_shape); i++)
        if (fc_slot_tensor(i) == tensor)
            return true;
    return false;
}

/* rank 0: dense updates of all tensors; else LoRA pairs of the linear weights. */
static inline void xf_init(xf *f, int tasks, int rank, double scale)
{
    *f = (xf){0};
    assert_int_equal(fc_vit_layout(&f->layout, &xf_shape, &f->arena, NULL), FC_OK);
    assert_int_equal(fc_params_alloc(&f->w, &f->layout, &f->arena, NULL), FC_OK);
    fc_params head;
    assert_int_equal(
        fc_train_layout(&head, &xf_shape, FC_TRAIN_HEAD, 0, XF_CLASSES, &f->arena, NULL), FC_OK);
    assert_int_equal(fc_params_alloc(&f->head, &head, &f->arena, NULL), FC_OK);
    xf_fill(f, f->w.p, f->w.n, 0.3, 1);
    xf_fill(f, f->head.p, f->head.n, 0.3, 2);
    xf_fill(f, f->x, XF_IMAGES * XF_PIXELS, 1, 3);
    size_t all = (size_t)f->layout.nspec;
    f->shape = xf_alloc(f, all, sizeof *f->shape);
    f->tv = xf_alloc(f, all * (size_t)tasks, sizeof *f->tv);
    int n = 0;
    for (int i = 0; i < f->layout.nspec; i++) {
        const fc_spec *s = &f->layout.spec[i];
        if (rank == 0 || xf_is_linear(i))
            f->shape[n++] = (fc_tv_shape){s->name, s->rows, s->cols, xf_is_linear(i)};
    }
    for (int k = 0; k < tasks * n; k++) {
        const fc_tv_shape *s = &f->shape[k % n];
        size_t r = (size_t)rank;
        uint32_t sample = 10 + 2 * (uint32_t)k;
        if (rank == 0)
            f->tv[k].dense = xf_normal(f, fc_tv_size(s), scale, sample);
        else
            f->tv[k] = (fc_tv){.rank = rank,
                               .B = xf_normal(f, (size_t)s->rows * r, scale, sample),
                               .A = xf_normal(f, r * (size_t)s->cols, 1, sample + 1)};
    }
    f->set = (fc_tv_set){.n = tasks, .tensors = n, .shape = f->shape, .tv = f->tv};
}

static inline fc_model xf_model(const xf *f)
{
    return fc_model_of(&xf_shape, FC_TRAIN_HEAD, 0, XF_CLASSES, f->w.p, &f->head);
}

/* w += c tau of an update, for the tensors of the linear layers only or for all. */
static inline void xf_add(fc_real *w, const xf *f, int update, double c, bool linear_only)
{
    for (int t = 0; t < f->set.tensors; t++) {
        const fc_tv_shape *shape = &f->shape[t];
        const fc_spec *s = fc_params_find(&f->layout, shape->name);
        int i = (int)(s - f->layout.spec);
        if (linear_only && !xf_is_linear(i) && (i == 0 || !xf_is_linear(i - 1)))
            continue; /* neither a weight nor its bias */
        double *d = calloc(fc_tv_size(shape), sizeof *d);
        fc_tv_add(d, c, fc_tv_at(&f->set, update, t), shape);
        for (size_t e = 0; e < fc_tv_size(shape); e++)
            w[s->offset + e] = (fc_real)((double)w[s->offset + e] + d[e]);
        free(d);
    }
}

/* logits (XF_IMAGES, XF_CLASSES) of the images, `step` at a time. */
static inline void xf_forward(fc_real *logits, const xf *f, const fc_model *m, int step,
                              const fc_acts_size *size, const fc_engine *e)
{
    fc_acts *acts;
    assert_int_equal(fc_acts_new(&acts, &xf_shape, size, e, NULL), FC_OK);
    for (int i = 0; i < XF_IMAGES; i += step) {
        fc_vit_forward(acts, m, f->x + (size_t)i * XF_PIXELS, step, NULL, NULL);
        memcpy(logits + i * XF_CLASSES, fc_acts_logits(acts),
               (size_t)(step * XF_CLASSES) * sizeof *logits);
    }
    fc_acts_free(acts);
}

static inline void xf_free(xf *f)
{
    fc_arena_free(&f->arena);
}

#endif
