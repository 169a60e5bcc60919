/* What a sweep will cost. */
#ifndef FC_SWEEP_PLAN_H
#define FC_SWEEP_PLAN_H

#include "sim/run/estimate.h"
#include "sim/sweep/sweep.h"

/* What each run will cost on this machine: cost (s->n_runs). Each kind of run is tried once, in a
 * process of its own: runs of one kind differ in nothing that costs time. Errors: as fc_run_open of
 * one of the runs. */
fc_status fc_sweep_costs(fc_estimate *cost, const fc_sweep *s, fc_error *err);

/* The table of its runs on stdout, with predicted time and memory, or (json) one JSON object.
 * Errors: as fc_sweep_costs. */
fc_status fc_sweep_plan(const fc_sweep *s, bool json, fc_error *err);

#endif
