/* Test of a run's model. Called by the server after a round and at the end of a task. */
#ifndef FC_EVALUATE_H
#define FC_EVALUATE_H

#include "sim/fed/state.h"

/* Test of tasks 0 .. t under model m, into r->state.eval; skip (t + 1): tasks that are left out,
 * NULL: none. Packs m->w into r->scratch.packed_scratch. */
fc_status fc_eval_run(fc_run *r, const fc_model *m, int t, const bool *skip, fc_error *err);

#endif
