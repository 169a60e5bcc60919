#include "sim/fed/plan.h"

#include "sim/fed/message.h"

#include <math.h>

unsigned fc_plan_groups(const fc_setup *s, int round)
{
    static const unsigned all[] = {[FC_TRAIN_LORA] =
                                       1u << FC_GROUP_A | 1u << FC_GROUP_B | 1u << FC_GROUP_HEAD,
                                   [FC_TRAIN_FULL] = 1u << FC_GROUP_BACKBONE | 1u << FC_GROUP_HEAD,
                                   [FC_TRAIN_HEAD] = 1u << FC_GROUP_HEAD};
    return s->method->groups ? s->method->groups(s->cfg, round) : all[s->net.mode];
}

fc_work fc_plan_work(const fc_setup *s, int t, int round)
{
    bool end = round == s->cfg->fed.rounds;
    return (fc_work){.task = t,
                     .round = round,
                     .groups = end ? 0 : fc_plan_groups(s, round),
                     .grams = s->gram_shape.n > 0,
                     .fisher = !end && s->fisher.n > 0};
}

bool fc_plan_task_grams(const fc_setup *s)
{
    return s->method->task_grams && s->gram_shape.n > 0;
}

/* --- tests ------------------------------------------------------------------------------------ */

/* Is there a model of the finished tasks that differs from the last round's? */
static bool merges_tasks(const fc_setup *s)
{
    return s->cfg->task_rule || s->method->task_base;
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
        return merges_tasks(s) && fc_plan_tests_task(s, t);
    if (!fc_plan_tests_task(s, t))
        return false;
    bool last = round == R - 1;
    return when == ALL || (last && (when == LAST || !merges_tasks(s)));
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

/* Numbers of the finished tasks as the clients' models hold them: factors, or dense layers. */
static size_t delta_numbers(const fc_setup *s, int tasks)
{
    size_t one = 0, rank = (size_t)s->net.rank;
    for (int i = 0; i < s->slots; i++) {
        int out, in;
        fc_slot_dims(&s->net.shape, i, &out, &in);
        one += s->folds ? (size_t)out * (size_t)in : rank * (size_t)(out + in);
    }
    return (size_t)tasks * one;
}

/* Numbers of what the last round folded into the weights, or (all) all rounds of the task: the
 * stacked factors of its clients, where the rule is a sum of them and they are the smaller form. */
static size_t folded_numbers(const fc_setup *s, bool all)
{
    const fc_merge_job job = fc_plan_merge_job(s, &s->layout, NULL, 0, 0, fc_plan_cohort_max(s));
    bool stack = s->cfg->rule->scale && fc_merge_streams(s->cfg->rule, &job) && !all;
    size_t n = 0, rank = (size_t)s->net.rank * (size_t)job.clients;
    for (int i = 0; i < s->slots; i++) {
        int out, in;
        fc_slot_dims(&s->net.shape, i, &out, &in);
        size_t dense = (size_t)out * (size_t)in, thin = rank * (size_t)(out + in);
        n += stack && thin < dense ? thin : dense;
    }
    return n;
}

/* Down: what the last round merged; at the start of a task the fresh A (B is 0) and the head, and
 * the finished tasks where the clients' models hold them. Where a client may
 * have missed a round, each one gets all that its model holds. At the end of a task the head
 * is not needed. */
fc_status fc_plan_bytes_down(size_t *bytes, const fc_setup *s, int t, int round, fc_error *err)
{
    const unsigned A = 1u << FC_GROUP_A, B = 1u << FC_GROUP_B, head = 1u << FC_GROUP_HEAD;
    enum { PER_ROUND = 1 };
    bool lora = s->net.mode == FC_TRAIN_LORA, end = round == s->cfg->fed.rounds;
    bool strangers =
        (s->cfg->fed.participation < 1 && s->cfg->fed.participation_draw == PER_ROUND) ||
        fc_devices_come_and_go(&s->devices);
    *bytes = 0;
    if (s->method->centralised)
        return FC_OK;
    unsigned groups = fc_plan_groups(s, round > 0 ? round - 1 : 0);
    if (lora && round == 0)
        groups = A | head;
    else if (lora && strangers)
        groups = A | B | head;
    if (s->folds) /* B is 0 */
        groups = A | head;
    if (end)
        groups &= ~head;
    bool deltas = lora && (round == 0 || strangers) && s->method->sends_deltas &&
                  s->method->sends_deltas(s->cfg);
    size_t numbers = deltas ? delta_numbers(s, t) : 0;
    if (s->folds && round > 0)
        numbers += folded_numbers(s, strangers);
    return fc_message_down_size(bytes, &s->layout, groups, numbers, err);
}

fc_grams fc_plan_grams(const fc_setup *s, const fc_work *w)
{
    return w->grams ? fc_grams_first(&s->gram_shape, w->groups ? s->gram_shape.n : s->slots)
                    : (fc_grams){0};
}

fc_status fc_plan_bytes_up(size_t *bytes, const fc_setup *s, const fc_work *w, fc_error *err)
{
    const fc_grams grams = fc_plan_grams(s, w);
    *bytes = 0;
    if (s->method->centralised)
        return FC_OK;
    return fc_message_size(bytes, &s->layout, w->groups, w->grams ? &grams : NULL,
                           w->fisher ? &s->fisher : NULL, err);
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
        .product = s->method->products,
        .sum = sum,
        .sum_offset = s->slot_offset};
}
