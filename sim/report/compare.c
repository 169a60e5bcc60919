#include "sim/report/compare.h"
#include "sim/config/config.h"

#include <math.h>
#include <string.h>

/* --- statistics --------------------------------------------------------------------------------
 */

/* Orders that were given, not drawn, tell settings apart. */
static bool same_draw(const fc_ints *a, const fc_ints *b)
{
    return !fc_ints_drawn(a) || !fc_ints_drawn(b) || strcmp(a->word, b->word) == 0;
}

/* Runs whose data, partition and training draw from the same seeds, however these were given. */
static bool same_seeds(const fc_config *a, const fc_config *b)
{
    return a->run.seed == b->run.seed && a->seed.data == b->seed.data &&
           fc_seed(a, a->seed.order) == fc_seed(b, b->seed.order) &&
           fc_seed(a, a->seed.partition) == fc_seed(b, b->seed.partition) &&
           fc_seed(a, a->seed.init) == fc_seed(b, b->seed.init) &&
           fc_seed(a, a->seed.train) == fc_seed(b, b->seed.train) &&
           same_draw(&a->tasks.order, &b->tasks.order) &&
           same_draw(&a->tasks.class_order, &b->tasks.class_order);
}

/* NaN where the baseline has no run with these seeds. */
static double baseline_value(const fc_result_group *baseline, const fc_metric *m,
                             const fc_result *like)
{
    for (int i = 0; i < baseline->n; i++)
        if (same_seeds(&baseline->run[i]->config, &like->config))
            return fc_metric_final(m, baseline->run[i]);
    return NAN;
}

static fc_difference difference_of(const double *x, int n)
{
    fc_difference d = {.mean = fc_mean_of(x, n), .p = NAN};
    const fc_mean *m = &d.mean;
    if (m->n > 1 && m->sd > 0)
        d.p = fc_student_tails(m->mean / (m->sd / sqrt(m->n)), m->n - 1);
    return d;
}

fc_status fc_compare(fc_comparison *out, const fc_result_group *group, int n_groups,
                     const fc_metric *const *metric, int n_metrics, int baseline, fc_arena *arena,
                     fc_error *err)
{
    size_t cells = (size_t)n_groups * (size_t)n_metrics, most = 1;
    for (int g = 0; g < n_groups; g++)
        most = (size_t)group[g].n > most ? (size_t)group[g].n : most;
    *out = (fc_comparison){.n_groups = n_groups,
                           .n_metrics = n_metrics,
                           .group = group,
                           .metric = metric,
                           .baseline = baseline};
    out->value = fc_arena_alloc(arena, cells, sizeof *out->value, err);
    out->difference = fc_arena_alloc(arena, cells, sizeof *out->difference, err);
    double *x = fc_arena_alloc(arena, most, sizeof *x, err);
    if (!out->value || !out->difference || !x)
        return FC_EFAIL;
    for (int g = 0; g < n_groups; g++)
        for (int k = 0; k < n_metrics; k++) {
            const fc_result_group *of = &group[g];
            size_t cell = (size_t)g * (size_t)n_metrics + (size_t)k;
            for (int i = 0; i < of->n; i++)
                x[i] = fc_metric_final(metric[k], of->run[i]);
            out->value[cell] = fc_mean_of(x, of->n);
            for (int i = 0; i < of->n; i++)
                x[i] -= baseline_value(&group[baseline], metric[k], of->run[i]);
            out->difference[cell] = difference_of(x, of->n);
        }
    return FC_OK;
}

fc_status fc_compare_find(int *out, const fc_result_group *group, int n_groups, const char *label,
                          fc_error *err)
{
    char all[600] = "";
    size_t used = 0;
    for (int g = 0; g < n_groups; g++) {
        if (strcmp(group[g].label, label) == 0) {
            *out = g;
            return FC_OK;
        }
        if (used < sizeof all)
            used += (size_t)snprintf(all + used, sizeof all - used, "%s'%s'", g ? ", " : "",
                                     group[g].label);
    }
    return fc_fail(err, FC_EUSAGE, "no group of runs is called '%.200s', expected one of %s", label,
                   all);
}

/* --- tables ------------------------------------------------------------------------------------
 */

static const fc_mean *value_at(const fc_comparison *c, int g, int k)
{
    return &c->value[(size_t)g * (size_t)c->n_metrics + (size_t)k];
}

static const fc_difference *difference_at(const fc_comparison *c, int g, int k)
{
    return &c->difference[(size_t)g * (size_t)c->n_metrics + (size_t)k];
}

static const char *interval_text(const fc_mean *s, const fc_metric *m, fc_arena *arena,
                                 fc_error *err)
{
    return fc_arena_format(arena, err, "[%.*f, %.*f]", m->decimals, (s->mean - s->ci95) / m->unit,
                           m->decimals, (s->mean + s->ci95) / m->unit);
}

/* No group has a better mean of metric k than g, and one has a worse. */
static bool is_best(const fc_comparison *c, int g, int k)
{
    bool worse = false;
    for (int other = 0; other < c->n_groups; other++) {
        double lead = value_at(c, g, k)->mean - value_at(c, other, k)->mean;
        if (c->metric[k]->better * lead < 0)
            return false;
        worse = worse || c->metric[k]->better * lead > 0;
    }
    return worse;
}

fc_status fc_compare_table(fc_table *out, const fc_comparison *c, fc_arena *arena, fc_error *err)
{
    enum { LABEL, RUNS, FIRST };
    char text[FC_SPREAD_TEXT_MAX];
    FC_TRY(fc_table_init(out, c->n_groups, FIRST + c->n_metrics, 1, arena, err));
    out->head[LABEL] = "runs";
    out->head[RUNS] = "n";
    for (int k = 0; k < c->n_metrics; k++)
        out->head[FIRST + k] = c->metric[k]->title;
    for (int g = 0; g < c->n_groups; g++) {
        fc_cell *cell = out->cell + (size_t)g * (size_t)out->columns;
        int finished = 0;
        for (int i = 0; i < c->group[g].n; i++)
            finished += c->group[g].run[i]->acc.done == c->group[g].run[i]->acc.tasks;
        cell[LABEL].text = c->group[g].label;
        cell[RUNS].text = finished == c->group[g].n
                              ? fc_arena_format(arena, err, "%d", finished)
                              : fc_arena_format(arena, err, "%d of %d", finished, c->group[g].n);
        if (!cell[RUNS].text)
            return FC_EFAIL;
        for (int k = 0; k < c->n_metrics; k++) {
            const fc_mean *s = value_at(c, g, k);
            const fc_metric *m = c->metric[k];
            fc_cell *to = &cell[FIRST + k];
            if (s->n == 0)
                continue;
            to->best = is_best(c, g, k);
            to->text = fc_arena_strdup(arena, fc_spread_text(text, s, m->unit, m->decimals), err);
            bool spread = s->n > 1 && s->sd > 0;
            to->note = spread ? interval_text(s, m, arena, err) : NULL;
            if (!to->text || (spread && !to->note))
                return FC_EFAIL;
        }
    }
    return FC_OK;
}

static fc_status difference_cell(fc_cell *to, const fc_difference *d, const fc_metric *m,
                                 fc_arena *arena, fc_error *err)
{
    const fc_mean *s = &d->mean;
    if (s->n == 0)
        return FC_OK;
    to->text = fc_arena_format(arena, err, "%+.*f", m->decimals, s->mean / m->unit);
    if (!to->text)
        return FC_EFAIL;
    if (isnan(d->p))
        return FC_OK;
    const char *range = interval_text(s, m, arena, err);
    to->note = !range          ? NULL
               : d->p < 0.0005 ? fc_arena_format(arena, err, "%s\np < 0.001", range)
                               : fc_arena_format(arena, err, "%s\np = %.3f", range, d->p);
    return to->note ? FC_OK : FC_EFAIL;
}

fc_status fc_compare_differences(fc_table *out, const fc_comparison *c, fc_arena *arena,
                                 fc_error *err)
{
    enum { LABEL, PAIRS, FIRST };
    FC_TRY(fc_table_init(out, c->n_groups - 1, FIRST + c->n_metrics, 1, arena, err));
    out->head[LABEL] = fc_arena_format(arena, err, "minus %s", c->group[c->baseline].label);
    out->head[PAIRS] = "pairs";
    if (!out->head[LABEL])
        return FC_EFAIL;
    for (int k = 0; k < c->n_metrics; k++)
        out->head[FIRST + k] = c->metric[k]->title;
    for (int g = 0, row = 0; g < c->n_groups; g++) {
        if (g == c->baseline)
            continue;
        fc_cell *cell = out->cell + (size_t)row++ * (size_t)out->columns;
        int pairs = 0;
        for (int k = 0; k < c->n_metrics; k++) {
            const fc_difference *d = difference_at(c, g, k);
            pairs = d->mean.n > pairs ? d->mean.n : pairs;
            FC_TRY(difference_cell(&cell[FIRST + k], d, c->metric[k], arena, err));
        }
        cell[LABEL].text = c->group[g].label;
        cell[PAIRS].text = fc_arena_format(arena, err, "%d", pairs);
        if (!cell[PAIRS].text)
            return FC_EFAIL;
    }
    return FC_OK;
}

enum {
    GROUP,
    METRIC,
    N,
    MEAN,
    SD,
    LOW,
    HIGH,
    BASELINE, /* this and the next ones: against the baseline */
    PAIRS,
    DIFFERENCE,
    DIFFERENCE_LOW,
    DIFFERENCE_HIGH,
    P,
    NUMBERS
};

/* The cells of metric k of group g. */
static fc_status number_row(fc_cell *cell, const fc_comparison *c, int g, int k, fc_arena *arena,
                            fc_error *err)
{
    const fc_mean *s = value_at(c, g, k), *d = &difference_at(c, g, k)->mean;
    const bool alone = g == c->baseline; /* there is no difference to itself */
    const double number[NUMBERS] = {[GROUP] = NAN,
                                    [METRIC] = NAN,
                                    [N] = s->n,
                                    [MEAN] = s->mean,
                                    [SD] = s->sd,
                                    [LOW] = s->mean - s->ci95,
                                    [HIGH] = s->mean + s->ci95,
                                    [BASELINE] = NAN,
                                    [PAIRS] = d->n,
                                    [DIFFERENCE] = d->mean,
                                    [DIFFERENCE_LOW] = d->mean - d->ci95,
                                    [DIFFERENCE_HIGH] = d->mean + d->ci95,
                                    [P] = difference_at(c, g, k)->p};
    cell[GROUP].text = c->group[g].label;
    cell[METRIC].text = c->metric[k]->name;
    if (!alone)
        cell[BASELINE].text = c->group[c->baseline].label;
    for (int i = 0; i < (alone ? BASELINE : NUMBERS); i++)
        if (!cell[i].text)
            FC_TRY(fc_table_number(&cell[i], number[i], arena, err));
    return FC_OK;
}

fc_status fc_compare_numbers(fc_table *out, const fc_comparison *c, fc_arena *arena, fc_error *err)
{
    static const char *const head[NUMBERS] = {[GROUP] = "group",
                                              [METRIC] = "metric",
                                              [N] = "n",
                                              [MEAN] = "mean",
                                              [SD] = "sd",
                                              [LOW] = "ci95_low",
                                              [HIGH] = "ci95_high",
                                              [BASELINE] = "baseline",
                                              [PAIRS] = "pairs",
                                              [DIFFERENCE] = "difference",
                                              [DIFFERENCE_LOW] = "difference_ci95_low",
                                              [DIFFERENCE_HIGH] = "difference_ci95_high",
                                              [P] = "p"};
    FC_TRY(fc_table_init(out, c->n_groups * c->n_metrics, NUMBERS, 2, arena, err));
    memcpy(out->head, head, sizeof head);
    fc_cell *cell = out->cell;
    for (int g = 0; g < c->n_groups; g++)
        for (int k = 0; k < c->n_metrics; k++, cell += NUMBERS)
            FC_TRY(number_row(cell, c, g, k, arena, err));
    return FC_OK;
}
