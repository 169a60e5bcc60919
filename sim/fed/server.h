/* The server: the start of a task, one round, the end of a task, and the model that is tested. The
 * loop over tasks and rounds (sim/run/loop.c) calls it on all ranks; rank 0 merges. */
#ifndef FC_SERVER_H
#define FC_SERVER_H

#include "sim/fed/state.h"

/* Fresh LoRA; what follows from the state (training weights); one round; the end of a task. */
fc_status fc_server_begin_task(fc_run *r, int t, fc_error *err);
void fc_server_prepare_task(fc_run *r);
fc_status fc_server_round(fc_run *r, int t, int round, fc_error *err);
fc_status fc_server_end_task(fc_run *r, int t, fc_error *err);

/* The model that is tested after a round, or (task_end) when a task has ended and its delta is
 * among r->state.deltas. LoRA methods build its backbone in r->scratch.w_scratch: W0 + finished
 * tasks + scale B A, or what they make of the tasks. */
fc_status fc_server_model(fc_model *m, fc_run *r, bool task_end, fc_error *err);

#endif
