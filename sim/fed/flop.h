/* Work of clients in FLOP. */
#ifndef FC_FLOP_H
#define FC_FLOP_H

#include "sim/fed/plan.h"

/* Of one image through the network as the clients hold it: a Gram pass. */
double fc_forward_flop(const fc_setup *s);
/* Of the Fisher information of n samples of a task. */
double fc_client_fisher_flop(const fc_setup *s, int task, double n);
/* Of a client's part of a round. */
double fc_client_flop(const fc_setup *s, const fc_work *w, int client);

#endif
