/* A parameter set is one allocation plus one spec table. Size, load, save, zero, optimiser, merge,
 * gradient check and tests all loop over that table; no list is kept in step by hand. */
#ifndef FC_PARAMS_H
#define FC_PARAMS_H

#include "core/base/arena.h"
#include "core/base/real.h"
#include "core/base/status.h"

#include <stdbool.h>
#include <stddef.h>

/* Who owns a learning rate, who is frozen and what is sent, is decided per group. */
typedef enum fc_group {
    FC_GROUP_BACKBONE,
    FC_GROUP_A,
    FC_GROUP_B,
    FC_GROUP_HEAD,
    FC_NGROUP
} fc_group;

enum { FC_NAME_MAX = 64, FC_DIMS_MAX = 4 };

/* One tensor, row-major. rows x cols is its matrix view (rows = dim[0] for weights, rows = 1 for
 * vectors). */
typedef struct fc_spec {
    char name[FC_NAME_MAX];
    fc_group group;
    int ndim, dim[FC_DIMS_MAX];
    int rows, cols;
    size_t offset; /* elements from the start of the block */
} fc_spec;

static inline size_t fc_spec_size(const fc_spec *s)
{
    return (size_t)s->rows * (size_t)s->cols;
}

typedef struct fc_params {
    fc_real *p; /* the block, n elements; NULL in a pure layout */
    size_t n;
    const fc_spec *spec; /* nspec entries, offsets ascending, no gaps */
    int nspec;
} fc_params;

/* Append one tensor to a layout under construction (spec has room for it). */
void fc_params_add(fc_params *layout, fc_spec *spec, const char *name, fc_group group, int ndim,
                   const int *dim);

/* A zeroed block with the layout of `like` (spec table shared, not copied). */
fc_status fc_params_alloc(fc_params *out, const fc_params *like, fc_arena *arena, fc_error *err);

/* Tensor by name, NULL if absent. */
const fc_spec *fc_params_find(const fc_params *p, const char *name);

/* The elements of one group are contiguous when the layout was built group by group: their first
 * offset and count; count 0 if the group is empty. */
size_t fc_params_group(const fc_params *p, fc_group g, size_t *offset);
/* The same if it is one of `groups` (bits 1 << fc_group), else both 0. */
size_t fc_params_group_of(const fc_params *p, unsigned groups, fc_group g, size_t *offset);

#endif
