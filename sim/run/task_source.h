/* tasks.from: deltas and classifier rows of the tasks from another run, in place of training.
 *
 * The other run is one of the same backbone, data and classes per task, in any order of the tasks,
 * whose clients train every task from the pretrained weights. It is run on the spot, in the cache,
 * and found there the next time: many ways to merge the same tasks cost one training. */
#ifndef FC_TASK_SOURCE_H
#define FC_TASK_SOURCE_H

#include "sim/fed/state.h"

/* Both do nothing without tasks.from.
 *
 * Looks at the other run without starting it, and sets s->source_hash and the hash that follows
 * from it (fc_setup_look). Errors: those of opening it; FC_EUSAGE where the two do not fit, with
 * the reason. */
fc_status fc_task_source_look(fc_setup *s, fc_console console, fc_error *err);

/* Fills deltas and head rows of a fresh run. All ranks call it. Errors: those of the other run. */
fc_status fc_task_source_take(fc_run *r, fc_error *err);

#endif
