/* Everything that is const in a run: data, weights, tasks, partition, what is trained and sent. */
#ifndef FC_SETUP_H
#define FC_SETUP_H

#include "sim/fed/state.h"

/* Reads and checks what the options name. All ranks call it. On error *s is {0}. */
fc_status fc_setup_open(fc_setup *s, fc_config *cfg, fc_ranks *ranks, fc_progress *progress,
                        fc_error *err);
void fc_setup_close(fc_setup *s); /* accepts {0}; the config stays the caller's */

/* s->hash: of what the run depends on: the options, and the content of weights, data, partition and
 * trace wherever they lie, and of the run of tasks.from (s->source_hash). */
fc_status fc_setup_name(fc_setup *s, fc_error *err);

/* A set-up and its fresh run, on all ranks, which get to know each other. look, unless NULL, is
 * called between the two. Nothing is written. On error both are {0}. */
typedef fc_status fc_setup_look(fc_setup *s, fc_console console, fc_error *err);
fc_status fc_run_open(fc_run *r, fc_setup *setup, fc_config *cfg, fc_console console,
                      fc_setup_look *look, fc_error *err);
void fc_run_close(fc_run *r, fc_setup *setup); /* accepts {0} */

#endif
