/* The exchange of one round: the participants train, in waves, and what they send goes into the
 * merge (or, at the end of a task, into the sum of their Grams) in client-id order. */
#ifndef FC_EXCHANGE_H
#define FC_EXCHANGE_H

#include "sim/cohort.h"

/* Messages held at a time, but two for each thread at least: clients train in waves, so that memory
 * does not grow with their number. */
enum { FC_WAVE_BYTES = 64 << 20 };

/* Clients of a wave in the order in which they train: longest first, ties by id. */
typedef struct fc_longest {
    size_t samples;
    int slot;
} fc_longest;

typedef struct fc_exchange {
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
    /* one wave */
    fc_message *message;
    fc_message_head *head;
    fc_error *error;
    fc_longest *order;
    size_t *size; /* of the messages of all ranks */
    int *owner;   /* rank of each client */
    size_t *load; /* (ranks) samples dealt so far */
    int wave_max;
    double save_after; /* fc_wall() from which finished clients are saved */
    /* result */
    fc_round_row row;
    int logged; /* of the cohort, are in clients.csv */
    double loss_sum;
    size_t loss_n;
} fc_exchange;

/* The row of a round before anything is known of it; round == fed.rounds: of the end of a task. */
fc_round_row fc_exchange_row(int t, int round);

/* Who takes part, and room for what they send. groups: what they train; 0 at the end of a task.
 * Memory from r->arena: the caller releases to a mark. */
fc_status fc_exchange_init(fc_exchange *x, fc_run *r, int t, int round, unsigned groups,
                           fc_error *err);
/* Messages of a wave, of so many bytes each and n clients in all. */
int fc_exchange_wave(const fc_run *r, size_t bytes, int n);
/* All participants, with x->job and (in a round) x->merge and x->merge_state set. */
fc_status fc_exchange_run(fc_exchange *x, fc_run *r, fc_error *err);

#endif
