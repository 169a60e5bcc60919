/* The loop over tasks and rounds: what a run is.
 *
 *   begin task -> { round -> checkpoint } ... -> end of the task -> checkpoint      for each task
 *
 * A round: the clients train (sim/fed/client.h), their messages are folded (sim/fed/round.h), the
 * server merges and tests (sim/fed/server.h). */
#ifndef FC_LOOP_H
#define FC_LOOP_H

#include "sim/fed/state.h"

/* The run directory <out>/<name>/<method>-s<seed>-<hash>, from r->scratch.arena. */
const char *fc_run_dir(fc_run *r, fc_error *err);

/* Opens the files of a run on rank 0: new ones, or (resumed) as they were at the restored
 * checkpoint. */
fc_status fc_run_start(fc_run *r, const char *dir, bool resumed, fc_error *err);

/* From where r stands to the end, in an opened run directory. */
fc_status fc_run_loop(fc_run *r, fc_error *err);

#endif
