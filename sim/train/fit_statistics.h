/* A pass over a client's images for the statistics of a piece (sim/methods/piece.h). */
#ifndef FC_FIT_STATISTICS_H
#define FC_FIT_STATISTICS_H

#include "sim/train/fit.h"

/* The images of f, once each, through its model with the trained block as it is now;
 * at->piece->statistics->slice sees slice after slice, in order. Idle threads help with the forward
 * passes; same bits for any number of them. Errors: FC_ESTOP when a stop was requested. */
fc_status fc_fit_statistics(fc_piece_client *at, fc_trainer *t, const fc_fit *f, fc_error *err);

#endif
