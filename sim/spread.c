#include "sim/spread.h"

#include "version.h"

#include <cblas.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Size of the message of a client that failed. */
static const size_t failed = SIZE_MAX;

static void poll_ranks(void *ranks)
{
    fc_ranks_poll(ranks);
}

fc_status fc_spread_meet(fc_run *r, fc_status s, fc_error *err)
{
    fc_ranks *k = &r->ranks;
    char mine[256] = "", first[256];
    r->rank_threads = fc_arena_alloc(&r->arena, (size_t)k->n, sizeof *r->rank_threads, err);
    if (!r->rank_threads)
        s = s == FC_OK ? FC_EFAIL : s;
    if (s == FC_OK) {
        snprintf(mine, sizeof mine, "run %s, fcil %.60s, kernels %s, BLAS core %.60s", r->hash,
                 FC_COMMIT, r->net.engine.isa->name, openblas_get_corename());
        r->rank_threads[k->me] = r->threads;
    }
    memcpy(first, mine, sizeof first);
    FC_TRY(fc_ranks_share(k, s, first, sizeof first, err));
    if (strcmp(mine, first) != 0)
        s = fc_fail(err, FC_EFAIL, "ranks differ: %s; expected what rank 0 has: %s", mine, first);
    FC_TRY(fc_ranks_unite(k, s, r->rank_threads, (size_t)k->n * sizeof *r->rank_threads, err));
    for (int i = 0; i < k->n; i++)
        r->all_threads += r->rank_threads[i];
    if (k->n > 1) {
        r->crew.pool.poll = poll_ranks;
        r->crew.pool.poll_ctx = k;
    }
    return FC_OK;
}

/* The rank that would be done first with `samples` more; the lowest of equals. */
static int least(const fc_run *r, const size_t *load, size_t samples)
{
    int best = 0;
    double soonest = 0;
    for (int k = 0; k < r->ranks.n; k++) {
        double end = (double)(load[k] + samples) / r->rank_threads[k];
        if (k == 0 || end < soonest) {
            soonest = end;
            best = k;
        }
    }
    return best;
}

fc_status fc_spread_deal(int *mine, fc_exchange *x, fc_run *r, int n, fc_error *err)
{
    for (int i = 0; i < n; i++)
        x->size[i] = x->message[i].n;
    FC_TRY(fc_ranks_unite(&r->ranks, FC_OK, x->size, (size_t)n * sizeof *x->size, err));
    memset(x->load, 0, (size_t)r->ranks.n * sizeof *x->load);
    *mine = 0;
    for (int j = 0; j < n; j++) {
        fc_longest c = x->order[j];
        bool there = x->size[c.slot] > 0;
        int k = there ? 0 : least(r, x->load, c.samples);
        x->owner[c.slot] = k;
        if (there)
            continue;
        x->load[k] += c.samples;
        if (k == r->ranks.me)
            x->order[(*mine)++] = c;
    }
    return FC_OK;
}

/* The failure of the lowest client that failed, reported by its rank. */
static fc_status lowest_failure(const fc_exchange *x, const fc_run *r, int n, fc_error *err)
{
    int i = 0;
    while (i < n && x->size[i] != failed)
        i++;
    return i < n && x->owner[i] == r->ranks.me
               ? fc_fail(err, x->error[i].code, "%s", x->error[i].msg)
               : FC_OK;
}

/* Room on rank 0 for the messages of the others. */
static fc_status make_room(fc_exchange *x, int n, fc_error *err)
{
    for (int i = 0; i < n; i++)
        if (x->owner[i] > 0 && x->size[i] > 0 && x->size[i] != failed) {
            x->message[i] = (fc_message){malloc(x->size[i]), x->size[i]};
            if (!x->message[i].data)
                return fc_fail(err, FC_EFAIL,
                               "out of memory: %zu bytes for the message of a client", x->size[i]);
        }
    return FC_OK;
}

fc_status fc_spread_collect(fc_exchange *x, fc_run *r, const int *id, int n, fc_error *err)
{
    fc_ranks *k = &r->ranks;
    for (int i = 0; i < n; i++) {
        fc_status s = x->error[i].code;
        size_t size = s == FC_OK || s == FC_ESTOP ? x->message[i].n : failed;
        x->size[i] = x->owner[i] == k->me ? size : 0;
    }
    FC_TRY(fc_ranks_unite(k, FC_OK, x->size, (size_t)n * sizeof *x->size, err));
    fc_status s = lowest_failure(x, r, n, err);
    if (s == FC_OK && k->me == 0)
        s = make_room(x, n, err);
    FC_TRY(fc_ranks_agree(k, s, err));
    for (int i = 0; i < n; i++) {
        int from = x->owner[i];
        if (from == 0 || x->size[i] == 0)
            continue;
        if (k->me == from) {
            fc_ranks_send(k, &x->head[i], sizeof x->head[i]);
            fc_ranks_send(k, x->message[i].data, x->size[i]);
        } else if (k->me == 0) {
            fc_ranks_receive(k, &x->head[i], sizeof x->head[i], from);
            fc_ranks_receive(k, x->message[i].data, x->size[i], from);
            fc_progress_add(&r->progress, fc_client_flop(r, &x->job, id[i]), 0, NAN);
            fc_progress_client(&r->progress);
        }
    }
    return FC_OK;
}

void fc_spread_part(int *lo, int *hi, const fc_run *r, int n)
{
    long before = 0;
    for (int k = 0; k < r->ranks.me; k++)
        before += r->rank_threads[k];
    *lo = (int)(n * before / r->all_threads);
    *hi = (int)(n * (before + r->rank_threads[r->ranks.me]) / r->all_threads);
}
