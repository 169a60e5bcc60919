/* The arrays that clients keep from round to round, in one file of the run: ckpt/clients.bin.
 *
 * A file of records, each with the numbers of one client at one time. A record that a checkpoint
 * refers to is never written again: new numbers of a client go into the lowest record that neither
 * of the last two checkpoints refers to. So a kill loses nothing, a round costs what has changed,
 * the file holds the clients that took part and two rounds more, and its bytes do not depend on
 * kills. Each record carries its client and a checksum. */
#ifndef FC_CLIENT_STORE_H
#define FC_CLIENT_STORE_H

#include "core/base/arena.h"
#include "core/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fc_client_store {
    char path[4200];
    int fd;
    bool open;
    size_t numbers; /* of a client */
    int clients;
    unsigned char *taken; /* (clients + 2 most) records in use, of so many */
    int64_t records, next;
} fc_client_store;

/* most: clients that change in one round. Memory from the arena. */
fc_status fc_client_store_init(fc_client_store *s, size_t numbers, int clients, int most,
                               fc_arena *arena, fc_error *err);
/* Opens the file in a run directory; fresh: an empty one. */
fc_status fc_client_store_open(fc_client_store *s, const char *dir, bool fresh, fc_error *err);
void fc_client_store_close(fc_client_store *s); /* accepts {0} */

/* A round begins that writes: record (clients) becomes before; reset: all clients begin anew. */
void fc_client_store_round(fc_client_store *s, int64_t *record, int64_t *before, bool reset);
/* The numbers of a client; 0 where it has no record yet. FC_ECKPT: the file is not what was
 * written. */
fc_status fc_client_store_get(float *own, const fc_client_store *s, int client, int64_t record,
                              fc_error *err);
/* *record: where they are now. */
fc_status fc_client_store_put(int64_t *record, fc_client_store *s, int client, const float *own,
                              fc_error *err);
/* To the disk: before the checkpoint that refers to it. */
fc_status fc_client_store_sync(const fc_client_store *s, fc_error *err);

#endif
