/* What became of the runs of a sweep so far, read from the folder that all workers share:
 *
 *   <out>/<name>/<method>-s<seed>-<id>/   a finished run
 *   <out>/<name>/.sweep/claims/<id>.<g>   who works on it: sim/jobs/sweep_claim.h
 *   <out>/<name>/.sweep/work/<id>.<g>/    the run while it is worked on, and its messages
 * <id>.<g>.log <out>/<name>/.sweep/failed/<id>       why it failed, and in which generation */
#ifndef FC_SWEEP_STATE_H
#define FC_SWEEP_STATE_H

#include "sim/jobs/sweep_claim.h"
#include "sim/sweep/sweep.h"

typedef enum fc_run_state {
    FC_RUN_WAITING, /* nobody works on it, or whoever did let go of it */
    FC_RUN_CLAIMED, /* by somebody who may be alive */
    FC_RUN_DONE,
    FC_RUN_FAILED
} fc_run_state;

/* What a view saw of a claim last. The time is our own, as clocks of other machines may be wrong.
 */
typedef struct fc_sight {
    int changes; /* 0: it was never seen */
    int generation;
    unsigned long beat;
    double since; /* fc_wall() */
} fc_sight;

typedef struct fc_run_view {
    fc_run_state state;
    bool wanted;    /* false: a search has not chosen it (yet): sim/jobs/sweep_halving.h says so */
    int generation; /* highest claim, -1: none */
    fc_claim_info claim;
    fc_sight seen;         /* of that claim */
    double silent_s;       /* since it changed, as far as this view saw it */
    double metric;         /* of a DONE run: the search's, else faa */
    double seconds;        /* that a DONE run took, 0: unknown */
    int failed_generation; /* of a FAILED one */
    char why[512];
} fc_run_view;

typedef struct fc_sweep_view {
    const fc_sweep *sweep;
    char claims[4096], work[4096], failed[4096];
    fc_run_view *run; /* (sweep->n_runs) */
    fc_arena arena;
} fc_sweep_view;

/* make: create the folders. Errors: FC_EFAIL if they cannot be. */
fc_status fc_sweep_view_open(fc_sweep_view *v, const fc_sweep *s, bool make, fc_error *err);
void fc_sweep_view_close(fc_sweep_view *v); /* accepts {0} */

/* Look again; `wanted` stays as it was. */
void fc_sweep_view_read(fc_sweep_view *v);

/* Seconds without a sign of life after which others take over. */
#define FC_CLAIM_STALE_S 60

#endif
