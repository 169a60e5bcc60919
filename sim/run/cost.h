/* What a whole run costs, from its plan: work in FLOP, bytes, simulated time. */
#ifndef FC_COST_H
#define FC_COST_H

#include "sim/fed/plan.h"

typedef struct fc_cost {
    double train, eval, done; /* FLOP: training and statistics, tests; what is done at a position */
    double bytes_up, bytes_down;
    double sim_s; /* simulated clock; 0 without a model of devices */
    long late, lost;
} fc_cost;

/* at: where the run stands; NULL: at its start. Errors: FC_EFAIL when memory is out. */
fc_status fc_cost_make(fc_cost *c, const fc_setup *s, const fc_position *at, fc_error *err);

#endif
