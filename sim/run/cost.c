#include "sim/run/cost.h"

#include "sim/fed/cohort.h"
#include "sim/fed/flop.h"
#include "sim/fed/task_merge.h"

/* Test of tasks 0 .. t, under weights that hold the LoRA already. */
static double eval_flop(const fc_setup *s, int t)
{
    double n = 0;
    for (int k = 0; k <= t; k++)
        n += (double)s->tasks.n_test[k];
    return n * fc_vit_flop(&s->net.shape, 0, s->net.classes, s->net.mode, 0, false);
}

/* One round, or (round == fed.rounds) the end of a task. */
static fc_status add_round(fc_cost *c, const fc_setup *s, fc_cohort *who, int t, int round,
                           fc_error *err)
{
    bool end = round == s->cfg->fed.rounds;
    const fc_work work = fc_plan_work(s, t, round);
    if (*s->source_hash && !end)
        return FC_OK; /* nothing is trained */
    if (fc_plan_evaluates(s, t, round))
        c->eval += eval_flop(s, t);
    if (end && s->cfg->task_rule && fc_plan_evaluates(s, t, round))
        c->eval += fc_task_merge_flop(s, t + 1);
    if (end && !fc_plan_ends_with_messages(s, t))
        return FC_OK;
    FC_TRY(fc_cohort_draw(who, s, &work, c->sim_s, err));
    c->sim_s += who->sim_s;
    for (int i = 0; i < who->n; i++) {
        const fc_member *m = &who->member[i];
        c->bytes_down += (double)who->bytes_down;
        c->bytes_up += m->fate == FC_FATE_LOST ? 0 : (double)who->bytes_up;
        c->train += m->fate == FC_FATE_OK ? fc_client_flop(s, &work, m->client) : 0;
        c->late += m->fate == FC_FATE_LATE;
        c->lost += m->fate == FC_FATE_LOST;
    }
    return FC_OK;
}

static fc_status add_rounds(fc_cost *c, const fc_setup *s, const fc_position *at, fc_arena *scratch,
                            fc_error *err)
{
    fc_cohort who;
    FC_TRY(fc_cohort_init(&who, s, scratch, err));
    for (int t = 0; t < s->tasks.n; t++)
        for (int round = 0; round <= s->cfg->fed.rounds; round++) {
            if (t == (int)at->next_task && round == (int)at->next_round)
                c->done = c->train + c->eval;
            FC_TRY(add_round(c, s, &who, t, round, err));
        }
    if ((int)at->next_task >= s->tasks.n)
        c->done = c->train + c->eval;
    return FC_OK;
}

fc_status fc_cost_make(fc_cost *c, const fc_setup *s, const fc_position *at, fc_error *err)
{
    const fc_position start = {0};
    fc_arena scratch = {0};
    *c = (fc_cost){0};
    fc_status status = add_rounds(c, s, at ? at : &start, &scratch, err);
    fc_arena_free(&scratch);
    return status;
}
