#include "sim/fed/wave.h"

#include "sim/fed/flop.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Size of the message of a client that failed. */
static const size_t failed = SIZE_MAX;

fc_status fc_wave_init(fc_wave *w, int max, size_t numbers, int ranks, fc_arena *arena,
                       fc_error *err)
{
    size_t n = (size_t)max;
    *w = (fc_wave){.max = max,
                   .numbers = numbers,
                   .message = fc_arena_alloc(arena, n, sizeof *w->message, err),
                   .head = fc_arena_alloc(arena, n, sizeof *w->head, err),
                   .error = fc_arena_alloc(arena, n, sizeof *w->error, err),
                   .order = fc_arena_alloc(arena, n, sizeof *w->order, err),
                   .size = fc_arena_alloc(arena, n, sizeof *w->size, err),
                   .owner = fc_arena_alloc(arena, n, sizeof *w->owner, err),
                   .load = fc_arena_alloc(arena, (size_t)ranks, sizeof *w->load, err)};
    if (numbers && !(w->own = fc_arena_alloc(arena, n * numbers, sizeof *w->own, err)))
        return FC_EFAIL;
    return w->message && w->head && w->error && w->order && w->size && w->owner && w->load
               ? FC_OK
               : FC_EFAIL;
}

fc_real *fc_wave_own(const fc_wave *w, int slot)
{
    return w->own ? w->own + (size_t)slot * w->numbers : NULL;
}

static int by_length(const void *a, const void *b)
{
    const fc_longest *x = a, *y = b;
    if (x->samples != y->samples)
        return x->samples > y->samples ? -1 : 1;
    return x->slot - y->slot;
}

/* The rank that would be done first with `samples` more; the lowest of equals. */
static int least_loaded(const fc_ranks *ranks, const size_t *load, size_t samples)
{
    int best = 0;
    double soonest = 0;
    for (int k = 0; k < ranks->n; k++) {
        double end = (double)(load[k] + samples) / ranks->threads[k];
        if (k == 0 || end < soonest) {
            soonest = end;
            best = k;
        }
    }
    return best;
}

fc_status fc_wave_deal(int *mine, fc_wave *w, const fc_setup *s, const fc_work *work,
                       fc_ranks *ranks, fc_error *err)
{
    for (int i = 0; i < w->n; i++) {
        w->order[i] = (fc_longest){fc_client_samples(s, work->task, w->id[i]), i};
        w->size[i] = w->message[i].n;
    }
    qsort(w->order, (size_t)w->n, sizeof *w->order, by_length);
    FC_TRY(fc_ranks_unite(ranks, FC_OK, w->size, (size_t)w->n * sizeof *w->size, err));
    memset(w->load, 0, (size_t)ranks->n * sizeof *w->load);
    *mine = 0;
    for (int j = 0; j < w->n; j++) {
        fc_longest c = w->order[j];
        bool there = w->size[c.slot] > 0;
        int k = there ? 0 : least_loaded(ranks, w->load, c.samples);
        w->owner[c.slot] = k;
        if (there)
            continue;
        w->load[k] += c.samples;
        if (k == ranks->me)
            w->order[(*mine)++] = c;
    }
    return FC_OK;
}

/* The failure of the lowest client that failed, reported by its rank. */
static fc_status lowest_failure(const fc_wave *w, int me, fc_error *err)
{
    int i = 0;
    while (i < w->n && w->size[i] != failed)
        i++;
    return i < w->n && w->owner[i] == me ? fc_fail(err, w->error[i].code, "%s", w->error[i].msg)
                                         : FC_OK;
}

/* Room on rank 0 for the messages of the others. */
static fc_status make_room(fc_wave *w, fc_error *err)
{
    for (int i = 0; i < w->n; i++)
        if (w->owner[i] > 0 && w->size[i] > 0 && w->size[i] != failed) {
            w->message[i] = (fc_message){malloc(w->size[i]), w->size[i]};
            if (!w->message[i].data)
                return fc_fail(err, FC_EFAIL,
                               "out of memory: %zu bytes for the message of a client", w->size[i]);
        }
    return FC_OK;
}

fc_status fc_wave_collect(fc_wave *w, const fc_setup *s, const fc_work *work, fc_ranks *ranks,
                          fc_progress *progress, fc_error *err)
{
    for (int i = 0; i < w->n; i++) {
        fc_status code = w->error[i].code;
        size_t size = code == FC_OK || code == FC_ESTOP ? w->message[i].n : failed;
        w->size[i] = w->owner[i] == ranks->me ? size : 0;
    }
    FC_TRY(fc_ranks_unite(ranks, FC_OK, w->size, (size_t)w->n * sizeof *w->size, err));
    fc_status status = lowest_failure(w, ranks->me, err);
    if (status == FC_OK && ranks->me == 0)
        status = make_room(w, err);
    FC_TRY(fc_ranks_agree(ranks, status, err));
    for (int i = 0; i < w->n; i++) {
        int from = w->owner[i];
        if (from == 0 || w->size[i] == 0)
            continue;
        if (ranks->me == from) {
            fc_ranks_send(ranks, &w->head[i], sizeof w->head[i]);
            fc_ranks_send(ranks, w->message[i].data, w->size[i]);
            if (w->own)
                fc_ranks_send(ranks, fc_wave_own(w, i), w->numbers * sizeof *w->own);
        } else if (ranks->me == 0) {
            fc_ranks_receive(ranks, &w->head[i], sizeof w->head[i], from);
            fc_ranks_receive(ranks, w->message[i].data, w->size[i], from);
            if (w->own)
                fc_ranks_receive(ranks, fc_wave_own(w, i), w->numbers * sizeof *w->own, from);
            fc_progress_add(progress, fc_client_flop(s, work, w->id[i]), 0, NAN);
            fc_progress_client(progress);
        }
    }
    return FC_OK;
}
