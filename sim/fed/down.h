/* The message of the server at the start of a round, the same for all of its clients: what the last
 * round merged; at the start of a task the fresh A (B is 0) and the head, and the finished tasks
 * where the clients' models hold them; and the arrays of pieces. Where a client may have missed a
 * round, all that its model holds. At the end of a task the head is not needed.
 *
 * It is packed and read as bytes, once for all clients: sim/fed/round.c sends it, every client
 * starts from what was received (fc_scratch.received), and its length is what is counted. */
#ifndef FC_DOWN_H
#define FC_DOWN_H

#include "sim/fed/message.h"
#include "sim/fed/state.h"

/* Its bytes in a round of task t (round == fed.rounds: the end of the task), from the set-up alone;
 * 0 where nothing is sent. */
fc_status fc_down_size(size_t *bytes, const fc_setup *s, int t, int round, fc_error *err);
/* The message itself; out->n is what fc_down_size says. */
fc_status fc_down_pack(fc_message *out, const fc_run *r, int t, int round, fc_error *err);
/* What it does to r->scratch.received. Then that is the server's block: FC_ECKPT if it is not. */
fc_status fc_down_receive(fc_run *r, const fc_message *m, int t, int round, fc_error *err);

/* Where rounds add to the weights (fc_trained.folds) and the rule is a sum, the factors of the
 * clients go down in its place, for the slots where they are the smaller form. Numbers of them. */
size_t fc_down_stack_size(const fc_setup *s);
/* The factors of the j-th client of a round, and, once all are there, times their share in the sum:
 * weight (n) as the rule weighs them. */
void fc_down_stack_keep(fc_state *st, const fc_setup *s, int j, const fc_params *p);
void fc_down_stack_scale(fc_state *st, const fc_setup *s, const double *weight, int n);

#endif
