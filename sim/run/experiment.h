/* One experiment: a set-up and its run, with the tasks of another run where tasks.from names one.
 * The verbs open, run and close experiments. */
#ifndef FC_EXPERIMENT_H
#define FC_EXPERIMENT_H

#include "sim/fed/state.h"
#include "sim/run/run_dir.h"

/* Must not move while it is open: run points to setup. */
typedef struct fc_experiment {
    fc_setup setup;
    fc_run run;
} fc_experiment;

/* Everything up to the first round: data, weights, tasks, partition, memory. Nothing is written. On
 * error *e is {0}. */
fc_status fc_experiment_open(fc_experiment *e, fc_config *cfg, fc_console console, fc_error *err);
void fc_experiment_close(fc_experiment *e); /* accepts {0} */

/* The experiment in its directory, to the end. With how->resume it goes on from its last
 * checkpoint, or (*done_before) finds itself done and restores what is there. */
fc_status fc_experiment_run(fc_experiment *e, const char *dir, const fc_run_how *how,
                            bool *done_before, fc_error *err);

#endif
