/* What the files of a round merged by task vectors share (core/merge/collect.h): collect.c takes
 * updates in, collect_finish.c makes the result. */
#ifndef FC_COLLECT_PARTS_H
#define FC_COLLECT_PARTS_H

#include "core/merge/rule.h"

typedef struct fc_collect {
    const fc_merge_method *rule;
    const fc_merge_job *job;
    fc_merge_job head_job; /* the head alone */
    void *head;            /* state of its closed form; NULL: the head is not trained */
    fc_arena *arena;
    int tensors, pairs;
    int *spec;          /* (tensors) spec index of A for the first `pairs`, then of W */
    fc_tv_shape *shape; /* (tensors) */
    bool streams;       /* one running sum, tv[0 .. tensors-1] */
    double **den;       /* (tensors) running sum of the entries' weights; NULL: they have none */
    bool moved;         /* product: B_0 is not 0 */
    int n;              /* updates folded */
    fc_tv *tv;          /* (clients, tensors), or (tensors) */
    int *id;            /* (clients) */
    double *weight;     /* (clients) */
    double total;       /* of the weights that count for the rule */
    int *slot;          /* (tensors) whose Gram, -1: none; NULL without Grams */
    double **gram;      /* (clients, tensors) */
} fc_collect;

static inline const fc_spec *spec_of(const fc_collect *c, int t)
{
    return &c->job->base->spec[c->spec[t]];
}

/* B of the pair whose A is tensor t. */
static inline const fc_spec *spec_B(const fc_collect *c, int t)
{
    return &c->job->base->spec[c->job->slot_B[t]];
}

/* The arrays of a task vector that we own. */
static inline double *own_array(const double *x)
{
    union {
        const double *given;
        double *ours;
    } u = {.given = x};
    return u.ours;
}

/* Room for a tensor of one task vector, rank 0: dense. */
fc_status fc_collect_tv(fc_tv *tv, const fc_tv_shape *s, int rank, fc_arena *arena, fc_error *err);

/* dst (rows, ld) from column `at` on = c x, x the tensor of p. */
void fc_collect_put(double *dst, int ld, int at, double c, const fc_params *p, const fc_spec *s);

#endif
