#include "sim/report/report_clients.h"

#include "core/base/select.h"
#include "sim/io/outfile.h"
#include "sim/record/runlog.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* x (n) sorted, n > 0. */
static double quantile(const double *x, size_t n, double q)
{
    double at = q * (double)(n - 1);
    size_t i = (size_t)at;
    return i + 1 < n ? x[i] + (at - (double)i) * (x[i + 1] - x[i]) : x[n - 1];
}

/* --- losses and fates --------------------------------------------------------------------------
 */

enum { STATUSES_MAX = 8, STATUS_LENGTH = 24 };

/* A line of the plot while it grows; room for as many points as there can be rounds. */
typedef struct line {
    double *x, *y, *low, *high;
    int n;
} line;

typedef struct gather {
    const fc_result *r;
    int lines;   /* one for each client, or a single one */
    bool each;   /* client by client */
    int room;    /* points of a line */
    line *line;  /* (lines) */
    double *now; /* (n_now) losses of the present round, malloc'ed */
    size_t n_now, room_now;
    double x_now;
    bool out_of_memory;
    char status[STATUSES_MAX][STATUS_LENGTH];
    long count[STATUSES_MAX], total;
} gather;

static void add_point(line *l, int room, double x, double y, double low, double high)
{
    if (l->n == room)
        return; /* rows of a round that rounds.csv does not have yet */
    l->x[l->n] = x;
    l->y[l->n] = y;
    l->low[l->n] = low;
    l->high[l->n++] = high;
}

/* The round is over: its losses become a point. */
static void end_round(gather *g)
{
    if (g->n_now == 0)
        return;
    qsort(g->now, g->n_now, sizeof *g->now, fc_ascending);
    add_point(&g->line[0], g->room, g->x_now, quantile(g->now, g->n_now, 0.5),
              quantile(g->now, g->n_now, 0.1), quantile(g->now, g->n_now, 0.9));
    g->n_now = 0;
}

static void keep_loss(gather *g, double x, double loss)
{
    if (x != g->x_now)
        end_round(g);
    g->x_now = x;
    if (g->n_now == g->room_now) {
        size_t room = g->room_now ? 2 * g->room_now : 256;
        double *now = realloc(g->now, room * sizeof *now);
        if (!now) {
            g->out_of_memory = true;
            return;
        }
        g->now = now;
        g->room_now = room;
    }
    g->now[g->n_now++] = loss;
}

static void count_status(gather *g, const char *status)
{
    int i = 0;
    while (i < STATUSES_MAX - 1 && g->count[i] > 0 && strcmp(g->status[i], status) != 0)
        i++;
    if (g->count[i] == 0)
        snprintf(g->status[i], STATUS_LENGTH, "%s", status);
    g->count[i]++;
    g->total++;
}

enum { TASK, ROUND, CLIENT, STATUS, LOSS, COLUMNS };
static const char *const client_columns[COLUMNS] = {[TASK] = FC_CLIENT_COLUMN(task),
                                                    [ROUND] = FC_CLIENT_COLUMN(round),
                                                    [CLIENT] = FC_CLIENT_COLUMN(client),
                                                    [STATUS] = FC_CLIENT_COLUMN(status),
                                                    [LOSS] = FC_CLIENT_COLUMN(loss_last)};

static void visit_client(void *ctx, const char *const *cell)
{
    gather *g = ctx;
    count_status(g, cell[STATUS]);
    char *end;
    double loss = strtod(cell[LOSS], &end);
    if (end == cell[LOSS] || !isfinite(loss))
        return;
    int rounds = g->r->config.fed.rounds;
    double x = (strtod(cell[TASK], NULL) - 1) * rounds + fmin(strtod(cell[ROUND], NULL), rounds);
    long client = strtol(cell[CLIENT], NULL, 10);
    if (!g->each)
        keep_loss(g, x, loss);
    else if (client >= 0 && client < g->lines)
        add_point(&g->line[client], g->room, x, loss, loss, loss);
}

static fc_status gather_init(gather *g, const fc_result *r, fc_arena *arena, fc_error *err)
{
    bool each = r->config.fed.clients <= FC_PLOT_COLOURS;
    *g = (gather){.r = r,
                  .each = each,
                  .lines = each ? r->config.fed.clients : 1,
                  .room = (int)r->rounds.rows + 1};
    g->line = fc_arena_alloc(arena, (size_t)g->lines, sizeof *g->line, err);
    for (int i = 0; g->line && i < g->lines; i++) {
        double **part[] = {&g->line[i].x, &g->line[i].y, &g->line[i].low, &g->line[i].high};
        for (int k = 0; k < 4; k++)
            if (!(*part[k] = fc_arena_alloc(arena, (size_t)g->room, sizeof(double), err)))
                return FC_EFAIL;
    }
    return g->line ? FC_OK : FC_EFAIL;
}

/* Without clients.csv: the mean over clients. */
static void losses_of_rounds(gather *g)
{
    const fc_csv *csv = &g->r->rounds;
    int column = fc_csv_column(csv, FC_ROUND_COLUMN(train_loss));
    g->each = false;
    g->lines = 1;
    for (size_t i = 0; i < csv->rows; i++) {
        double loss = fc_csv_number(csv, i, column);
        double task = fc_csv_number(csv, i, fc_csv_column(csv, FC_ROUND_COLUMN(task)));
        double round = fc_csv_number(csv, i, fc_csv_column(csv, FC_ROUND_COLUMN(round)));
        if (!isnan(loss))
            add_point(&g->line[0], g->room, (task - 1) * g->r->config.fed.rounds + round, loss,
                      loss, loss);
    }
}

static fc_status plot_losses(fc_figure *out, const gather *g, bool by_client, fc_arena *arena,
                             fc_error *err)
{
    fc_series *s = fc_arena_alloc(arena, (size_t)g->lines, sizeof *s, err);
    if (!s)
        return FC_EFAIL;
    *out =
        (fc_figure){.title = "Loss of the clients",
                    .caption = !by_client ? "Mean training loss of the clients in each round."
                               : g->each ? "Loss of each client at the end of its training in each "
                                           "round; the numbers are clients."
                                         : "Loss of the clients at the end of their training in "
                                           "each round: median, and band from the 10 % to the 90 % "
                                           "quantile.",
                    .plot = {.x_title = "Round", .y_title = "Loss", .whole_x = true}};
    for (int i = 0; i < g->lines; i++) {
        const line *l = &g->line[i];
        bool band = by_client && !g->each;
        s[i] = (fc_series){.n = l->n,
                           .x = l->x,
                           .y = l->y,
                           .low = band ? l->low : NULL,
                           .high = band ? l->high : NULL,
                           .dots = l->n <= 30};
        if (g->each && !(s[i].label = fc_arena_format(arena, err, "%d", i)))
            return FC_EFAIL;
        if (l->n > 0)
            out->plot.n = g->lines;
    }
    out->plot.series = s;
    return FC_OK;
}

static fc_status list_fates(fc_table *out, const gather *g, fc_arena *arena, fc_error *err)
{
    int n = 0;
    while (n < STATUSES_MAX && g->count[n] > 0)
        n++;
    if (n == 0 || (n == 1 && strcmp(g->status[0], "ok") == 0))
        return FC_OK;
    FC_TRY(fc_table_init(out, n, 3, 1, arena, err));
    out->caption = "What became of the updates of clients, over all rounds";
    out->head[0] = "status";
    out->head[1] = "clients";
    out->head[2] = "share (%)";
    for (int i = 0; i < n; i++) {
        fc_cell *cell = out->cell + 3 * i;
        cell[0].text = fc_arena_strdup(arena, g->status[i], err);
        cell[1].text = fc_arena_format(arena, err, "%ld", g->count[i]);
        cell[2].text =
            fc_arena_format(arena, err, "%.1f", 100.0 * (double)g->count[i] / (double)g->total);
        if (!cell[0].text || !cell[1].text || !cell[2].text)
            return FC_EFAIL;
    }
    return FC_OK;
}

fc_status fc_report_clients(fc_figure *losses, fc_table *fates, const fc_result *r, fc_arena *arena,
                            fc_error *err)
{
    char path[FC_PATH_MAX];
    gather g;
    bool by_client = fc_out_find(path, r->dir, "clients.csv");
    *fates = (fc_table){0};
    FC_TRY(gather_init(&g, r, arena, err));
    fc_status s = FC_OK;
    if (by_client) {
        s = fc_csv_each(path, client_columns, COLUMNS, visit_client, &g, err);
        end_round(&g);
    } else {
        losses_of_rounds(&g);
    }
    free(g.now);
    if (g.out_of_memory)
        return fc_fail(err, FC_EFAIL, "%s: out of memory", path);
    if (s == FC_OK)
        s = plot_losses(losses, &g, by_client, arena, err);
    return s == FC_OK ? list_fates(fates, &g, arena, err) : s;
}
