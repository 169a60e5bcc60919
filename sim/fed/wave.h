/* A wave: as many clients of a round as there is room for, with the messages that they send.
 *
 * sim/fed/round.c calls it: it deals the clients to the ranks (sim/parallel/ranks.h), each rank
 * trains its own (sim/fed/client.h), and their messages are collected on rank 0, which folds them
 * in client-id order. A client or rank that fails is reported by the lowest client that failed. */
#ifndef FC_WAVE_H
#define FC_WAVE_H

#include "sim/fed/message.h"
#include "sim/fed/plan.h"

/* Clients of a wave in the order in which they train: longest first, ties by id. */
typedef struct fc_longest {
    size_t samples;
    int slot;
} fc_longest;

/* One slot per client, ascending by id. */
typedef struct fc_wave {
    const int *id; /* of each slot */
    int n, max;
    fc_message *message;
    fc_message_head *head;
    fc_error *error;
    fc_longest *order;
    size_t *size; /* of the messages of all ranks */
    int *owner;   /* rank of each client */
    size_t *load; /* (ranks) samples dealt so far */
    fc_real *own; /* (max, numbers) arrays that the clients keep: as they were, then as they are */
    size_t numbers;
} fc_wave;

/* Room for max clients, each of which keeps so many numbers, on so many ranks. Memory from the
 * arena. */
fc_status fc_wave_init(fc_wave *w, int max, size_t numbers, int ranks, fc_arena *arena,
                       fc_error *err);
fc_real *fc_wave_own(const fc_wave *w, int slot); /* NULL: they keep none */

/* Deal the clients in w->order (longest first), but for those whose message rank 0 has already:
 * each goes to the rank that would be done with it first. w->owner: the rank of each slot;
 * w->order: this rank's own clients, *mine of them. */
fc_status fc_wave_deal(int *mine, fc_wave *w, const fc_setup *s, const fc_work *work,
                       fc_ranks *ranks, fc_error *err);

/* Bring the messages of a wave to rank 0. Where clients have failed, the lowest one is reported;
 * one that did not finish because of a stop has no message. On all ranks w->size then holds the
 * bytes of each message, 0 if there is none. */
fc_status fc_wave_collect(fc_wave *w, const fc_setup *s, const fc_work *work, fc_ranks *ranks,
                          fc_progress *progress, fc_error *err);

#endif
