/* One piece of a round on a block of a few numbers, for tests of its functions by hand. */
#ifndef FC_TESTS_PIECE_LAB_H
#define FC_TESTS_PIECE_LAB_H

#include "core/base/arena.h"
#include "sim/methods/method.h"
#include "tests/support/close.h"

#include <math.h>
#include <string.h>

enum { LAB_N = 3, LAB_CLIENTS = 3, LAB_HEAD = 1u << FC_GROUP_HEAD };

/* A piece, its options and its arrays; every client trains the same block of LAB_N numbers. */
typedef struct lab {
    fc_arena arena;
    fc_error err;
    const fc_piece *piece;
    fc_spec spec[1];
    fc_params layout;
    fc_method_setup setup;
    fc_array_spec declared[FC_ARRAYS_MAX];
    int n_arrays;
    void *options;
    fc_array server[FC_ARRAYS_MAX], client[LAB_CLIENTS][FC_ARRAYS_MAX];
    fc_real start[LAB_N], global[LAB_N], w[LAB_CLIENTS][LAB_N];
} lab;

static inline void lab_set(lab *l, const fc_opt *rows, int n, const char *key, const char *text)
{
    for (int i = 0; i < n; i++)
        if (strcmp(rows[i].key, key) == 0) {
            assert_int_equal(fc_opt_set(l->options, &rows[i], text, key, &l->arena, &l->err),
                             FC_OK);
            return;
        }
    fail_msg("no option %s", key);
}

/* set: key, value, ..., NULL. */
static inline void lab_open(lab *l, const fc_piece *p, const fc_opt *rows, int n, size_t size,
                            const char *const *set)
{
    *l = (lab){.piece = p};
    int dim[] = {LAB_N};
    fc_params_add(&l->layout, l->spec, "head.bias", FC_GROUP_HEAD, 1, dim);
    l->layout.spec = l->spec;
    l->options = fc_arena_alloc(&l->arena, 1, size, &l->err);
    assert_int_equal(fc_opt_defaults(l->options, rows, n, &l->arena, &l->err), FC_OK);
    for (; *set; set += 2)
        lab_set(l, rows, n, set[0], set[1]);
    l->setup = (fc_method_setup){.options = l->options,
                                 .layout = &l->layout,
                                 .clients = LAB_CLIENTS,
                                 .rounds = 100,
                                 .tasks = 2,
                                 .optim = {.kind = FC_SGD, .groups = LAB_HEAD}};
    l->setup.optim.lr[FC_GROUP_HEAD] = 0.1;
    l->n_arrays = p->arrays ? p->arrays(l->declared, &l->setup, l->options) : 0;
    for (int a = 0; a < l->n_arrays; a++) {
        const fc_array_spec *d = &l->declared[a];
        for (int k = 0; k < (d->owner == FC_OF_SERVER ? 1 : LAB_CLIENTS); k++) {
            fc_array *x = d->owner == FC_OF_SERVER ? &l->server[a] : &l->client[k][a];
            x->n = d->n;
            if (d->sum)
                x->sum = fc_arena_alloc(&l->arena, d->n, sizeof *x->sum, &l->err);
            else
                x->p = fc_arena_alloc(&l->arena, d->n, sizeof *x->p, &l->err);
        }
    }
}

static inline void lab_open_option(lab *l, const char *name, const char *const *set)
{
    const fc_piece *p = fc_piece_find(name);
    assert_non_null(p);
    lab_open(l, p, p->options, p->n_options, p->options_size, set);
}

static inline void lab_open_method(lab *l, const char *name, const char *const *set)
{
    const fc_method *m = fc_method_find(name);
    assert_non_null(m);
    lab_open(l, m->piece, m->options, m->n_options, m->options_size, set);
}

static inline void lab_close(lab *l)
{
    fc_arena_free(&l->arena);
}

static inline void lab_fill(fc_real *x, double value)
{
    for (int i = 0; i < LAB_N; i++)
        x[i] = (fc_real)value;
}

static inline fc_piece_client lab_client(lab *l, int k)
{
    fc_piece_client c = {.setup = &l->setup,
                         .options = l->options,
                         .layout = &l->layout,
                         .groups = LAB_HEAD,
                         .client = k,
                         .n_samples = 1,
                         .start = l->start,
                         .w = l->w[k]};
    for (int a = 0; a < l->n_arrays; a++)
        c.array[a] = l->declared[a].owner == FC_OF_SERVER ? l->server[a] : l->client[k][a];
    return c;
}

static inline fc_piece_server lab_server(lab *l, int task, int round)
{
    fc_piece_server v = {.setup = &l->setup,
                         .options = l->options,
                         .layout = &l->layout,
                         .groups = LAB_HEAD,
                         .task = task,
                         .round = round,
                         .clients = LAB_CLIENTS,
                         .start = l->start,
                         .global = l->global,
                         .note = NAN};
    memcpy(v.array, l->server, sizeof v.array);
    return v;
}

#endif
