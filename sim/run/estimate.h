/* What a run will cost on this machine: the cost of its plan, a few steps that are measured, and
 * the memory that it will take. The verbs print it (fcil run --dry-run, fcil sweep plan). */
#ifndef FC_ESTIMATE_H
#define FC_ESTIMATE_H

#include "sim/fed/state.h"

typedef struct fc_estimate {
    double train_flop, eval_flop, seconds, s_per_flop;
    double memory_mib; /* peak of a process that does nothing else */
    double bytes_up, bytes_down;
    double sim_s; /* simulated seconds; 0 without a model of devices */
    long clients_late, clients_lost;
    bool tasks_first; /* those of tasks.from have to be there, and are not counted */
} fc_estimate;

/* Of a run that was opened and not started. s_per_flop: of all threads; 0: measured in about a
 * second. */
fc_status fc_estimate_make(fc_estimate *e, fc_run *r, double s_per_flop, fc_error *err);

/* Bytes that a run takes beside the buffers that exist once it is opened and was used: weights
 * packed for evaluation, one message unpacked, sums and result of the merge, and what comes and
 * goes. */
fc_status fc_estimate_memory(double *bytes, const fc_setup *s, int threads, fc_error *err);

#endif
