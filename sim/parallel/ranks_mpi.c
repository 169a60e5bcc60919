/* Ranks over MPI. Everything is non-blocking inside, so that waiting can sleep. */
#include "sim/parallel/ranks.h"

#include "sim/parallel/signals.h"

#include <mpi.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { TAG_BYTES = 1, TAG_STOP, CHUNK = 1 << 30 }; /* MPI counts in int */

static int started(void)
{
    int yes = 0;
    MPI_Initialized(&yes);
    return yes;
}

fc_status fc_ranks_open(int launched, fc_error *err)
{
    int given = MPI_THREAD_SINGLE, n = 1;
    if (launched == 1)
        return FC_OK;
    MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &given);
    MPI_Comm_size(MPI_COMM_WORLD, &n);
    if (given < MPI_THREAD_FUNNELED)
        return fc_fail(err, FC_EFAIL,
                       "run: this MPI bears no threads, expected "
                       "MPI_THREAD_FUNNELED at least");
    if (n != launched)
        return fc_fail(err, FC_EUSAGE,
                       "run: started as %d ranks, but MPI finds %d: is this mpirun of the MPI that "
                       "fcil was built with?",
                       launched, n);
    return FC_OK;
}

void fc_ranks_close(void)
{
    if (started())
        MPI_Finalize();
}

fc_ranks fc_ranks_world(void)
{
    fc_ranks k = {.n = 1};
    if (started()) {
        MPI_Comm_size(MPI_COMM_WORLD, &k.n);
        MPI_Comm_rank(MPI_COMM_WORLD, &k.me);
    }
    return k;
}

void fc_ranks_poll(fc_ranks *k)
{
    if (k->n == 1 || k->over || k->told)
        return;
    if (fc_stop_requested()) {
        for (int i = 0; i < k->n; i++)
            if (i != k->me) /* without content: never waits */
                MPI_Send(NULL, 0, MPI_BYTE, i, TAG_STOP, MPI_COMM_WORLD);
        k->told = true;
        return;
    }
    int heard = 0;
    MPI_Iprobe(MPI_ANY_SOURCE, TAG_STOP, MPI_COMM_WORLD, &heard, MPI_STATUS_IGNORE);
    if (heard)
        fc_stop_request();
}

/* Until it is complete: MPI itself would spin. From 1 us up to 1 ms between looks. */
static void wait_for_request(fc_ranks *k, MPI_Request *request)
{
    long ns = 1000;
    int done = 0;
    for (MPI_Test(request, &done, MPI_STATUS_IGNORE); !done;
         MPI_Test(request, &done, MPI_STATUS_IGNORE)) {
        fc_ranks_poll(k);
        nanosleep(&(struct timespec){.tv_nsec = ns}, NULL);
        ns = ns < 500000 ? 2 * ns : 1000000;
    }
}

static int chunk_of(size_t n)
{
    return n < CHUNK ? (int)n : CHUNK;
}

static void broadcast_bytes(fc_ranks *k, void *p, size_t n, int from)
{
    for (size_t at = 0; at < n; at += CHUNK) {
        MPI_Request q;
        MPI_Ibcast((char *)p + at, chunk_of(n - at), MPI_BYTE, from, MPI_COMM_WORLD, &q);
        wait_for_request(k, &q);
    }
}

/* Receive what the ranks that were asked to stop have told this one. */
static void hear_all(fc_ranks *k)
{
    int told = k->told, all = 0;
    MPI_Request q;
    MPI_Iallreduce(&told, &all, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD, &q);
    wait_for_request(k, &q);
    for (int i = 0; i < all - told; i++)
        MPI_Recv(NULL, 0, MPI_BYTE, MPI_ANY_SOURCE, TAG_STOP, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

fc_status fc_ranks_agree(fc_ranks *k, fc_status s, fc_error *err)
{
    if (k->n == 1 || k->over)
        return s;
    /* the smallest number wins: a failure before a stop, then the lowest rank */
    enum { ALL_WELL = 2 };
    int kind = s == FC_OK ? ALL_WELL : s == FC_ESTOP, first = kind * k->n + k->me;
    MPI_Request q;
    MPI_Iallreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD, &q);
    wait_for_request(k, &q);
    if (first >= ALL_WELL * k->n)
        return FC_OK;
    k->over = true;
    int from = first % k->n;
    fc_error why = *err;
    why.code = s;
    if (from == k->me && from > 0 && s != FC_ESTOP) {
        char host[MPI_MAX_PROCESSOR_NAME];
        int length;
        MPI_Get_processor_name(host, &length);
        snprintf(why.msg, sizeof why.msg, "%.900s (rank %d on %.60s)", err->msg, from, host);
    }
    broadcast_bytes(k, &why, sizeof why, from);
    hear_all(k);
    *err = why;
    return why.code;
}

fc_status fc_ranks_share(fc_ranks *k, fc_status s, void *p, size_t n, fc_error *err)
{
    s = fc_ranks_agree(k, s, err);
    if (s == FC_OK && k->n > 1)
        broadcast_bytes(k, p, n, 0);
    return s;
}

fc_status fc_ranks_unite(fc_ranks *k, fc_status s, void *p, size_t n, fc_error *err)
{
    s = fc_ranks_agree(k, s, err);
    for (size_t at = 0; s == FC_OK && k->n > 1 && at < n; at += CHUNK) {
        MPI_Request q;
        MPI_Iallreduce(MPI_IN_PLACE, (char *)p + at, chunk_of(n - at), MPI_BYTE, MPI_BOR,
                       MPI_COMM_WORLD, &q);
        wait_for_request(k, &q);
    }
    return s;
}

void fc_ranks_send(fc_ranks *k, const void *p, size_t n)
{
    for (size_t at = 0; at < n; at += CHUNK) {
        MPI_Request q;
        MPI_Isend((const char *)p + at, chunk_of(n - at), MPI_BYTE, 0, TAG_BYTES, MPI_COMM_WORLD,
                  &q);
        wait_for_request(k, &q);
    }
}

void fc_ranks_receive(fc_ranks *k, void *p, size_t n, int from)
{
    for (size_t at = 0; at < n; at += CHUNK) {
        MPI_Request q;
        MPI_Irecv((char *)p + at, chunk_of(n - at), MPI_BYTE, from, TAG_BYTES, MPI_COMM_WORLD, &q);
        wait_for_request(k, &q);
    }
}
