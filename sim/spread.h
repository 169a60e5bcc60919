/* The work of a round spread over the ranks (sim/ranks.h): clients of a wave, blocks of a test. */
#ifndef FC_SPREAD_H
#define FC_SPREAD_H

#include "sim/exchange.h"

/* The ranks get to know each other: the same run, program and kernels everywhere (FC_EFAIL says
 * what differs), and the threads of each, into r->rank_threads. s: how this rank has fared so far.
 */
fc_status fc_spread_meet(fc_run *r, fc_status s, fc_error *err);

/* Deal the n clients of a wave in x->order (longest first), but for those whose message rank 0 has
 * already: each goes to the rank that would be done with it first. x->owner: the rank of each slot;
 * x->order: this rank's own clients, *mine of them. */
fc_status fc_spread_deal(int *mine, fc_exchange *x, fc_run *r, int n, fc_error *err);

/* Bring the messages of a wave to rank 0. Where clients have failed, the lowest one is reported;
 * one that did not finish because of a stop has no message. On all ranks x->size then holds the
 * bytes of each message, 0 if there is none. */
fc_status fc_spread_collect(fc_exchange *x, fc_run *r, const int *id, int n, fc_error *err);

/* Of n pieces of equal work, this rank does lo .. hi - 1. */
void fc_spread_part(int *lo, int *hi, const fc_run *r, int n);

#endif
