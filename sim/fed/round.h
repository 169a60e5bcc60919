/* A round as its messages make it: the participants train, in waves (sim/fed/wave.h), and what they
 * send goes into the merge (or, at the end of a task, into the sum of their Grams) in client-id
 * order. sim/fed/server.c calls it, and makes the new global model of what was folded. */
#ifndef FC_ROUND_H
#define FC_ROUND_H

#include "core/merge/merge.h"
#include "sim/fed/client.h"
#include "sim/fed/cohort.h"
#include "sim/fed/wave.h"

typedef struct fc_round {
    fc_client_job job;
    fc_cohort cohort;
    int *id, n;          /* of it, those whose updates are merged, ascending */
    fc_ckpt_id id_match; /* what a saved message must belong to */
    fc_merge_job merge;
    void *merge_state; /* NULL: at the end of a task, Grams are summed into `sum` */
    fc_grams sum;
    fc_params params; /* one client's, unpacked */
    fc_grams grams;
    fc_params fisher;
    fc_real *sent;  /* (setup.sent_numbers) its arrays */
    double *weight; /* (n) of the clients in the merge, where their factors go down; else NULL */
    fc_wave wave;
    double save_after; /* fc_wall() from which finished clients are saved */
    /* result */
    fc_round_row row;
    int logged; /* of the cohort, are in clients.csv */
    double loss_sum;
    size_t loss_n;
} fc_round;

/* The row of a round before anything is known of it; round == fed.rounds: of the end of a task. */
fc_round_row fc_round_row_new(int t, int round);

/* Who takes part in a round (round == fed.rounds: in the end of a task), and room for what they
 * send. Memory from r->scratch.arena: the caller releases to a mark. */
fc_status fc_round_init(fc_round *x, fc_run *r, int t, int round, fc_error *err);
/* All participants, with x->job and (in a round) x->merge and x->merge_state set. */
fc_status fc_round_run(fc_round *x, fc_run *r, fc_error *err);
/* Where pieces stand on the server in this round; global: the block that they may change. */
fc_piece_server fc_round_on_server(const fc_round *x, const fc_run *r, fc_real *global);

#endif
