/* The backbone of a run: weights from a file, from a pretraining on the spot (cached), or random.
 */
#ifndef FC_BACKBONE_H
#define FC_BACKBONE_H

#include "sim/fed/state.h"

/* s->w0, its shape, path and hash. All ranks call it: rank 0 pretrains first. */
fc_status fc_backbone_open(fc_setup *s, fc_ranks *ranks, fc_progress *progress, fc_error *err);

#endif
