/* What one client does in a round: it starts from the server's model, trains on its own images,
 * takes the statistics that the server wants, and packs what it sends. sim/fed/round.c calls it on
 * the thread of a trainer; it reads the run and writes its own trainer and message only. */
#ifndef FC_CLIENT_H
#define FC_CLIENT_H

#include "sim/fed/message.h"
#include "sim/fed/plan.h"

typedef struct fc_client_job {
    fc_work work;
    const fc_real *gram_w; /* backbone of the Gram model, and scale of B A in it */
    const fc_packed *gram_packed;
    fc_real gram_scale;
} fc_client_job;

/* Train a client (or take its Grams) and pack what it sends. own (setup.own_numbers): the arrays
 * that it keeps, which it may change; NULL where it keeps none. */
fc_status fc_client_run(fc_message *out, fc_message_head *head, fc_run *r, fc_trainer *t,
                        const fc_client_job *job, int client, fc_real *own, fc_error *err);

/* What a trained client sends of it: see fc_fit_fisher_client. */
fc_status fc_client_fisher(const fc_params **sent, const fc_run *r, fc_trainer *t, const fc_fit *f,
                           fc_error *err);

#endif
