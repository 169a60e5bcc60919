#include "sim/report/curves.h"

#include "sim/record/runlog.h"
#include "sim/report/metric.h"

#include <math.h>
#include <string.h>

char fc_curve_letter(int i)
{
    return i < 26 ? (char)('A' + i) : i < 52 ? (char)('a' + i - 26) : '?';
}

/* --- points of a run ---------------------------------------------------------------------------
 */

typedef struct points {
    int n;
    double *x, *y;
} points;

/* x of row `row` of rounds.csv: a number of tests, bytes or seconds. */
static double x_of_row(const fc_result *r, size_t row, fc_curve_x x)
{
    const fc_csv *csv = &r->rounds;
    int rounds = r->config.fed.rounds;
    switch (x) {
    case FC_X_BYTES:
        return fc_csv_number(csv, row, fc_csv_column(csv, FC_ROUND_COLUMN(bytes_up_cum))) +
               fc_csv_number(csv, row, fc_csv_column(csv, FC_ROUND_COLUMN(bytes_down_cum)));
    case FC_X_TIME:
        return fc_csv_number(csv, row, fc_csv_column(csv, FC_ROUND_COLUMN(wall_s)));
    case FC_X_TASKS:
    case FC_X_ROUNDS:
        break;
    }
    double task = fc_csv_number(csv, row, fc_csv_column(csv, FC_ROUND_COLUMN(task)));
    double round = fc_csv_number(csv, row, fc_csv_column(csv, FC_ROUND_COLUMN(round)));
    return (task - 1) * rounds + fmin(round, rounds);
}

static void add_curve_point(points *p, double x, double y)
{
    if (isnan(x) || isnan(y))
        return;
    p->x[p->n] = x;
    p->y[p->n++] = y;
}

/* Each test of rounds.csv; of two at the same place (last round and end of a task) the later. */
static void points_of_rounds(points *p, const fc_result *r, const fc_curve_options *o)
{
    int column = fc_csv_column(&r->rounds, o->task_mean ? FC_ROUND_COLUMN(acc_task_mean)
                                                        : FC_ROUND_COLUMN(acc));
    for (size_t row = 0; row < r->rounds.rows; row++) {
        double x = x_of_row(r, row, o->x), y = fc_csv_number(&r->rounds, row, column);
        if (p->n > 0 && !isnan(y) && p->x[p->n - 1] == x)
            p->n--;
        add_curve_point(p, x, y);
    }
}

/* Each finished task; its last row in rounds.csv says when. */
static void points_of_tasks(points *p, const fc_result *r, const fc_curve_options *o)
{
    int column = fc_csv_column(&r->rounds, FC_ROUND_COLUMN(task));
    size_t row = 0;
    for (int t = 0; t < r->acc.done; t++) {
        while (row + 1 < r->rounds.rows && fc_csv_number(&r->rounds, row + 1, column) <= t + 1)
            row++;
        add_curve_point(p, o->x == FC_X_TASKS ? t + 1 : x_of_row(r, row, o->x),
                        o->task_mean ? fc_acc_task_mean(&r->acc, t) : fc_acc_micro(&r->acc, t));
    }
}

static fc_status points_of(points *p, const fc_result *r, const fc_curve_options *o,
                           fc_arena *arena, fc_error *err)
{
    size_t most = r->rounds.rows + (size_t)r->acc.done;
    *p = (points){.x = fc_arena_alloc(arena, most, sizeof(double), err),
                  .y = fc_arena_alloc(arena, most, sizeof(double), err)};
    if (!p->x || !p->y)
        return FC_EFAIL;
    bool by_round = o->x == FC_X_ROUNDS || (o->x != FC_X_TASKS && r->acc.tasks == 1);
    by_round ? points_of_rounds(p, r, o) : points_of_tasks(p, r, o);
    return FC_OK;
}

/* --- a line ------------------------------------------------------------------------------------
 */

static fc_status label_of_line(const char **out, const fc_mean *last, const fc_result_group *g,
                               int i, int n_groups, const fc_curve_options *o, fc_arena *arena,
                               fc_error *err)
{
    int done = INT32_MAX, tasks = 0;
    for (int k = 0; k < g->n; k++) {
        done = g->run[k]->acc.done > 0 && g->run[k]->acc.done < done ? g->run[k]->acc.done : done;
        tasks = g->run[k]->acc.tasks > tasks ? g->run[k]->acc.tasks : tasks;
    }
    if (o->short_label) {
        *out = n_groups > 1 ? fc_arena_format(arena, err, "%c %.1f", fc_curve_letter(i), last->mean)
                            : fc_arena_format(arena, err, "%.1f", last->mean);
        return *out ? FC_OK : FC_EFAIL;
    }
    char spread[FC_SPREAD_TEXT_MAX];
    const char *part = done < tasks ? fc_arena_format(arena, err, " (task %d)", done) : "";
    if (!part)
        return FC_EFAIL;
    *out =
        fc_arena_format(arena, err, "%s  %s%s", g->label, fc_spread_text(spread, last, 1, 1), part);
    return *out ? FC_OK : FC_EFAIL;
}

/* Point k of each run that has any: mean and deviation of y, mean of x. */
static fc_mean mean_at(double *x, const points *p, int n_runs, int k, double *scratch)
{
    int n = 0;
    for (int i = 0; i < n_runs; i++)
        if (p[i].n > 0)
            scratch[n++] = p[i].x[k];
    *x = fc_mean_of(scratch, n).mean;
    n = 0;
    for (int i = 0; i < n_runs; i++)
        if (p[i].n > 0)
            scratch[n++] = p[i].y[k];
    return fc_mean_of(scratch, n);
}

static fc_status line_of(fc_series *out, const fc_result_group *g, int i, int n_groups,
                         const fc_curve_options *o, double unit, fc_arena *arena, fc_error *err)
{
    points *p = fc_arena_alloc(arena, (size_t)g->n, sizeof *p, err);
    double *scratch = fc_arena_alloc(arena, (size_t)g->n, sizeof *scratch, err);
    if (!p || !scratch)
        return FC_EFAIL;
    int n = 0, runs = 0;
    for (int k = 0; k < g->n; k++) {
        FC_TRY(points_of(&p[k], g->run[k], o, arena, err));
        if (p[k].n > 0)
            n = runs++ == 0 || p[k].n < n ? p[k].n : n;
    }
    if (n == 0)
        return fc_fail(err, FC_EDATA, "%s: no task is finished yet", g->run[0]->dir);
    double *v[4];
    for (int k = 0; k < 4; k++)
        if (!(v[k] = fc_arena_alloc(arena, (size_t)n, sizeof(double), err)))
            return FC_EFAIL;
    fc_mean m = {0};
    for (int k = 0; k < n; k++) {
        m = mean_at(&v[0][k], p, g->n, k, scratch);
        v[0][k] /= unit;
        v[1][k] = m.mean;
        v[2][k] = runs > 1 ? fmax(m.mean - m.sd, 0) : m.mean;
        v[3][k] = runs > 1 ? fmin(m.mean + m.sd, 100) : m.mean;
    }
    *out = (fc_series){.n = n,
                       .x = v[0],
                       .y = v[1],
                       .low = runs > 1 ? v[2] : NULL,
                       .high = runs > 1 ? v[3] : NULL,
                       .dots = n <= 30};
    return label_of_line(&out->label, &m, g, i, n_groups, o, arena, err);
}

/* --- the plot ----------------------------------------------------------------------------------
 */

/* Bytes and seconds in a unit that makes readable numbers of the largest. */
static double unit_of(const char **title, const fc_result_group *group, int n, fc_curve_x x)
{
    static const struct {
        fc_curve_x x;
        double from, unit;
        const char *title;
    } units[] = {{FC_X_BYTES, 2e9, 1e9, "Sent and received (GB)"},
                 {FC_X_BYTES, 0, 1e6, "Sent and received (MB)"},
                 {FC_X_TIME, 7200, 3600, "Time (h)"},
                 {FC_X_TIME, 300, 60, "Time (min)"},
                 {FC_X_TIME, 0, 1, "Time (s)"},
                 {FC_X_ROUNDS, 0, 1, "Rounds"},
                 {FC_X_TASKS, 0, 1, "Tasks learned"}};
    double most = 0;
    for (int g = 0; g < n; g++)
        for (int i = 0; i < group[g].n; i++)
            if (group[g].run[i]->rounds.rows > 0)
                most = fmax(most, x_of_row(group[g].run[i], group[g].run[i]->rounds.rows - 1, x));
    int u = 0;
    while (units[u].x != x || most < units[u].from)
        u++;
    *title = units[u].title;
    return units[u].unit;
}

fc_status fc_curves(fc_plot *out, const fc_result_group *group, int n, const fc_curve_options *o,
                    fc_arena *arena, fc_error *err)
{
    fc_series *line = fc_arena_alloc(arena, (size_t)n, sizeof *line, err);
    if (!line)
        return FC_EFAIL;
    double unit = unit_of(&out->x_title, group, n, o->x);
    for (int i = 0; i < n; i++)
        FC_TRY(line_of(&line[i], &group[i], i, n, o, unit, arena, err));
    out->n = n;
    out->series = line;
    out->percent = true;
    out->whole_x = o->x == FC_X_TASKS || o->x == FC_X_ROUNDS;
    out->y_title = o->task_mean ? "Mean accuracy of the tasks seen so far (%)"
                                : "Accuracy on all classes seen so far (%)";
    return FC_OK;
}
