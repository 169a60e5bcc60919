/* How far a run of a sweep is: the rows of its rounds.csv. */
#ifndef FC_SWEEP_POSITION_H
#define FC_SWEEP_POSITION_H

#include "sim/jobs/sweep_state.h"

typedef struct fc_sweep_position {
    int task, round; /* logged last by a run that is not done; 0: none */
    long rows;       /* of v->sweep->run[i].rows */
    double seconds;  /* that they took */
} fc_sweep_position;

/* Of run i as it was when v was read; {0} where nothing is logged, or the run failed. */
fc_sweep_position fc_sweep_position_of(fc_sweep_view *v, int i);

#endif
