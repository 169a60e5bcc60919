#include "sim/fed/pieces.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* --- what is declared ------------------------------------------------------------------------- */

/* The name under which a piece's arrays are saved and sent. */
static const char *piece_name(const fc_setup *s, int i)
{
    const fc_piece *p = s->piece[i].piece;
    return p->name ? p->name : s->method->name;
}

static void array_name(char out[FC_NAME_MAX], const fc_setup *s, int i, int a)
{
    snprintf(out, FC_NAME_MAX, "%.30s.%.30s", piece_name(s, i), s->piece[i].array[a].name);
}

static fc_status use_piece(fc_setup *s, const fc_piece *p, const void *options, fc_error *err)
{
    fc_piece_use *u = &s->piece[s->n_pieces++];
    *u = (fc_piece_use){.piece = p, .options = options};
    if (p->check)
        FC_TRY(p->check(&s->about, options, err));
    if (p->arrays)
        u->n_arrays = p->arrays(u->array, &s->about, options);
    for (int a = 0; a < u->n_arrays; a++) {
        fc_array_spec *d = &u->array[a];
        if (d->n == 0)
            d->n = (size_t)d->rows * (size_t)d->cols;
        array_name(d->saved_as, s, s->n_pieces - 1, a);
        s->own_numbers += d->owner == FC_OF_CLIENT ? d->n : 0;
        s->sent_numbers += d->owner == FC_SENT_UP ? d->n : 0;
    }
    s->slice_terms = s->slice_terms || (p->term && p->term->slice);
    if (p->term && p->term->slice && p->term->teacher != FC_NO_TEACHER) {
        if (s->has_teacher && s->net.mode == FC_TRAIN_FULL)
            return fc_fail(err, FC_EUSAGE,
                           "%s: a second teacher, and full fine-tuning has room for one: leave one "
                           "out, or train LoRA",
                           piece_name(s, s->n_pieces - 1));
        s->has_teacher = true;
    }
    if (p->term && p->term->second && s->second_batch)
        return fc_fail(err, FC_EUSAGE, "%s: a second one with a batch of its own in each step",
                       piece_name(s, s->n_pieces - 1));
    s->second_batch = s->second_batch || (p->term && p->term->second);
    s->gradient = s->gradient || (p->gradient && p->gradient(&s->about, options));
    return FC_OK;
}

/* All that a client keeps is one record, which begins anew as a whole. */
static fc_status check_resets(const fc_setup *s, fc_error *err)
{
    const fc_array_spec *first = NULL;
    for (int i = 0; i < s->n_pieces; i++)
        for (int a = 0; a < s->piece[i].n_arrays; a++) {
            const fc_array_spec *d = &s->piece[i].array[a];
            if (d->owner != FC_OF_CLIENT)
                continue;
            if (first && first->reset != d->reset)
                return fc_fail(err, FC_EUSAGE,
                               "arrays of clients: %s and %s begin anew at different times, "
                               "expected that both or none are reset with each task",
                               first->saved_as, d->saved_as);
            first = first ? first : d;
        }
    return FC_OK;
}

fc_status fc_pieces_init(fc_setup *s, fc_error *err)
{
    if (s->method->piece)
        FC_TRY(use_piece(s, s->method->piece, s->cfg->method_options, err));
    for (int i = 0; i < fc_piece_count; i++) {
        const void *options = s->cfg->piece_options[i];
        if (!fc_piece_table[i]->on(options))
            continue;
        if (s->n_pieces == FC_PIECES_MAX)
            return fc_fail(err, FC_EUSAGE, "%s: more than %d of its kind are on",
                           fc_piece_table[i]->name, FC_PIECES_MAX);
        FC_TRY(use_piece(s, fc_piece_table[i], options, err));
    }
    return check_resets(s, err);
}

bool fc_pieces_forget(const fc_setup *s)
{
    for (int i = 0; i < s->n_pieces; i++)
        for (int a = 0; a < s->piece[i].n_arrays; a++)
            if (s->piece[i].array[a].owner == FC_OF_CLIENT &&
                s->piece[i].array[a].reset == FC_EACH_TASK)
                return true;
    return false;
}

fc_fit_extra fc_pieces_extra(const fc_setup *s, int task)
{
    fc_fit_extra x = {0};
    for (int i = 0; i < s->n_pieces; i++) {
        const fc_loss_term *term = s->piece[i].piece->term;
        if (!term || (term->now && !term->now(&s->about, s->piece[i].options, task)))
            continue;
        x.teacher = x.teacher || (term->slice && term->teacher != FC_NO_TEACHER);
        x.second = x.second || term->second;
    }
    return x;
}

const fc_real *fc_pieces_teacher(const fc_state *st, const fc_setup *s, const fc_real *start)
{
    for (int i = 0; i < s->n_pieces; i++) {
        const fc_loss_term *term = s->piece[i].piece->term;
        if (term && term->slice && term->teacher == FC_TEACHER_ARRAY)
            return st->array[i][term->teacher_array].p;
    }
    return start;
}

/* --- the state -------------------------------------------------------------------------------- */

fc_status fc_pieces_state(fc_state *st, const fc_setup *s, fc_arena *arena, fc_error *err)
{
    for (int i = 0; i < s->n_pieces; i++)
        for (int a = 0; a < s->piece[i].n_arrays; a++) {
            const fc_array_spec *d = &s->piece[i].array[a];
            fc_array *to = &st->array[i][a];
            if (d->owner != FC_OF_SERVER)
                continue;
            to->n = d->n;
            if (d->sum)
                to->sum = fc_arena_alloc(arena, d->n, sizeof *to->sum, err);
            else
                to->p = fc_arena_alloc(arena, d->n, sizeof *to->p, err);
            if (!to->sum && !to->p)
                return FC_EFAIL;
        }
    if (s->own_numbers == 0)
        return FC_OK;
    size_t K = (size_t)s->partition.clients;
    st->client_record = fc_arena_alloc(arena, K, sizeof *st->client_record, err);
    st->client_before = fc_arena_alloc(arena, K, sizeof *st->client_before, err);
    if (!st->client_record || !st->client_before)
        return FC_EFAIL;
    for (size_t k = 0; k < K; k++)
        st->client_record[k] = st->client_before[k] = -1;
    return FC_OK;
}

/* Is it of the server, and part of a checkpoint? */
static bool is_saved(const fc_array_spec *a)
{
    return a->owner == FC_OF_SERVER && a->reset != FC_EACH_ROUND;
}

int fc_pieces_fields(fc_state_field *f, const fc_setup *s, fc_state *st)
{
    int n = 0;
    size_t K = (size_t)s->partition.clients;
    for (int i = 0; i < s->n_pieces; i++)
        for (int a = 0; a < s->piece[i].n_arrays; a++) {
            const fc_array_spec *d = &s->piece[i].array[a];
            fc_array *x = st ? &st->array[i][a] : NULL;
            if (!is_saved(d))
                continue;
            f[n++] = d->sum ? (fc_state_field){d->saved_as, FC_F64, d->n, x ? x->sum : NULL}
                            : (fc_state_field){d->saved_as, FC_F32, d->n, x ? x->p : NULL};
        }
    if (s->own_numbers) {
        f[n++] = (fc_state_field){"client.record", FC_I64, K, st ? st->client_record : NULL};
        f[n++] = (fc_state_field){"client.before", FC_I64, K, st ? st->client_before : NULL};
    }
    return n;
}

void fc_pieces_reset(fc_state *st, const fc_setup *s, int t, int round)
{
    bool end = round == s->cfg->fed.rounds;
    for (int i = 0; i < s->n_pieces; i++)
        for (int a = 0; a < s->piece[i].n_arrays; a++) {
            const fc_array_spec *d = &s->piece[i].array[a];
            fc_array *x = &st->array[i][a];
            if (d->owner != FC_OF_SERVER ||
                d->reset != (round < 0 ? FC_EACH_TASK : FC_EACH_ROUND) ||
                (end && !fc_piece_takes(s, i, t, round)))
                continue;
            if (x->p)
                memset(x->p, 0, x->n * sizeof *x->p);
            if (x->sum)
                memset(x->sum, 0, x->n * sizeof *x->sum);
        }
}

/* --- messages --------------------------------------------------------------------------------- */

bool fc_piece_takes(const fc_setup *s, int i, int task, int round)
{
    const fc_statistics *x = s->piece[i].piece->statistics;
    if (!x)
        return false;
    return x->now ? x->now(&s->about, s->piece[i].options, task, round)
                  : round < s->cfg->fed.rounds;
}

bool fc_pieces_statistics(const fc_setup *s, int task, int round)
{
    bool any = false;
    for (int i = 0; i < s->n_pieces; i++)
        any = any || fc_piece_takes(s, i, task, round);
    return any;
}

/* Is array a of piece i, which is sent up at all, in the messages of this work? */
static bool is_sent(const fc_setup *s, int i, int a, const fc_work *w)
{
    bool end = w->round == s->cfg->fed.rounds;
    return end == (s->piece[i].array[a].sent == FC_EACH_TASK) &&
           (!end || fc_piece_takes(s, i, w->task, w->round));
}

int fc_pieces_sent(fc_message_part *out, const fc_setup *s, const fc_work *w, fc_real *at)
{
    int n = 0;
    for (int i = 0; i < s->n_pieces; i++)
        for (int a = 0; a < s->piece[i].n_arrays; a++) {
            const fc_array_spec *d = &s->piece[i].array[a];
            if (d->owner != FC_SENT_UP)
                continue;
            if (is_sent(s, i, a, w)) {
                out[n].n = d->n;
                out[n].p = at;
                memcpy(out[n++].name, d->saved_as, FC_NAME_MAX);
            }
            at = at ? at + d->n : NULL;
        }
    return n;
}

int fc_pieces_down(fc_message_part *out, const fc_setup *s, const fc_state *st, bool task_start)
{
    int n = 0;
    for (int i = 0; i < s->n_pieces; i++)
        for (int a = 0; a < s->piece[i].n_arrays; a++) {
            const fc_array_spec *d = &s->piece[i].array[a];
            if (d->owner != FC_OF_SERVER || d->sum || d->sent == FC_NEVER ||
                (d->sent == FC_EACH_TASK && !task_start))
                continue;
            out[n].n = d->n;
            out[n].p = st ? st->array[i][a].p : NULL;
            memcpy(out[n++].name, d->saved_as, FC_NAME_MAX);
        }
    return n;
}

/* --- at work ---------------------------------------------------------------------------------- */

void fc_pieces_client(fc_piece_client *out, const fc_setup *s, const fc_state *st,
                      const fc_piece_client *common, fc_real *own, fc_real *sent)
{
    for (int i = 0; i < s->n_pieces; i++) {
        const fc_piece_use *u = &s->piece[i];
        out[i] = *common;
        out[i].piece = u->piece;
        out[i].setup = &s->about;
        out[i].options = u->options;
        out[i].layout = &s->layout;
        for (int a = 0; a < u->n_arrays; a++) {
            const fc_array_spec *d = &u->array[a];
            fc_real **at = d->owner == FC_OF_CLIENT ? &own : &sent;
            out[i].array[a] = st->array[i][a];
            if (d->owner == FC_OF_SERVER)
                continue;
            out[i].array[a] = (fc_array){.p = *at, .n = d->n};
            *at = *at ? *at + d->n : NULL;
        }
    }
}

static fc_piece_server server_view(const fc_state *st, const fc_setup *s, int i,
                                   const fc_piece_server *common)
{
    fc_piece_server v = *common;
    v.setup = &s->about;
    v.options = s->piece[i].options;
    v.layout = &s->layout;
    v.note = NAN;
    memcpy(v.array, st->array[i], sizeof v.array);
    return v;
}

void fc_pieces_fold(fc_state *st, const fc_setup *s, const fc_work *w,
                    const fc_piece_server *common, fc_real *sent, const fc_piece_update *update)
{
    bool end = w->round == s->cfg->fed.rounds;
    for (int i = 0; i < s->n_pieces; i++) {
        const fc_piece_use *u = &s->piece[i];
        fc_piece_server v = server_view(st, s, i, common);
        fc_array array[FC_ARRAYS_MAX] = {0};
        for (int a = 0; a < u->n_arrays; a++)
            if (u->array[a].owner == FC_SENT_UP) {
                if (is_sent(s, i, a, w))
                    array[a] = (fc_array){.p = sent, .n = u->array[a].n};
                sent += u->array[a].n;
            }
        fc_piece_update own = *update;
        own.array = array;
        if (u->piece->fold && (!end || fc_piece_takes(s, i, w->task, w->round)))
            u->piece->fold(&v, &own);
    }
}

fc_status fc_pieces_step(double note[FC_PIECES_MAX], fc_state *st, const fc_setup *s,
                         const fc_piece_server *common, fc_error *err)
{
    for (int i = 0; i < s->n_pieces; i++) {
        fc_piece_server v = server_view(st, s, i, common);
        note[i] = NAN;
        if (!s->piece[i].piece->server_step)
            continue;
        FC_TRY(s->piece[i].piece->server_step(&v, err));
        note[i] = v.note;
    }
    return FC_OK;
}

fc_status fc_pieces_end_task(fc_state *st, const fc_setup *s, const fc_piece_server *common,
                             fc_error *err)
{
    for (int i = 0; i < s->n_pieces; i++) {
        fc_piece_server v = server_view(st, s, i, common);
        if (s->piece[i].piece->end_task)
            FC_TRY(s->piece[i].piece->end_task(&v, err));
    }
    return FC_OK;
}

fc_piece_server fc_pieces_of_method(const fc_state *st, const fc_setup *s)
{
    const fc_piece_server none = {.setup = &s->about, .layout = &s->layout, .note = NAN};
    return s->method->piece ? server_view(st, s, 0, &none) : none;
}
