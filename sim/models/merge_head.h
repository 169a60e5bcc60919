/* The classifier of merged inputs, and what the merged file says of itself: see
 * sim/models/merge_files.h.
 */
#ifndef FC_MERGE_HEAD_H
#define FC_MERGE_HEAD_H

#include "sim/models/merge_inputs.h"

/* Fills rows, width, head_w, head_b and metadata of f from its inputs. Errors: FC_EDATA where their
 * heads can neither be joined nor averaged. */
fc_status fc_merge_head_join(fc_merge_files *f, fc_error *err);

#endif
