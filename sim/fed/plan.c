#include "sim/fed/plan.h"

#include "sim/fed/message.h"
#include "sim/fed/pieces.h"

#include <math.h>

unsigned fc_plan_groups(const fc_setup *s, int round)
{
    static const unsigned all[] = {[FC_TRAIN_LORA] =
                                       1u << FC_GROUP_A | 1u << FC_GROUP_B | 1u << FC_GROUP_HEAD,
                                   [FC_TRAIN_FULL] = 1u << FC_GROUP_BACKBONE | 1u << FC_GROUP_HEAD,
                                   [FC_TRAIN_HEAD] = 1u << FC_GROUP_HEAD};
    return s->method->groups ? s->method->groups(&s->about, round) : all[s->net.mode];
}

fc_work fc_plan_work(const fc_setup *s, int t, int round)
{
    bool end = round == s->cfg->fed.rounds;
    return (fc_work){.task = t,
                     .round = round,
                     .groups = end ? 0 : fc_plan_groups(s, round),
                     .grams = end ? s->task_grams : s->gram_shape.n > 0,
                     .fisher = !end && s->fisher.n > 0,
                     .statistics = fc_pieces_statistics(s, t, round)};
}

bool fc_plan_ends_with_messages(const fc_setup *s, int t)
{
    return s->task_grams || fc_pieces_statistics(s, t, s->cfg->fed.rounds);
}

/* --- tests ------------------------------------------------------------------------------------ */

/* Is there a model at the end of task t that differs from the last round's? */
static bool ends_with_model(const fc_setup *s, int t)
{
    return s->cfg->task_rule || s->method->task_base ||
           fc_pieces_statistics(s, t, s->cfg->fed.rounds);
}

bool fc_plan_tests_task(const fc_setup *s, int t)
{
    enum { ALL, LAST };
    return s->cfg->eval.tasks == ALL || t == s->tasks.n - 1;
}

bool fc_plan_evaluates(const fc_setup *s, int t, int round)
{
    enum { ALL, LAST, NONE };
    int R = s->cfg->fed.rounds, when = s->cfg->eval.rounds;
    if (round == R)
        return ends_with_model(s, t) && fc_plan_tests_task(s, t);
    if (!fc_plan_tests_task(s, t))
        return false;
    bool last = round == R - 1;
    return when == ALL || (last && (when == LAST || !ends_with_model(s, t)));
}

/* --- clients ---------------------------------------------------------------------------------- */

int fc_plan_wanted(const fc_setup *s)
{
    int n = (int)(s->partition.clients * s->cfg->fed.participation + 1e-9);
    return n > 1 ? n : 1;
}

int fc_plan_cohort_max(const fc_setup *s)
{
    double n = fc_plan_wanted(s), K = s->partition.clients;
    if (s->devices.on)
        n = ceil(n * s->cfg->fed.over_select - 1e-9);
    return (int)(n < K ? n : K);
}

int fc_plan_wave(size_t bytes, int n, int threads)
{
    size_t fit = FC_WAVE_BYTES / (bytes + 1), least = 2 * (size_t)threads;
    size_t wave = fit < least ? least : fit;
    return wave < (size_t)n ? (int)wave : n;
}

/* --- bytes ------------------------------------------------------------------------------------ */

fc_grams fc_plan_grams(const fc_setup *s, const fc_work *w)
{
    return w->grams ? fc_grams_first(&s->gram_shape, w->groups ? s->gram_shape.n : s->slots)
                    : (fc_grams){0};
}

fc_status fc_plan_message(size_t *bytes, const fc_setup *s, const fc_work *w, fc_error *err)
{
    const fc_grams grams = fc_plan_grams(s, w);
    fc_message_part part[FC_PARTS_MAX];
    const fc_message_body body = {.p = &s->layout,
                                  .groups = w->groups,
                                  .grams = w->grams ? &grams : NULL,
                                  .fisher = w->fisher ? &s->fisher : NULL,
                                  .part = part,
                                  .parts = fc_pieces_sent(part, s, w, NULL)};
    return fc_message_size(bytes, true, &body, err);
}

fc_status fc_plan_bytes_up(size_t *bytes, const fc_setup *s, const fc_work *w, fc_error *err)
{
    *bytes = 0;
    return s->method->centralised ? FC_OK : fc_plan_message(bytes, s, w, err);
}

/* --- the merge -------------------------------------------------------------------------------- */

fc_merge_job fc_plan_merge_job(const fc_setup *s, const fc_params *base, fc_real *sum, int t,
                               int round, int clients)
{
    const fc_config *c = s->cfg;
    return (fc_merge_job){
        .base = base,
        .groups = fc_plan_groups(s, round),
        .slots = s->slots,
        .slot_A = s->slot_A,
        .slot_B = s->slot_B,
        .slot_W = s->slot_W,
        .head_W = fc_train_head(base),
        .shape = s->gram_shape.n ? &s->gram_shape : NULL,
        .weighted = c->merge.weighted,
        .options = c->rule_options,
        .clients = clients,
        .space = {(fc_space_kind)c->merge.space, c->merge.isotropise, (fc_knots_form)c->merge.knots,
                  c->merge.knots_eps},
        .key = {.seed = fc_seed(c, c->seed.train), .task = (uint32_t)t, .round = (uint32_t)round},
        .product = s->trained.products,
        .sum = sum,
        .sum_offset = s->slot_offset};
}
