#include "core/vit/deltas.h"

#include "core/base/parallel.h"
#include "core/linalg/gemm.h"
#include "core/linalg/linalg.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

fc_status fc_deltas_init(fc_deltas *d, const fc_vit_shape *s, int rank, int tasks_max,
                         const fc_grams *grams, fc_arena *arena, fc_error *err)
{
    *d = (fc_deltas){.shape = s, .rank = rank, .tasks_max = tasks_max};
    int slots = fc_vit_slots(s);
    int *dims = fc_arena_alloc(arena, (size_t)slots, sizeof *dims, err);
    double *alphas = fc_arena_alloc(arena, (size_t)slots, sizeof *alphas, err);
    if (!dims || !alphas)
        return FC_EFAIL;
    for (int i = 0; i < slots; i++) {
        int d_out;
        fc_slot_dims(s, i, &d_out, &dims[i]);
        alphas[i] = grams ? grams->slot[i].alpha : 0;
        d->n_A += (size_t)rank * (size_t)dims[i];
        d->n_B += (size_t)d_out * (size_t)rank;
    }
    d->A = fc_arena_alloc(arena, (size_t)tasks_max * d->n_A, sizeof *d->A, err);
    d->B = fc_arena_alloc(arena, (size_t)tasks_max * d->n_B, sizeof *d->B, err);
    if (!d->A || !d->B)
        return FC_EFAIL;
    if (!grams)
        return FC_OK;
    d->AG = fc_arena_alloc(arena, (size_t)tasks_max * d->n_A, sizeof *d->AG, err);
    return d->AG ? fc_grams_init(&d->Q, slots, dims, alphas, arena, err) : FC_EFAIL;
}

fc_status fc_deltas_init_dense(fc_deltas *d, const fc_vit_shape *s, size_t n_W, int tasks_max,
                               fc_arena *arena, fc_error *err)
{
    *d = (fc_deltas){.shape = s, .tasks_max = tasks_max, .n_W = n_W};
    d->W = fc_arena_alloc(arena, (size_t)tasks_max, n_W * sizeof *d->W, err);
    return d->W ? FC_OK : FC_EFAIL;
}

void fc_deltas_push_dense(fc_deltas *d, const fc_real *w, const fc_real *start)
{
    assert(d->W && d->tasks < d->tasks_max);
    fc_real *to = d->W + (size_t)d->tasks++ * d->n_W;
    for (size_t i = 0; i < d->n_W; i++)
        to[i] = start ? w[i] - start[i] : w[i];
}

/* Offset of slot i in the elements of all A. */
static size_t slot_A(const fc_deltas *d, int slot)
{
    size_t A, B;
    fc_slot_offsets(d->shape, slot, d->rank, &A, &B);
    return A;
}

typedef struct push_job {
    const fc_deltas *d;
    const fc_grams *Gs;
} push_job;

/* AG = A Gs of the newest task, Q += Gs */
static fc_status push_slot(void *ctx, int i, fc_arena *scratch, fc_error *err)
{
    const push_job *p = ctx;
    const fc_deltas *d = p->d;
    const fc_gram_slot *q = &d->Q.slot[i];
    const double *G = p->Gs->g + p->Gs->slot[i].offset;
    size_t at = (size_t)d->tasks * d->n_A + slot_A(d, i), dim = (size_t)q->dim;
    size_t n = (size_t)d->rank * dim;
    for (size_t j = 0; j < (q->full ? dim * dim : dim); j++)
        d->Q.g[q->offset + j] += G[j];
    /* AG = A diag(Gs) or A Gs    A (r, d_in), Gs (d_in, d_in) */
    if (!q->full) {
        for (size_t j = 0; j < n; j++)
            d->AG[at + j] = d->A[at + j] * G[j % dim];
        return FC_OK;
    }
    double *A = fc_arena_alloc(scratch, n, sizeof *A, err);
    if (!A)
        return FC_EFAIL;
    for (size_t j = 0; j < n; j++)
        A[j] = d->A[at + j];
    fc_dgemm(false, false, d->rank, q->dim, q->dim, 1, A, q->dim, G, q->dim, 0, d->AG + at, q->dim);
    return FC_OK;
}

fc_status fc_deltas_push(fc_deltas *d, const fc_params *train, const fc_grams *Gs, fc_error *err)
{
    assert(d->tasks < d->tasks_max && (Gs == NULL) == (d->AG == NULL));
    size_t from_A, from_B, t = (size_t)d->tasks;
    size_t n_A = fc_params_group(train, FC_GROUP_A, &from_A);
    size_t n_B = fc_params_group(train, FC_GROUP_B, &from_B);
    assert(n_A == d->n_A && n_B == d->n_B);
    memcpy(d->A + t * n_A, train->p + from_A, n_A * sizeof *d->A);
    memcpy(d->B + t * n_B, train->p + from_B, n_B * sizeof *d->B);
    if (Gs)
        FC_TRY(fc_parallel_for(d->Q.n, push_slot, &(push_job){d, Gs}, err));
    d->tasks++;
    return FC_OK;
}

void fc_deltas_add_sum(fc_real *w, const fc_deltas *d, int n, double c)
{
    assert(n <= d->tasks);
    for (int t = 0; t < n && d->W; t++)
        for (size_t i = 0; i < d->n_W; i++)
            w[i] += (fc_real)c * d->W[(size_t)t * d->n_W + i];
    /* W += c B_t A_t    (d_out, r) (r, d_in) of each slot */
    for (int t = 0; t < n && d->A; t++)
        fc_lora_apply(w, d->shape, d->rank, d->A + (size_t)t * d->n_A, d->B + (size_t)t * d->n_B,
                      (fc_real)c);
}

typedef struct merge_job {
    const fc_deltas *d;
    fc_real *A; /* (tasks, n_A): AG_t Q^+ */
} merge_job;

/* All tasks share Q: one solve with their AG as the rows of one right-hand side. */
static fc_status merge_slot(void *ctx, int i, fc_arena *scratch, fc_error *err)
{
    const merge_job *m = ctx;
    const fc_deltas *d = m->d;
    const fc_gram_slot *q = &d->Q.slot[i];
    const double *Q = d->Q.g + q->offset;
    size_t at = slot_A(d, i), dim = (size_t)q->dim, n = (size_t)d->rank * dim;
    size_t tasks = (size_t)d->tasks;
    double *X = fc_arena_alloc(scratch, tasks * n, sizeof *X, err);
    if (!X)
        return FC_EFAIL;
    for (size_t t = 0; t < tasks; t++)
        memcpy(X + t * n, d->AG + t * d->n_A + at, n * sizeof *X);
    /* X = [AG_1; ..; AG_T] Q^+    (T r, d_in) (d_in, d_in) */
    if (q->full) {
        char what[64];
        snprintf(what, sizeof what, "end-of-task merge of layer %d", i);
        double *S = fc_arena_alloc(scratch, dim, dim * sizeof *S, err);
        if (!S)
            return FC_EFAIL;
        memcpy(S, Q, dim * dim * sizeof *S);
        FC_TRY(fc_spd_solve(X, S, X, d->tasks * d->rank, q->dim, what, NULL, scratch, err));
    } else {
        for (size_t j = 0; j < tasks * n; j++)
            X[j] = Q[j % dim] != 0 ? X[j] / Q[j % dim] : 0;
    }
    for (size_t t = 0; t < tasks; t++)
        for (size_t j = 0; j < n; j++)
            m->A[t * d->n_A + at + j] = (fc_real)X[t * n + j];
    return FC_OK;
}

fc_status fc_deltas_add_gram_merge(fc_real *w, const fc_deltas *d, fc_error *err)
{
    assert(d->AG);
    fc_arena arena = {0};
    merge_job m = {d, fc_arena_alloc(&arena, (size_t)d->tasks * d->n_A, sizeof *m.A, err)};
    /* w += sum_t B_t (AG_t Q^+)    (d_out, r) (r, d_in) of each slot */
    fc_status status = m.A ? fc_parallel_for(d->Q.n, merge_slot, &m, err) : FC_EFAIL;
    for (int t = 0; status == FC_OK && t < d->tasks; t++)
        fc_lora_apply(w, d->shape, d->rank, m.A + (size_t)t * d->n_A, d->B + (size_t)t * d->n_B, 1);
    fc_arena_free(&arena);
    return status;
}
