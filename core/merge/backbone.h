/* Task vectors of a whole backbone: which tensor of the set is which of the network, and how they
 * get into its numbers. */
#ifndef FC_MERGE_BACKBONE_H
#define FC_MERGE_BACKBONE_H

#include "core/base/params.h"
#include "core/merge/combine.h"
#include "core/vit/experts.h"

/* The tensor of the layout with the name of s. NULL with err set (FC_EUSAGE): the layout has none,
 * or not of these rows and columns. */
const fc_spec *fc_backbone_tensor(const fc_params *layout, const fc_tv_shape *s, fc_error *err);

/* at (layout->nspec) = index in shape (tensors) of each tensor of the layout; -1: not there.
 * Errors: as above. */
fc_status fc_backbone_find(int *at, const fc_params *layout, const fc_tv_shape *shape, int tensors,
                           fc_error *err);

/* w (a tensor) += c * the sum over the updates of tensor t, rounded once. Scratch: the tensor in
 * double, released. */
fc_status fc_backbone_add(fc_real *w, double c, const fc_tv_set *in, int t, fc_arena *scratch,
                          fc_error *err);

/* A copy of one update's tensor, without a bias: in its factors where these are fewer numbers, else
 * dense. Memory from arena; scratch: the tensor in double, released. */
fc_status fc_backbone_expert(fc_expert *x, const fc_tv *tv, const fc_tv_shape *shape,
                             fc_arena *arena, fc_arena *scratch, fc_error *err);

/* n numbers as fc_real, from arena; NULL with err set when memory is out. */
fc_real *fc_backbone_reals(const double *x, size_t n, fc_arena *arena, fc_error *err);

#endif
