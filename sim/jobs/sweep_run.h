/* A worker of a sweep: claims runs, one child process each, and publishes them. */
#ifndef FC_SWEEP_RUN_H
#define FC_SWEEP_RUN_H

#include "sim/io/progress.h"
#include "sim/sweep/sweep.h"

enum { FC_JOBS_MAX = 4096 };

typedef struct fc_worker_options {
    int jobs;         /* children at the same time, which share the threads */
    int shard, of;    /* of the runs, number shard, shard + of, ...: from 0; of = 1: all */
    const char *only; /* NULL, or the id of the one run to do */
    bool retry_failed;
    double stale_s; /* seconds without a sign of life after which a run is taken over */
    fc_console console;
} fc_worker_options;

/* All runs, by so many jobs; failed ones stay failed. */
fc_worker_options fc_worker_defaults(int jobs, fc_console console);

/* Returns when all runs of this worker's part are done or failed, whoever did them. Errors:
 * FC_EFAIL: some failed (err counts them; each was named on stderr), or the folder cannot be
 * written; FC_ESTOP on request: its runs were stopped with a checkpoint. */
fc_status fc_sweep_work(const fc_sweep *s, const fc_worker_options *o, fc_error *err);

#endif
