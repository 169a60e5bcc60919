/* One run over several processes (ranks), started by mpirun or srun on one or more machines.
 *
 * All ranks run the same loop on the same state. Rank 0 is the server: it alone reads checkpoints,
 * folds, merges and writes files. The others train their share of the clients (sim/fed/wave.h) and
 * test their share of the images. A program that was not started as several ranks is rank 0 of 1;
 * then none of these functions does anything.
 *
 * Every exchange begins with an agreement: where one rank has failed, all return its status and its
 * message, and nothing is exchanged any more. So a rank that fails alone just returns; it meets the
 * others at its last agreement, they meet it at their next one. A request to stop (FC_ESTOP)
 * spreads in the same way; a real failure goes before it. Ranks that are busy hear of it between
 * two slices of a batch (fc_ranks_poll), so that nobody waits for them.
 *
 * ranks_mpi.c is the one file that knows MPI; ranks_none.c stands in for it where MPI is missing.
 * Called from the main thread only. Waiting sleeps: it takes no core away from other ranks. */
#ifndef FC_RANKS_H
#define FC_RANKS_H

#include "core/base/arena.h"
#include "core/base/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct fc_ranks {
    int n, me;    /* how many, and which one this is */
    bool over;    /* an agreement has failed */
    bool told;    /* that this rank was asked to stop */
    int *threads; /* (n) of each rank, and their sum: since fc_ranks_meet */
    int all_threads;
} fc_ranks;

/* Once, before any other: join the `launched` processes (1: no MPI is started). FC_EUSAGE if they
 * are several and MPI was not built in. close: after the last exchange; nothing if none was opened.
 */
fc_status fc_ranks_open(int launched, fc_error *err);
void fc_ranks_close(void);

/* Where this process stands: rank 0 of 1 unless fc_ranks_open joined several. */
fc_ranks fc_ranks_world(void);

/* The ranks get to know each other. mine (less than 256 bytes): what has to be the same everywhere,
 * as text; threads: of this rank. s: how it has fared so far. k->threads comes from the arena.
 * Errors: FC_EFAIL says what differs. */
fc_status fc_ranks_meet(fc_ranks *k, fc_status s, const char *mine, int threads, fc_arena *arena,
                        fc_error *err);
/* Of n pieces of equal work, this rank does lo .. hi - 1: a share as its threads are one. */
void fc_ranks_part(int *lo, int *hi, const fc_ranks *k, int n);

/* FC_OK if all ranks come with FC_OK; else the status of the first one that failed, with its
 * message in err. */
fc_status fc_ranks_agree(fc_ranks *k, fc_status s, fc_error *err);
/* Agree, then copy the n bytes at p from rank 0 to all others. */
fc_status fc_ranks_share(fc_ranks *k, fc_status s, void *p, size_t n, fc_error *err);
/* Agree, then the n bytes at p become the bitwise or over all ranks: each has filled in its own
 * part and left the rest 0. */
fc_status fc_ranks_unite(fc_ranks *k, fc_status s, void *p, size_t n, fc_error *err);
/* Tell the others once that this rank was asked to stop; if another one was, so is this one. */
void fc_ranks_poll(fc_ranks *k);
/* Move the n bytes at p from rank `from` to rank 0; both call it in the same order, after an
 * agreement. */
void fc_ranks_send(fc_ranks *k, const void *p, size_t n);
void fc_ranks_receive(fc_ranks *k, void *p, size_t n, int from);

#endif
