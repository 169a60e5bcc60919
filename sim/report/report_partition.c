/* Who holds what, from partition.csv: a Hinton diagram (clients x classes) and the spread over
 * clients. Two passes: which classes there are, then the counts. */
#include "sim/io/outfile.h"
#include "sim/report/report_clients.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CLASSES_MAX = 1 << 20, CELLS_MAX = 50 * 1000 * 1000, TABLE_TASKS = 20, CELL = 20 };

typedef struct held {
    int clients, tasks, classes;
    int *task_of;       /* (classes) from 1; 0: no samples */
    int *column_of;     /* (classes) */
    int columns, *task; /* (columns) */
    int rows;           /* clients that are drawn */
    int *count;         /* (rows, columns) */
    int *total;         /* (tasks, clients) samples */
    int *n_classes;     /* (tasks, clients) */
    unsigned char *has; /* (clients, classes) */
} held;

enum { TASK, CLASS, CLIENT, COLUMNS };
static const char *const columns[COLUMNS] = {
    [TASK] = "task", [CLASS] = "class", [CLIENT] = "client"};

/* Numbers of a row; false if it is not what a run writes. */
static bool row_numbers(int *task, int *class, int *client, const held *h, const char *const *cell)
{
    *task = (int)strtol(cell[TASK], NULL, 10);
    *class = *cell[CLASS] ? (int)strtol(cell[CLASS], NULL, 10) : -1;
    *client = *cell[CLIENT] ? (int)strtol(cell[CLIENT], NULL, 10) : -1;
    return *task >= 1 && *task <= h->tasks && *class >= 0 && *class < CLASSES_MAX && *client >= 0 &&
           *client < h->clients;
}

static void see_class(void *ctx, const char *const *cell)
{
    held *h = ctx;
    int task, class, client;
    if (!row_numbers(&task, &class, &client, h, cell))
        return;
    h->task_of[class] = task;
    if (class >= h->classes)
        h->classes = class + 1;
}

/* The client of row i; rows are spread evenly over the clients. */
static int client_of(const held *h, int row)
{
    return (int)((long)row * h->clients / h->rows);
}

static void count_sample(void *ctx, const char *const *cell)
{
    held *h = ctx;
    int task, class, client;
    if (!row_numbers(&task, &class, &client, h, cell) || class >= h->classes)
        return; /* a file that grew between the passes is not a run's */
    size_t place = (size_t)(task - 1) * (size_t)h->clients + (size_t)client;
    unsigned char *has = &h->has[(size_t)client * (size_t)h->classes + (size_t) class];
    h->total[place]++;
    h->n_classes[place] += !*has;
    *has = 1;
    int row = (int)(((long)client * h->rows + h->clients - 1) / h->clients);
    if (row < h->rows && client_of(h, row) == client)
        h->count[(size_t)row * (size_t)h->columns + (size_t)h->column_of[class]]++;
}

/* Columns in the order of learning; several classes of a task share one where there are many. */
static void assign_columns(held *h)
{
    int seen = 0, in_column = 0;
    for (int c = 0; c < h->classes; c++)
        seen += h->task_of[c] > 0;
    int per = (seen + FC_REPORT_COLUMNS - 1) / FC_REPORT_COLUMNS;
    for (int t = 1; t <= h->tasks; t++) {
        in_column = per;
        for (int c = 0; c < h->classes; c++) {
            if (h->task_of[c] != t)
                continue;
            if (in_column == per) {
                h->task[h->columns++] = t;
                in_column = 0;
            }
            h->column_of[c] = h->columns - 1;
            in_column++;
        }
    }
}

static fc_status count_all(held *h, const char *path, const fc_result *r, fc_arena *arena,
                           fc_error *err)
{
    *h = (held){.clients = r->config.fed.clients, .tasks = r->acc.tasks};
    h->task_of = fc_arena_alloc(arena, CLASSES_MAX, sizeof(int), err);
    if (!h->task_of)
        return FC_EFAIL;
    FC_TRY(fc_csv_each(path, columns, COLUMNS, see_class, h, err));
    size_t clients = (size_t)h->clients, classes = (size_t)h->classes, tasks = (size_t)h->tasks;
    if (clients * (classes > tasks ? classes : tasks) > CELLS_MAX) {
        h->classes = 0; /* nothing is shown */
        return FC_OK;
    }
    h->rows = h->clients < FC_REPORT_CLIENTS ? h->clients : FC_REPORT_CLIENTS;
    h->column_of = fc_arena_alloc(arena, classes, sizeof(int), err);
    h->task = fc_arena_alloc(arena, classes, sizeof(int), err);
    h->total = fc_arena_alloc(arena, tasks * clients, sizeof(int), err);
    h->n_classes = fc_arena_alloc(arena, tasks * clients, sizeof(int), err);
    h->has = fc_arena_alloc(arena, clients * classes, 1, err);
    if (!h->column_of || !h->task || !h->total || !h->n_classes || !h->has)
        return FC_EFAIL;
    assign_columns(h);
    h->count = fc_arena_alloc(arena, (size_t)h->rows * (size_t)h->columns, sizeof(int), err);
    return h->count ? fc_csv_each(path, columns, COLUMNS, count_sample, h, err) : FC_EFAIL;
}

/* --- the drawing -------------------------------------------------------------------------------
 */

/* Squares of one task, as one path. */
static void put_squares(FILE *f, const held *h, int task, int most)
{
    fprintf(f, "<path fill=\"var(--l%d)\" d=\"", task % 2 ? 0 : 1);
    for (int c = 0; c < h->columns; c++)
        for (int k = 0; k < h->rows && h->task[c] == task; k++) {
            int n = h->count[(size_t)k * (size_t)h->columns + (size_t)c];
            if (n == 0)
                continue;
            int side = (int)(CELL * sqrt((double)n / most) + 0.5);
            side = side < 2 ? 2 : side;
            fprintf(f, "M%d %dh%dv%dh-%dz", c * CELL + (CELL - side) / 2,
                    k * CELL + (CELL - side) / 2, side, side, side);
        }
    fputs("\"/>\n", f);
}

static void put_hinton_diagram(FILE *f, const held *h, const char *caption)
{
    int most = 1, size = h->columns > 2 * h->rows ? h->columns : 2 * h->rows;
    for (size_t i = 0; i < (size_t)h->rows * (size_t)h->columns; i++)
        most = h->count[i] > most ? h->count[i] : most;
    int pixels = 1000 / size < 6 ? 6 : 1000 / size > 24 ? 24 : 1000 / size;
    fprintf(f,
            "<figure>\n<svg role=\"img\" xmlns=\"http://www.w3.org/2000/svg\" "
            "viewBox=\"0 0 %d %d\" style=\"max-width:%dpx\">\n<title>Partition</title>\n<desc>",
            h->columns * CELL, h->rows * CELL, h->columns * pixels);
    fc_html_text(f, caption);
    fputs("</desc>\n<path fill=\"var(--panel)\" d=\"", f);
    fprintf(f, "M0 0h%dv%dh-%dz\"/>\n", h->columns * CELL, h->rows * CELL, h->columns * CELL);
    for (int t = 1; t <= h->tasks; t++)
        put_squares(f, h, t, most);
    fputs("</svg>\n<figcaption>", f);
    fc_html_text(f, caption);
    fputs("</figcaption>\n</figure>\n", f);
}

/* --- the table ---------------------------------------------------------------------------------
 */

static int ascending(const void *x, const void *y)
{
    int a = *(const int *)x, b = *(const int *)y;
    return (a > b) - (a < b);
}

enum { T_TASK, T_CLASSES, T_SAMPLES, T_SMALLEST, T_MEDIAN, T_LARGEST, T_MEAN_CLASSES, T_COLUMNS };
static fc_status task_row(fc_cell *cell, const held *h, int t, int *sorted, fc_arena *arena,
                          fc_error *err)
{
    const int *total = h->total + (size_t)t * (size_t)h->clients;
    long samples = 0, classes_of_clients = 0;
    int classes = 0, n = h->clients;
    for (int c = 0; c < h->classes; c++)
        classes += h->task_of[c] == t + 1;
    for (int k = 0; k < n; k++) {
        samples += total[k];
        classes_of_clients += h->n_classes[(size_t)t * (size_t)n + (size_t)k];
    }
    memcpy(sorted, total, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, ascending);
    cell[T_TASK].text = fc_arena_format(arena, err, "%d", t + 1);
    cell[T_CLASSES].text = fc_arena_format(arena, err, "%d", classes);
    cell[T_SAMPLES].text = fc_arena_format(arena, err, "%ld", samples);
    cell[T_SMALLEST].text = fc_arena_format(arena, err, "%d", sorted[0]);
    cell[T_MEDIAN].text =
        fc_arena_format(arena, err, "%g", 0.5 * (sorted[(n - 1) / 2] + sorted[n / 2]));
    cell[T_LARGEST].text = fc_arena_format(arena, err, "%d", sorted[n - 1]);
    cell[T_MEAN_CLASSES].text = fc_arena_format(arena, err, "%.1f", (double)classes_of_clients / n);
    for (int i = 0; i < T_COLUMNS; i++)
        if (!cell[i].text)
            return FC_EFAIL;
    return FC_OK;
}

static fc_status put_spread_table(FILE *f, const held *h, fc_arena *arena, fc_error *err)
{
    static const char *const head[T_COLUMNS] = {[T_TASK] = "task",
                                                [T_CLASSES] = "classes",
                                                [T_SAMPLES] = "samples",
                                                [T_SMALLEST] = "smallest client",
                                                [T_MEDIAN] = "median",
                                                [T_LARGEST] = "largest",
                                                [T_MEAN_CLASSES] = "mean classes"};
    fc_table t;
    int rows = h->tasks < TABLE_TASKS ? h->tasks : TABLE_TASKS;
    int *sorted = fc_arena_alloc(arena, (size_t)h->clients, sizeof *sorted, err);
    FC_TRY(fc_table_init(&t, rows, T_COLUMNS, 0, arena, err));
    if (!sorted)
        return FC_EFAIL;
    t.caption = rows < h->tasks ? "Samples and classes per client, in the first 20 tasks"
                                : "Samples and classes per client, task by task";
    memcpy(t.head, head, sizeof head);
    for (int i = 0; i < rows; i++)
        FC_TRY(task_row(t.cell + (size_t)i * T_COLUMNS, h, i, sorted, arena, err));
    fc_page_table(f, &t);
    return FC_OK;
}

fc_status fc_report_partition(FILE *f, const fc_result *r, fc_arena *arena, fc_error *err)
{
    char path[FC_PATH_MAX];
    held h;
    if (!fc_out_find(path, r->dir, "partition.csv"))
        return FC_OK;
    FC_TRY(count_all(&h, path, r, arena, err));
    if (h.columns == 0)
        return FC_OK;
    const char *caption = fc_arena_format(
        arena, err,
        "Rows: %s%d client%s; columns: classes in the order in which they are learnt, the colour "
        "changes with each task. The area of a square is the number of samples.",
        h.rows < h.clients ? fc_arena_format(arena, err, "%d of ", h.rows) : "", h.clients,
        h.clients == 1 ? "" : "s");
    if (!caption)
        return FC_EFAIL;
    fputs("<h2>Who holds what</h2>\n", f);
    put_hinton_diagram(f, &h, caption);
    return put_spread_table(f, &h, arena, err);
}
