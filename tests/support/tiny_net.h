/* A tiny network, its images and a trained block in which nothing is 0: for tests of local
 * training.
 */
#ifndef FC_TESTS_TINY_NET_H
#define FC_TESTS_TINY_NET_H

#include "sim/train/fit.h"
#include "tests/support/close.h"
#include "tests/support/engine.h"

enum { TINY_CLASSES = 5 };

typedef struct tiny_net {
    fc_arena arena;
    fc_dataset data;
    fc_net net;
    fc_params w0, start; /* backbone, trained block */
    int logit[TINY_CLASSES];
    fc_error err;
} tiny_net;

/* Class c has logit (c + shift) % TINY_CLASSES. */
static inline void tiny_net_open(tiny_net *t, fc_train_mode mode, int per_class, int shift)
{
    *t = (tiny_net){0};
    fc_data_request q = {.name = "synth",
                         .path = "",
                         .root = "",
                         .classes = TINY_CLASSES,
                         .per_class_train = per_class,
                         .per_class_test = 1,
                         .size = 8,
                         .difficulty = 0.5};
    assert_int_equal(fc_dataset_load(&t->data, &q, &t->err), FC_OK);
    for (int c = 0; c < TINY_CLASSES; c++)
        t->logit[c] = (c + shift) % TINY_CLASSES;
    t->net = (fc_net){.shape = {8, 4, 12, 2, 2, 24},
                      .mode = mode,
                      .rank = mode == FC_TRAIN_LORA ? 3 : 0,
                      .classes = TINY_CLASSES,
                      .engine = engine,
                      .transform = {.size = 8,
                                    .augment = FC_AUG_RRC,
                                    .scale_low = 0.3,
                                    .mean = {0.5f, 0.5f, 0.5f},
                                    .std = {0.5f, 0.5f, 0.5f}},
                      .train = &t->data.train,
                      .logit = t->logit};
    fc_params layout;
    const fc_vit_shape *s = &t->net.shape;
    assert_int_equal(fc_vit_layout(&layout, s, &t->arena, &t->err), FC_OK);
    assert_int_equal(fc_params_alloc(&t->w0, &layout, &t->arena, &t->err), FC_OK);
    assert_int_equal(fc_train_layout(&layout, s, mode, 3, TINY_CLASSES, &t->arena, &t->err), FC_OK);
    assert_int_equal(fc_params_alloc(&t->start, &layout, &t->arena, &t->err), FC_OK);
    fc_vit_init(&t->w0, 1);
    fc_rng g = fc_rng_at((fc_key){.seed = 1, .stream = FC_STREAM_TEST});
    for (size_t i = 0; i < t->start.n; i++)
        t->start.p[i] = (fc_real)(0.2 * fc_rng_normal(&g));
}

/* AdamW on the samples, one epoch; batch, n, key to be added. */
static inline fc_fit tiny_net_fit(const tiny_net *t, unsigned groups, const uint32_t *sample)
{
    return (fc_fit){.w = t->w0.p,
                    .groups = groups,
                    .optim = {.kind = FC_ADAMW,
                              .lr = {0.01, 0.02, 0.03, 0.04},
                              .groups = groups,
                              .beta1 = 0.9,
                              .beta2 = 0.999,
                              .eps = 1e-8},
                    .epochs = 1,
                    .hi = TINY_CLASSES,
                    .sample = sample,
                    .what = "client"};
}

static inline void tiny_net_close(tiny_net *t)
{
    fc_dataset_free(&t->data);
    fc_arena_free(&t->arena);
}

#endif
