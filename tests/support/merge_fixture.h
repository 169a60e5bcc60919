/* A small merge job for tests: LoRA pairs (or full weights) of a few layers, a head, K clients. */
#ifndef FC_TEST_MERGE_FIXTURE_H
#define FC_TEST_MERGE_FIXTURE_H

#include "core/base/rng.h"
#include "core/base/threads.h"
#include "core/merge/merge.h"
#include "tests/support/close.h"

#include <stdbool.h>
#include <string.h>

enum { FX_SLOTS_MAX = 4, FX_CLIENTS_MAX = 16, FX_SPECS = 2 * FX_SLOTS_MAX + 2 };

typedef struct fx_shape {
    int slots, d_out[FX_SLOTS_MAX], d_in[FX_SLOTS_MAX];
    int rank;           /* 0: full weights instead of LoRA pairs */
    int classes, width; /* head; width 0: only its bias; classes 0: no head */
    double alpha_backbone, alpha_head;
    int clients;
} fx_shape;

typedef struct fixture {
    fx_shape s;
    fc_arena arena;
    fc_spec spec[FX_SPECS];
    fc_params layout, base, out, client[FX_CLIENTS_MAX];
    int slot_A[FX_SLOTS_MAX], slot_B[FX_SLOTS_MAX], slot_W[FX_SLOTS_MAX];
    fc_grams shape, gram[FX_CLIENTS_MAX];
    fc_spec fisher_spec[FX_SPECS];
    fc_params fisher[FX_CLIENTS_MAX]; /* of the weights and the head */
    fc_update update[FX_CLIENTS_MAX];
    fc_merge_job job;
} fixture;

static inline int fx_add(fixture *f, const char *what, int slot, fc_group g, int rows, int cols)
{
    char name[FC_NAME_MAX];
    snprintf(name, sizeof name, what, slot);
    fc_params_add(&f->layout, f->spec, name, g, rows ? 2 : 1, rows ? (int[]){rows, cols} : &cols);
    return f->layout.nspec - 1;
}

/* Room for the Fisher information of each client. */
static inline void fx_fisher(fixture *f)
{
    fc_params layout = {0};
    for (int i = 0; i < f->s.slots && f->s.rank; i++) {
        char name[FC_NAME_MAX];
        snprintf(name, sizeof name, "layer%d.weight", i);
        fc_params_add(&layout, f->fisher_spec, name, FC_GROUP_BACKBONE, 2,
                      (int[]){f->s.d_out[i], f->s.d_in[i]});
    }
    for (int t = 0; t < f->layout.nspec; t++) {
        const fc_spec *s = &f->spec[t];
        if (s->group == FC_GROUP_BACKBONE || s->group == FC_GROUP_HEAD)
            fc_params_add(&layout, f->fisher_spec, s->name, s->group, s->ndim, s->dim);
    }
    for (int k = 0; k < f->s.clients; k++)
        assert_int_equal(fc_params_alloc(&f->fisher[k], &layout, &f->arena, NULL), FC_OK);
}

static inline void fx_init(fixture *f, fx_shape s)
{
    *f = (fixture){.s = s};
    for (int i = 0; i < s.slots && s.rank; i++)
        f->slot_A[i] = fx_add(f, "layer%d.lora_A", i, FC_GROUP_A, s.rank, s.d_in[i]);
    for (int i = 0; i < s.slots && s.rank; i++)
        f->slot_B[i] = fx_add(f, "layer%d.lora_B", i, FC_GROUP_B, s.d_out[i], s.rank);
    for (int i = 0; i < s.slots && !s.rank; i++)
        f->slot_W[i] = fx_add(f, "layer%d.weight", i, FC_GROUP_BACKBONE, s.d_out[i], s.d_in[i]);
    bool head_W = s.classes && s.width;
    f->job.head_W = head_W ? fx_add(f, "head.weight", 0, FC_GROUP_HEAD, s.classes, s.width) : -1;
    if (s.classes)
        fx_add(f, "head.bias", 0, FC_GROUP_HEAD, 0, s.classes);

    int dims[FX_SLOTS_MAX + 1];
    double alphas[FX_SLOTS_MAX + 1];
    for (int i = 0; i < s.slots; i++) {
        dims[i] = s.d_in[i];
        alphas[i] = s.alpha_backbone;
    }
    dims[s.slots] = s.width;
    alphas[s.slots] = s.alpha_head;
    int n = s.slots + head_W;
    assert_int_equal(fc_grams_init(&f->shape, n, dims, alphas, &f->arena, NULL), FC_OK);
    assert_int_equal(fc_params_alloc(&f->base, &f->layout, &f->arena, NULL), FC_OK);
    assert_int_equal(fc_params_alloc(&f->out, &f->layout, &f->arena, NULL), FC_OK);
    for (int k = 0; k < s.clients; k++) {
        assert_int_equal(fc_params_alloc(&f->client[k], &f->layout, &f->arena, NULL), FC_OK);
        assert_int_equal(fc_grams_init(&f->gram[k], n, dims, alphas, &f->arena, NULL), FC_OK);
        f->update[k] = (fc_update){k, 1, &f->client[k], &f->gram[k], &f->fisher[k]};
    }
    fx_fisher(f);
    f->job.base = &f->base;
    f->job.groups = s.rank ? 1u << FC_GROUP_B : 1u << FC_GROUP_BACKBONE;
    f->job.groups |= 1u << FC_GROUP_HEAD;
    f->job.slots = s.slots;
    f->job.slot_A = s.rank ? f->slot_A : NULL;
    f->job.slot_B = s.rank ? f->slot_B : NULL;
    f->job.slot_W = s.rank ? NULL : f->slot_W;
    f->job.shape = &f->shape;
    f->job.weighted = true;
    f->job.clients = s.clients;
}

static inline void fx_free(fixture *f)
{
    fc_arena_free(&f->arena);
}

static inline fc_real *fx_tensor(const fixture *f, const fc_params *p, const char *name)
{
    const fc_spec *s = fc_params_find(&f->layout, name);
    assert_non_null(s);
    return p->p + s->offset;
}

static inline void fx_normal(fc_rng *g, fc_real *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (fc_real)fc_rng_normal(g);
}

/* Random base and updates (groups outside `groups` equal the base's), Grams of `rows` random
 * inputs per layer, Fisher information (some of it 0), different numbers of samples. */
static inline void fx_random(fixture *f, unsigned groups, int rows, uint64_t seed)
{
    fc_rng g = fc_rng_at((fc_key){.seed = seed, .stream = FC_STREAM_TEST});
    fc_real *x = fc_arena_alloc(&f->arena, (size_t)rows * 64, sizeof *x, NULL);
    f->job.groups = groups;
    fx_normal(&g, f->base.p, f->base.n);
    for (int k = 0; k < f->s.clients; k++) {
        memcpy(f->client[k].p, f->base.p, f->base.n * sizeof *f->base.p);
        for (int t = 0; t < f->layout.nspec; t++) {
            const fc_spec *s = &f->spec[t];
            if (groups >> s->group & 1)
                fx_normal(&g, f->client[k].p + s->offset, (size_t)s->rows * (size_t)s->cols);
        }
        fc_grams_zero(&f->gram[k]);
        for (int i = 0; i < f->gram[k].n; i++) {
            int d = f->gram[k].slot[i].dim;
            assert_true(d <= 64);
            fx_normal(&g, x, (size_t)rows * (size_t)d);
            fc_grams_add(&f->gram[k], i, x, rows, d);
        }
        fc_grams_finish(&f->gram[k]);
        fx_normal(&g, f->fisher[k].p, f->fisher[k].n);
        for (size_t i = 0; i < f->fisher[k].n; i++)
            f->fisher[k].p[i] *= i % 7 ? f->fisher[k].p[i] : 0;
        f->update[k].n_samples = 7 + 5 * (size_t)k;
    }
}

/* The default options of a rule, from the fixture's arena. */
static inline void *fx_options(fixture *f, const fc_merge_method *m)
{
    void *o = fc_arena_alloc(&f->arena, 1, m->options_size, NULL);
    assert_non_null(o);
    assert_int_equal(fc_opt_defaults(o, m->options, m->n_options, &f->arena, NULL), FC_OK);
    return o;
}

/* begin, fold all, finish into f->out. */
static inline fc_status fx_merge(fixture *f, const char *rule, fc_error *err)
{
    const fc_merge_method *m = fc_merge_find(rule);
    assert_non_null(m);
    void *state = NULL;
    fc_arena arena = {0};
    fc_status status = fc_merge_begin(&state, m, &f->job, &arena, err);
    for (int k = 0; status == FC_OK && k < f->s.clients; k++)
        status = fc_merge_fold(state, m, &f->job, &f->update[k], err);
    if (status == FC_OK)
        status = fc_merge_finish(state, m, &f->job, &f->out, err);
    fc_arena_free(&arena);
    return status;
}

#endif
