/* The state of a run as a checkpoint holds it: one list of fields for saving, loading, sharing with
 * other ranks and predicting its size. */
#ifndef FC_SAVED_H
#define FC_SAVED_H

#include "sim/fed/state.h"

/* What a checkpoint of this run must match. */
fc_ckpt_id fc_run_ckpt_id(const fc_setup *s);
/* Size of a checkpoint, which is put together in memory. */
size_t fc_state_bytes(const fc_setup *s);
/* Save the state with `task` tasks and `round` rounds of the next one done. */
fc_status fc_run_checkpoint(fc_run *r, int task, int round, fc_error *err);
/* State of the newest checkpoint in dir; *found false if there is none. */
fc_status fc_run_restore(fc_run *r, const char *dir, bool *found, fc_error *err);
/* What rank 0 starts from, new or restored (s: how that went), to all ranks. */
fc_status fc_run_share(fc_run *r, fc_status s, fc_error *err);
/* What follows from the position: counts of tasks done. */
void fc_run_derive(fc_run *r);

#endif
