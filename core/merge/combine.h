/* Rules that look at all updates at once: what they work on.
 *
 * A task vector is the difference of one update to the common base, one matrix per tensor (vectors
 * are single rows), dense or in factors. A rule is a pure function of a set of task vectors and its
 * options; it does not know whether they are clients of a round, tasks of a run, or files. All in
 * double. */
#ifndef FC_COMBINE_H
#define FC_COMBINE_H

#include "core/base/arena.h"
#include "core/base/rng.h"
#include "core/base/status.h"

#include <stdbool.h>
#include <stddef.h>

/* One tensor of one task vector. */
typedef struct fc_tv {
    int rank;            /* 0: dense; else B A */
    const double *dense; /* (rows, cols) */
    const double *B, *A; /* (rows, rank), (rank, cols) */
} fc_tv;

typedef struct fc_tv_shape {
    const char *name; /* for messages */
    int rows, cols;
    bool linear; /* the weight of a linear layer: what spectral rules and spaces are for */
} fc_tv_shape;

/* n task vectors of the same tensors. */
typedef struct fc_tv_set {
    int n, tensors;
    const fc_tv_shape *shape; /* (tensors) */
    const fc_tv *tv;          /* (n, tensors) */
    const char *kind;         /* of update, for messages: "client", "task"; NULL: "update" */
    const int *id;            /* (n) its number there; NULL: 0, 1, .. */
    /* What else is known of the updates, and wanted by some rules only; NULL: nothing. */
    const double *weight;        /* (n) >= 0, of a mean; NULL: all alike */
    const double *const *gram;   /* (n, tensors), each (cols, cols) X^T X of the inputs of a linear
                                    layer, NULL for all updates of a tensor: it has none */
    const double *gram_rows;     /* (n) > 0 rows of X; NULL: the Grams are divided already */
    const double *const *fisher; /* (n, tensors), each (rows, cols) >= 0: Fisher information */
    fc_key key;                  /* of random numbers: seed, task, round */
} fc_tv_set;

/* Index of an update's tensor in tv, gram and fisher. */
static inline size_t fc_tv_index(const fc_tv_set *s, int update, int tensor)
{
    return (size_t)update * (size_t)s->tensors + (size_t)tensor;
}

static inline const fc_tv *fc_tv_at(const fc_tv_set *s, int update, int tensor)
{
    return &s->tv[fc_tv_index(s, update, tensor)];
}

/* Numbers in one tensor. */
static inline size_t fc_tv_size(const fc_tv_shape *s)
{
    return (size_t)s->rows * (size_t)s->cols;
}

/* q = min(rows, cols): how many singular values a tensor has. */
static inline int fc_tv_least_side(const fc_tv_shape *s)
{
    return s->rows < s->cols ? s->rows : s->cols;
}

/* The merged task vector: out[t] (rows, cols) dense, written, must not alias an input. Options are
 * the rule's own struct. Scratch from the arena, released before it returns. Errors: FC_EFAIL
 * naming update and tensor for a number that is not finite; FC_EUSAGE for a set that the rule does
 * not take, with the reason. Same bits for any number of threads. */
typedef fc_status fc_combine(double *const *out, const fc_tv_set *in, const void *options,
                             fc_arena *arena, fc_error *err);

/* dense (rows, cols) = the tensor, whatever its form. */
void fc_tv_dense(double *dense, const fc_tv *tv, const fc_tv_shape *shape);

/* out (rows, cols) += c * the tensor, whatever its form; nothing is allocated. */
void fc_tv_add(double *out, double c, const fc_tv *tv, const fc_tv_shape *shape);

/* out (rows, cols) = c * the sum of all updates of a tensor; nothing is allocated. */
void fc_tv_sum(double *out, double c, const fc_tv_set *in, int tensor);

/* The numbers of a tensor: its own where it is dense, else made in scratch, which has room for
 * fc_tv_scratch(in, tensor) numbers: 0 where all updates are dense. */
const double *fc_tv_view(const fc_tv_set *in, int update, int tensor, double *scratch);
size_t fc_tv_scratch(const fc_tv_set *in, int tensor);

enum { FC_TV_NAME_MAX = 48 };
/* "client 3", "update 0": into buf, which is returned. */
const char *fc_tv_name(char buf[FC_TV_NAME_MAX], const fc_tv_set *in, int update);

/* There is an update, and every number of the set is finite; else FC_EUSAGE, or FC_EFAIL: "client
 * 3, tensor blocks.0.attn.qkv: ...". */
fc_status fc_tv_check(const fc_tv_set *in, fc_error *err);

/* low <= x <= high; else FC_EUSAGE: "TIES: top_k is 120, expected 0 .. 100". */
fc_status fc_combine_range(const char *option, double x, double low, double high, fc_error *err);

#endif
