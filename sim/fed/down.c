#include "sim/fed/down.h"

#include "sim/fed/pieces.h"
#include "sim/fed/plan.h"

#include <stdlib.h>
#include <string.h>

/* --- the stack -------------------------------------------------------------------------------- */

/* Numbers of the factors of all clients, where the sum of a round is sent in that form in this
 * slot; else 0. */
static size_t stack_numbers(const fc_setup *s, int slot)
{
    const fc_merge_job job = fc_plan_merge_job(s, &s->layout, NULL, 0, 0, fc_plan_cohort_max(s));
    int out, in;
    if (!s->trained.folds || !s->cfg->rule->scale || !fc_merge_streams(s->cfg->rule, &job))
        return 0;
    fc_slot_dims(&s->net.shape, slot, &out, &in);
    size_t thin = (size_t)s->net.rank * (size_t)job.clients * (size_t)(out + in);
    return thin < (size_t)out * (size_t)in ? thin : 0;
}

size_t fc_down_stack_size(const fc_setup *s)
{
    size_t n = 0;
    for (int i = 0; s->trained.folds && i < s->slots; i++)
        n += stack_numbers(s, i);
    return n;
}

void fc_down_stack_keep(fc_state *st, const fc_setup *s, int j, const fc_params *p)
{
    fc_real *at = st->stack;
    for (int i = 0; i < s->slots; i++) {
        size_t thin = stack_numbers(s, i);
        if (thin == 0)
            continue;
        const fc_spec *A = &p->spec[s->slot_A[i]], *B = &p->spec[s->slot_B[i]];
        size_t n_A = fc_spec_size(A), n_B = fc_spec_size(B);
        fc_real *own = at + (size_t)j * (n_A + n_B);
        memcpy(own, p->p + A->offset, n_A * sizeof *own);
        memcpy(own + n_A, p->p + B->offset, n_B * sizeof *own);
        at += thin;
    }
}

void fc_down_stack_scale(fc_state *st, const fc_setup *s, const double *weight, int n)
{
    const fc_merge_method *rule = s->cfg->rule;
    fc_real *at = st->stack;
    double total = 0;
    for (int j = 0; j < n; j++)
        total += rule->weighs ? weight[j] : 1;
    double scale = rule->scale(s->cfg->rule_options, total);
    for (int i = 0; i < s->slots; i++) {
        size_t thin = stack_numbers(s, i);
        if (thin == 0)
            continue;
        int out, in;
        fc_slot_dims(&s->net.shape, i, &out, &in);
        size_t n_A = (size_t)s->net.rank * (size_t)in, n_B = (size_t)s->net.rank * (size_t)out;
        for (int j = 0; j < n; j++) { /* sum_j scale w_j B_j A_j */
            fc_real *B = at + (size_t)j * (n_A + n_B) + n_A;
            for (size_t k = 0; k < n_B; k++)
                B[k] = (fc_real)(B[k] * (scale * (rule->weighs ? weight[j] : 1)));
        }
        memset(at + (size_t)n * (n_A + n_B), 0, (thin - (size_t)n * (n_A + n_B)) * sizeof *at);
        at += thin;
    }
}

/* --- what goes down --------------------------------------------------------------------------- */

typedef struct down_plan {
    unsigned groups;
    bool deltas, folded, all; /* the finished tasks; what rounds folded: the last one, or all */
} down_plan;

static down_plan plan_of(const fc_setup *s, int t, int round)
{
    const unsigned A = 1u << FC_GROUP_A, B = 1u << FC_GROUP_B, head = 1u << FC_GROUP_HEAD;
    enum { PER_ROUND = 1 };
    bool lora = s->net.mode == FC_TRAIN_LORA, end = round == s->cfg->fed.rounds;
    bool strangers =
        (s->cfg->fed.participation < 1 && s->cfg->fed.participation_draw == PER_ROUND) ||
        fc_devices_come_and_go(&s->devices);
    unsigned groups = fc_plan_groups(s, round > 0 ? round - 1 : 0);
    if (lora && round == 0)
        groups = A | head;
    else if (lora && strangers)
        groups = A | B | head;
    if (s->trained.folds) /* B is 0 */
        groups = A | head;
    if (end && !fc_pieces_statistics(s, t, round)) /* Grams of layers do not want it */
        groups &= ~head;
    return (down_plan){.groups = groups,
                       .deltas = lora && (round == 0 || strangers) && s->method->sends_deltas &&
                                 s->method->sends_deltas(&s->about),
                       .folded = s->trained.folds && round > 0,
                       .all = strangers};
}

/* A buffer that is filled, or (p NULL) measured. */
typedef struct cursor {
    fc_real *p;
    size_t n;
} cursor;

static void put(cursor *c, const fc_real *from, size_t n)
{
    if (c->p && from)
        memcpy(c->p + c->n, from, n * sizeof *from);
    c->n += n;
}

/* The weights of all slots of a backbone block. */
static void put_slots(cursor *c, const fc_setup *s, const fc_real *w)
{
    for (int i = 0; i < s->slots; i++) {
        int out, in;
        fc_slot_dims(&s->net.shape, i, &out, &in);
        put(c, w ? w + s->slot_offset[i] : NULL, (size_t)out * (size_t)in);
    }
}

/* The finished tasks as the clients' models hold them: factors, or dense layers. */
static void put_deltas(cursor *c, const fc_setup *s, const fc_state *st, int tasks)
{
    const fc_deltas *d = st ? &st->deltas : NULL;
    size_t n_A, n_B, T = (size_t)tasks;
    if (s->trained.folds) {
        for (size_t k = 0; k < T; k++)
            put_slots(c, s, d ? d->W + k * d->n_W : NULL);
        return;
    }
    fc_slot_offsets(&s->net.shape, s->slots, s->net.rank, &n_A, &n_B);
    put(c, d ? d->A : NULL, T * n_A);
    put(c, d ? d->B : NULL, T * n_B);
}

/* What the last round folded into the weights, or (all) all rounds of the task. */
static void put_folded(cursor *c, const fc_setup *s, const fc_state *st, bool all)
{
    const fc_real *stack = st ? st->stack : NULL;
    for (int i = 0; i < s->slots; i++) {
        int out, in;
        size_t thin = stack_numbers(s, i);
        fc_slot_dims(&s->net.shape, i, &out, &in);
        if (thin > 0 && !all)
            put(c, stack, thin);
        else
            put(c, st ? st->folded + s->slot_offset[i] : NULL, (size_t)out * (size_t)in);
        stack = stack ? stack + thin : NULL;
    }
}

/* st NULL: sizes only. */
static cursor fill_message(fc_real *to, const fc_setup *s, const fc_state *st, const down_plan *p,
                           int t)
{
    cursor c = {.p = to};
    if (p->deltas)
        put_deltas(&c, s, st, t);
    if (p->folded)
        put_folded(&c, s, st, p->all);
    return c;
}

/* The parts of the message; returns how many. */
static int list_parts(fc_message_part part[FC_PARTS_MAX], fc_real *numbers, size_t n,
                      const fc_setup *s, const fc_state *st, int t, int round)
{
    int parts = 0;
    if (n > 0)
        part[parts++] = (fc_message_part){"deltas", n, numbers};
    if (round == s->cfg->fed.rounds && !fc_pieces_statistics(s, t, round))
        return parts; /* nothing looks at them */
    return parts + fc_pieces_down(part + parts, s, st, round == 0);
}

fc_status fc_down_size(size_t *bytes, const fc_setup *s, int t, int round, fc_error *err)
{
    const down_plan p = plan_of(s, t, round);
    fc_message_part part[FC_PARTS_MAX];
    *bytes = 0;
    if (s->method->centralised)
        return FC_OK;
    const fc_message_body body = {
        .p = &s->layout,
        .groups = p.groups,
        .part = part,
        .parts = list_parts(part, NULL, fill_message(NULL, s, NULL, &p, t).n, s, NULL, t, round)};
    return fc_message_size(bytes, false, &body, err);
}

fc_status fc_down_pack(fc_message *out, const fc_run *r, int t, int round, fc_error *err)
{
    const fc_setup *s = r->setup;
    const down_plan p = plan_of(s, t, round);
    fc_message_part part[FC_PARTS_MAX];
    size_t n = fill_message(NULL, s, NULL, &p, t).n;
    fc_real *numbers = malloc((n ? n : 1) * sizeof *numbers);
    if (!numbers)
        return fc_fail(err, FC_EFAIL, "out of memory: %zu numbers of the server's message", n);
    fill_message(numbers, s, &r->state, &p, t);
    const fc_message_body body = {.p = &r->state.global,
                                  .groups = p.groups,
                                  .part = part,
                                  .parts = list_parts(part, numbers, n, s, &r->state, t, round)};
    fc_status status = fc_message_pack(out, NULL, &body, err);
    free(numbers);
    return status;
}

fc_status fc_down_receive(fc_run *r, const fc_message *m, int t, int round, fc_error *err)
{
    const fc_setup *s = r->setup;
    const down_plan p = plan_of(s, t, round);
    fc_params *received = &r->scratch.received;
    fc_message_part part[FC_PARTS_MAX];
    size_t at, n_B = fc_params_group(received, FC_GROUP_B, &at),
               n = fill_message(NULL, s, NULL, &p, t).n;
    fc_real *numbers = malloc((n ? n : 1) * sizeof *numbers);
    if (!numbers)
        return fc_fail(err, FC_EFAIL, "out of memory: %zu numbers of the server's message", n);
    if (n_B && (round == 0 || s->trained.folds)) /* a fresh A stands beside B = 0 */
        memset(received->p + at, 0, n_B * sizeof *received->p);
    /* arrays of pieces are read by all clients in flight where they are: the same bytes */
    const fc_message_body body = {.p = received,
                                  .groups = p.groups,
                                  .part = part,
                                  .parts = list_parts(part, numbers, n, s, &r->state, t, round)};
    fc_status status = fc_message_unpack(NULL, &body, m, err);
    free(numbers);
    if (status == FC_OK && round < s->cfg->fed.rounds &&
        memcmp(received->p, r->state.global.p, received->n * sizeof *received->p) != 0)
        return fc_fail(err, FC_ECKPT, "task %d, round %d: the clients' model is not the server's",
                       t + 1, round + 1);
    return status;
}
