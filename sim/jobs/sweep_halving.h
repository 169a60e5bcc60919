/* Successive halving: which runs of a sweep a search wants so far. */
#ifndef FC_SWEEP_HALVING_H
#define FC_SWEEP_HALVING_H

#include "sim/jobs/sweep_state.h"

/* Fills in `wanted`: all of rung 0; of the next rung, once all wanted runs of this one are done or
 * failed, those of the best ceil(keep n) of its n settings by mean metric over seeds. Settings with
 * a failed run come last; equal ones in plan order. Without a search: all. */
void fc_halving_choose(fc_sweep_view *v);

/* Look again (fc_sweep_view_read), and choose from what is there now. */
void fc_halving_look(fc_sweep_view *v);

#endif
