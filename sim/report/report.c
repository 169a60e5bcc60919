/* The page of one run. Every section works on what is there: a run that goes on, was stopped,
 * killed or failed has less of it. */
#include "sim/report/report.h"

#include "core/base/file.h"
#include "sim/draw/page.h"
#include "sim/io/outfile.h"
#include "sim/io/progress.h"
#include "sim/io/text.h"
#include "sim/record/runlog.h"
#include "sim/report/curves.h"
#include "sim/report/report_clients.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { REFRESH_S = 10, MATRIX_MAX = 60, MATRIX_SMALL = 14, FIGURES_MAX = 8 };

typedef struct page {
    FILE *f;
    fc_result run;
    bool live; /* a process is writing this run */
    fc_figure figure[FIGURES_MAX];
    int n_figures;
    fc_arena *arena; /* of run */
} page;

/* --- head --------------------------------------------------------------------------------------
 */

static void put_html(page *p, const char *before, const char *text, const char *after)
{
    fputs(before, p->f);
    fc_html_text(p->f, text);
    fputs(after, p->f);
}

/* "task 3 of 10, round 2 of 5": the last row of rounds.csv. */
static void put_position(page *p)
{
    int rounds = p->run.config.fed.rounds;
    double task = fc_csv_last(&p->run.rounds, FC_ROUND_COLUMN(task)),
           round = fc_csv_last(&p->run.rounds, FC_ROUND_COLUMN(round));
    if (isnan(task) || isnan(round)) {
        fputs("<p>No round is finished yet.</p>\n", p->f);
        return;
    }
    double part = (task - 1 + fmin(round, rounds) / rounds) / p->run.acc.tasks;
    fprintf(p->f, "<p>Task %.0f of %d, round %.0f of %d.</p>\n", task, p->run.acc.tasks,
            fmin(round, rounds), rounds);
    fprintf(
        p->f,
        "<p><progress aria-label=\"Progress\" max=\"1\" value=\"%.4f\">%.0f %%</progress></p>\n",
        part, 100 * part);
}

static void put_state(page *p)
{
    static const char *const word[] = {[FC_RESULT_OPEN] = "unfinished",
                                       [FC_RESULT_DONE] = "done",
                                       [FC_RESULT_FAILED] = "failed",
                                       [FC_RESULT_STOPPED] = "stopped"};
    char now[32] = "";
    time_t seconds = time(NULL);
    struct tm utc;
    if (gmtime_r(&seconds, &utc))
        strftime(now, sizeof now, "%Y-%m-%d %H:%M:%S", &utc);
    const char *colour = p->run.state == FC_RESULT_DONE     ? " good"
                         : p->run.state == FC_RESULT_FAILED ? " bad"
                                                            : "";
    fprintf(p->f, "<p><span class=\"state%s\">%s</span> <span class=\"soft\">as of %s UTC",
            p->live ? " good" : colour, p->live ? "running" : word[p->run.state], now);
    if (p->live)
        fprintf(p->f, "; this page reloads itself every %d s", REFRESH_S);
    fputs("</span></p>\n", p->f);
    if (p->run.state == FC_RESULT_FAILED)
        put_html(p, "<p class=\"bad\">", p->run.why, "</p>\n");
    if (p->run.state == FC_RESULT_STOPPED)
        fputs("<p>Stopped with a checkpoint saved.</p>\n", p->f);
    if (p->run.state == FC_RESULT_OPEN && !p->live)
        fputs("<p>No process is writing this run: it was killed, or its machine went down.</p>\n",
              p->f);
    if (p->run.state != FC_RESULT_DONE)
        put_position(p);
}

static void put_head(page *p)
{
    const fc_config *c = &p->run.config;
    put_html(p, "<header>\n<h1>", c->run.name, "</h1>\n");
    put_html(p, "<p>", c->method_name, "");
    put_html(p, " on ", c->data.name, "");
    fprintf(p->f, ": %d task%s, %d client%s, %d round%s per task, seed %lld</p>\n",
            p->run.acc.tasks, p->run.acc.tasks == 1 ? "" : "s", c->fed.clients,
            c->fed.clients == 1 ? "" : "s", c->fed.rounds, c->fed.rounds == 1 ? "" : "s",
            (long long)c->run.seed);
    put_html(p, "<p class=\"soft\"><code>", p->run.dir, "</code></p>\n");
    put_state(p);
    fputs("</header>\n", p->f);
}

/* --- headline numbers --------------------------------------------------------------------------
 */

static void put_card(page *p, const char *title, const char *value, const char *unit)
{
    fprintf(p->f, "<div><dt>%s</dt><dd>%s <small>%s</small></dd></div>\n", title, value, unit);
}

static void put_number_card(page *p, const char *title, double x, const char *unit)
{
    char text[32];
    snprintf(text, sizeof text, "%.1f", x);
    if (!isnan(x))
        put_card(p, title, text, unit);
}

static void put_byte_card(page *p, const char *title, double bytes)
{
    char text[32];
    bool giga = bytes >= 1e9;
    snprintf(text, sizeof text, "%.*f", giga ? 2 : 1, bytes / (giga ? 1e9 : 1e6));
    if (!isnan(bytes))
        put_card(p, title, text, giga ? "GB" : "MB");
}

static void put_numbers(page *p)
{
    const fc_acc_matrix *m = &p->run.acc;
    double wall = fc_csv_last(&p->run.rounds, FC_ROUND_COLUMN(wall_s));
    char text[64];
    fputs("<dl class=\"cards\">\n", p->f);
    if (m->done > 0) {
        fc_metrics v = fc_metrics_of(m);
        snprintf(text, sizeof text, "Accuracy after task %d", m->done);
        put_number_card(p, m->done == m->tasks ? "Final accuracy (FAA)" : text, v.faa, "%");
        put_number_card(p, "Mean over time (AIA)", v.aia, "%");
        if (m->tasks > 1) {
            put_number_card(p, "Forgetting", v.forgetting_max, "points");
            put_number_card(p, "With the task known", fc_result_masked(&p->run), "%");
        }
    }
    put_byte_card(p, "Sent by clients", fc_csv_last(&p->run.rounds, FC_ROUND_COLUMN(bytes_up_cum)));
    put_byte_card(p, "Sent to clients",
                  fc_csv_last(&p->run.rounds, FC_ROUND_COLUMN(bytes_down_cum)));
    if (!isnan(wall))
        put_card(p, "Time", fc_duration(text, wall), "");
    if (fc_csv_last(&p->run.rounds, FC_ROUND_COLUMN(sim_s_cum)) > 0)
        put_card(p, "Simulated time",
                 fc_duration(text, fc_csv_last(&p->run.rounds, FC_ROUND_COLUMN(sim_s_cum))), "");
    fputs("</dl>\n", p->f);
}

/* --- figures -----------------------------------------------------------------------------------
 */

static void add_figure(page *p, const char *title, const char *caption, fc_plot plot)
{
    p->figure[p->n_figures++] = (fc_figure){title, caption, plot};
}

/* A vector of doubles; NULL with err set when memory is out. */
static double *new_vector(page *p, int n, fc_error *err)
{
    return fc_arena_alloc(p->arena, (size_t)n, sizeof(double), err);
}

/* After each task: all classes, and with the task known; within the only or first task: after each
 * round. */
static fc_status add_accuracy(page *p, const fc_result_group *g, fc_error *err)
{
    const fc_acc_matrix *m = &p->run.acc;
    bool by_round = m->tasks == 1 || m->done == 0;
    fc_curve_options o = {.x = by_round ? FC_X_ROUNDS : FC_X_TASKS, .short_label = true};
    fc_plot plot = {0};
    fc_error nothing_yet = {0};
    if (fc_curves(&plot, g, 1, &o, p->arena, &nothing_yet) != FC_OK)
        return nothing_yet.code == FC_EDATA ? FC_OK : fc_fail(err, FC_EFAIL, "%s", nothing_yet.msg);
    plot.y_title = "Accuracy (%)";
    if (by_round) {
        add_figure(p, "Accuracy", "On the test images of all classes seen so far.", plot);
        return FC_OK;
    }
    fc_series *s = fc_arena_alloc(p->arena, 2, sizeof *s, err);
    double *y = new_vector(p, m->done, err);
    if (!s || !y)
        return FC_EFAIL;
    for (int t = 0; t < m->done; t++) {
        long right = 0, total = 0;
        for (int k = 0; k <= t; k++) {
            right += p->run.masked[t * m->ld + k];
            total += m->total[t * m->ld + k];
        }
        y[t] = total ? 100.0 * (double)right / (double)total : NAN;
    }
    s[0] = plot.series[0];
    s[1] = (fc_series){.n = m->done, .x = s[0].x, .y = y, .dots = s[0].dots};
    s[0].label = fc_arena_format(p->arena, err, "all %.1f", s[0].y[m->done - 1]);
    s[1].label = fc_arena_format(p->arena, err, "known %.1f", y[m->done - 1]);
    if (!s[0].label || !s[1].label)
        return FC_EFAIL;
    plot.series = s;
    plot.n = 2;
    add_figure(
        p, "Accuracy after each task",
        "On the test images of all classes seen so far; \"known\": choosing among the classes "
        "of the right task only.",
        plot);
    return FC_OK;
}

static fc_status add_forgetting(page *p, fc_error *err)
{
    const fc_acc_matrix *m = &p->run.acc;
    int T = m->done;
    if (T < 2)
        return FC_OK;
    double *x = new_vector(p, T, err), *then = new_vector(p, T, err), *now = new_vector(p, T, err);
    fc_series *s = fc_arena_alloc(p->arena, 2, sizeof *s, err);
    if (!x || !then || !now || !s)
        return FC_EFAIL;
    for (int t = 0; t < T; t++) {
        x[t] = t + 1;
        then[t] = fc_acc(m, t, t);
        now[t] = fc_acc(m, T - 1, t);
    }
    s[0] = (fc_series){.label = "then", .n = T, .x = x, .y = then, .dots = T <= 30};
    s[1] = (fc_series){
        .label = "now", .n = T, .x = x, .y = now, .low = now, .high = then, .dots = T <= 30};
    add_figure(p, "What is forgotten of each task",
               "Accuracy on each task right after learning it (then) and after the last finished "
               "task (now); the area between is what was forgotten.",
               (fc_plot){.x_title = "Task",
                         .y_title = "Accuracy (%)",
                         .n = 2,
                         .series = s,
                         .percent = true,
                         .whole_x = true});
    return FC_OK;
}

static fc_status add_bytes(page *p, const fc_result_group *g, fc_error *err)
{
    fc_plot plot = {0};
    fc_error nothing_yet = {0};
    fc_curve_options o = {.x = FC_X_BYTES, .short_label = true};
    if (fc_curves(&plot, g, 1, &o, p->arena, &nothing_yet) != FC_OK)
        return nothing_yet.code == FC_EDATA ? FC_OK : fc_fail(err, FC_EFAIL, "%s", nothing_yet.msg);
    plot.y_title = "Accuracy (%)";
    add_figure(
        p, "Accuracy against bytes",
        p->run.acc.tasks == 1
            ? "After each test; bytes of all clients, both ways."
            : "After each task, on all classes seen so far; bytes of all clients, both ways.",
        plot);
    return FC_OK;
}

/* Seconds of each task, or of each round where there is one task, in three parts: training;
 * merging and, at the end of a task, Grams; testing. */
enum { TRAIN, MERGE, TEST, PARTS };
typedef struct times {
    int bars, most;         /* so far, and at most */
    double *top[PARTS + 1]; /* (most) sums of the parts below; top[0] is 0 */
    double sum[PARTS];
} times;

static double round_number(const page *p, size_t row, const char *column)
{
    return fc_csv_number(&p->run.rounds, row, fc_csv_column(&p->run.rounds, column));
}

/* Row of rounds.csv into the bar of its task or round. */
static void add_time(times *t, const page *p, size_t row)
{
    int rounds = p->run.config.fed.rounds;
    double task = round_number(p, row, FC_ROUND_COLUMN(task));
    double round = round_number(p, row, FC_ROUND_COLUMN(round));
    double train = round_number(p, row, FC_ROUND_COLUMN(train_s));
    double merge = round_number(p, row, FC_ROUND_COLUMN(merge_s));
    double test = round_number(p, row, FC_ROUND_COLUMN(eval_s));
    double at = p->run.acc.tasks == 1 ? fmin(round, rounds) : task;
    bool end = round > rounds;
    if (!(at >= 1 && at <= t->most) || isnan(train + merge + test))
        return;
    const double part[PARTS] = {
        [TRAIN] = end ? 0 : train, [MERGE] = merge + (end ? train : 0), [TEST] = test};
    int b = (int)at - 1;
    t->bars = b + 1 > t->bars ? b + 1 : t->bars;
    for (int k = 0; k < PARTS; k++) {
        t->sum[k] += part[k];
        for (int above = k + 1; above <= PARTS; above++)
            t->top[above][b] += part[k];
    }
}

static const char *describe_times(page *p, const double *sum, double all, fc_error *err)
{
    return fc_arena_format(
        p->arena, err,
        "Of the whole: training %.0f %%, Grams and merging %.0f %%, testing %.0f %%, all else %.0f "
        "%%. Grams that clients take while they train count as training.",
        100 * sum[TRAIN] / all, 100 * sum[MERGE] / all, 100 * sum[TEST] / all,
        100 * (1 - (sum[TRAIN] + sum[MERGE] + sum[TEST]) / all));
}

static fc_status add_times(page *p, fc_error *err)
{
    static const char *const label[PARTS] = {[TRAIN] = "train", [MERGE] = "merge", [TEST] = "test"};
    bool by_round = p->run.acc.tasks == 1;
    times t = {.most = by_round ? p->run.config.fed.rounds : p->run.acc.tasks};
    double *x = new_vector(p, t.most, err);
    fc_series *s = fc_arena_alloc(p->arena, PARTS, sizeof *s, err);
    for (int k = 0; k <= PARTS; k++)
        if (!(t.top[k] = new_vector(p, t.most, err)))
            return FC_EFAIL;
    if (!x || !s)
        return FC_EFAIL;
    for (size_t i = 0; i < p->run.rounds.rows; i++)
        add_time(&t, p, i);
    double wall = fc_csv_last(&p->run.rounds, FC_ROUND_COLUMN(wall_s));
    double all = fmax(wall, t.sum[TRAIN] + t.sum[MERGE] + t.sum[TEST]);
    if (t.bars == 0 || !(all > 0))
        return FC_OK;
    for (int b = 0; b < t.bars; b++)
        x[b] = b + 1;
    for (int k = 0; k < PARTS; k++)
        s[k] = (fc_series){.label = label[k],
                           .n = t.bars,
                           .x = x,
                           .y = t.top[k + 1],
                           .low = t.top[k],
                           .high = t.top[k + 1]};
    const char *caption = describe_times(p, t.sum, all, err);
    if (!caption)
        return FC_EFAIL;
    add_figure(p, "Where the time goes", caption,
               (fc_plot){.x_title = by_round ? "Round" : "Task",
                         .y_title = "Time (s)",
                         .n = PARTS,
                         .series = s,
                         .whole_x = true,
                         .bars = true});
    return FC_OK;
}

/* --- task matrix -------------------------------------------------------------------------------
 */

/* Which of n rows to show: all, or MATRIX_MAX of them with the last. */
static int shown_task(int i, int shown, int n)
{
    return shown == n ? i : (int)((long)(i + 1) * n / shown) - 1;
}

/* A cell of the task matrix; empty where nothing was tested (NaN). */
static void put_accuracy(page *p, double acc, int decimals, const char *before, const char *after)
{
    if (isnan(acc))
        fputs("<td></td>", p->f);
    else
        fprintf(p->f, "<td class=\"a\" style=\"--v:%.0f\">%s%.*f%s</td>", acc, before, decimals,
                acc, after);
}

static void put_matrix(page *p)
{
    const fc_acc_matrix *m = &p->run.acc;
    int n = m->done < MATRIX_MAX ? m->done : MATRIX_MAX;
    if (n == 0)
        return;
    fputs("<h2>Accuracy on each task after each task</h2>\n", p->f);
    fc_page_scroll_begin(p->f, "Task matrix");
    fprintf(p->f,
            "<table class=\"matrix%s\">\n<caption><span>Per cent%s; all: over all test images"
            "</span></caption>\n<thead><tr><th scope=\"col\">after task</th>",
            n > MATRIX_SMALL ? " many" : "", n < m->done ? ", some tasks only" : "");
    for (int j = 0; j < n; j++)
        fprintf(p->f, "<th scope=\"col\">%d</th>", shown_task(j, n, m->done) + 1);
    fputs("<th scope=\"col\">all</th></tr></thead>\n<tbody>\n", p->f);
    int decimals = n > MATRIX_SMALL ? 0 : 1;
    for (int i = 0; i < n; i++) {
        int t = shown_task(i, n, m->done);
        fprintf(p->f, "<tr><th scope=\"row\">%d</th>", t + 1);
        for (int j = 0; j < n; j++) {
            int k = shown_task(j, n, m->done);
            put_accuracy(p, k <= t ? fc_acc(m, t, k) : NAN, decimals, "", "");
        }
        put_accuracy(p, fc_acc_micro(m, t), decimals, "<b>", "</b>");
        fputs("</tr>\n", p->f);
    }
    fputs("</tbody>\n</table>\n", p->f);
    fc_page_scroll_end(p->f);
}

/* --- to copy -----------------------------------------------------------------------------------
 */

static const char *percent_text(page *p, double x, fc_error *err)
{
    return isnan(x) ? "" : fc_arena_format(p->arena, err, "%.1f", x);
}

static fc_status matrix_table(fc_table *t, page *p, fc_error *err)
{
    const fc_acc_matrix *m = &p->run.acc;
    FC_TRY(fc_table_init(t, m->done, m->done + 2, 0, p->arena, err));
    t->head[0] = "after task";
    t->head[m->done + 1] = "all";
    for (int i = 0; i < m->done; i++) {
        fc_cell *cell = t->cell + (size_t)i * (size_t)t->columns;
        t->head[i + 1] = cell[0].text = fc_arena_format(p->arena, err, "%d", i + 1);
        for (int k = 0; k <= i; k++)
            if (!(cell[k + 1].text = percent_text(p, fc_acc(m, i, k), err)))
                return FC_EFAIL;
        cell[m->done + 1].text = percent_text(p, fc_acc_micro(m, i), err);
        if (!cell[0].text || !cell[m->done + 1].text)
            return FC_EFAIL;
    }
    return FC_OK;
}

static fc_status put_run_tables(page *p, const fc_result_group *g, fc_error *err)
{
    fc_comparison c;
    fc_table t, numbers;
    const fc_metric **metric;
    int n;
    if (p->run.acc.done == 0)
        return FC_OK;
    fputs("<h2>To copy</h2>\n", p->f);
    if (p->run.acc.done == p->run.acc.tasks) {
        FC_TRY(fc_metric_list(&metric, &n, FC_METRICS_DEFAULT, p->arena, err));
        FC_TRY(fc_compare(&c, g, 1, metric, n, 0, p->arena, err));
        FC_TRY(fc_compare_table(&t, &c, p->arena, err));
        FC_TRY(fc_compare_numbers(&numbers, &c, p->arena, err));
        fc_page_table_copies(p->f, "Results", &t, &numbers);
    }
    if (p->run.acc.done <= MATRIX_MAX) {
        FC_TRY(matrix_table(&t, p, err));
        fc_page_table_copies(p->f, "Task matrix", &t, NULL);
    }
    return FC_OK;
}

/* fcil and the words, in a box to copy from. */
static fc_status put_command(page *p, const char *title, const char *const *word, int n,
                             fc_error *err)
{
    fc_draft line;
    FC_TRY(fc_draft_begin(&line, err));
    fputs("fcil", line.f);
    for (int i = 0; i < n; i++) {
        fputc(' ', line.f);
        fc_print_word(line.f, word[i]);
    }
    fc_status s = fc_draft_end(&line, err);
    if (s == FC_OK) {
        fprintf(p->f, "<p>%s</p>\n", title);
        put_html(p, "<pre class=\"wrap\">", line.text, "</pre>\n");
    }
    fc_draft_free(&line);
    return s;
}

static fc_status put_commands(page *p, fc_error *err)
{
    const json_t *argv = json_object_get(p->run.manifest, "argv");
    size_t n = json_array_size(argv);
    const char **word = fc_arena_alloc(p->arena, n + 1, sizeof *word, err);
    const char *config = fc_arena_format(p->arena, err, "%s/config.yaml", p->run.dir);
    if (!word || !config)
        return FC_EFAIL;
    fputs("<h2>Commands</h2>\n", p->f);
    if (p->run.state != FC_RESULT_DONE && !p->live) {
        const char *const resume[] = {"run", config, "--dir", p->run.dir, "--resume"};
        FC_TRY(put_command(p, "To go on with this run:", resume, 5, err));
    }
    bool moved = false; /* --dir: a sweep moves what it has put there, and repeats it by itself */
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(argv, i));
        word[i] = text ? text : "";
        moved = moved || strncmp(word[i], "--dir", 5) == 0;
    }
    if (n > 0 && !moved)
        FC_TRY(put_command(p, "It was started with:", word, (int)n, err));
    const char *const again[] = {"run", config, "--out", "again"};
    return put_command(p, "The same once more, from its resolved config:", again, 4, err);
}

/* A file of the run as it is. */
static void put_file(page *p, const char *title, const char *name)
{
    char path[FC_PATH_MAX];
    void *map;
    size_t size;
    if (fc_out_path(path, NULL, "%s/%s", p->run.dir, name) != FC_OK ||
        fc_file_map(&map, &size, path, FC_EDATA, NULL) != FC_OK)
        return;
    char *text = strndup(map, size);
    if (text)
        fc_page_copy(p->f, title, text);
    free(text);
    fc_file_unmap(map, size);
}

/* --- the page ----------------------------------------------------------------------------------
 */

static fc_status put_run_page(page *p, fc_error *warning, fc_error *err)
{
    fc_result *member[] = {&p->run};
    fc_result_group self = {.label = p->run.config.method_name, .n = 1, .run = member};
    fc_figure losses;
    fc_table fates;
    const char *title = fc_arena_format(p->arena, err, "%s, %s, seed %lld", p->run.config.run.name,
                                        self.label, (long long)p->run.config.run.seed);
    if (!title)
        return FC_EFAIL;
    fc_page_begin(p->f, title, p->live ? REFRESH_S : 0);
    put_head(p);
    put_numbers(p);
    FC_TRY(add_accuracy(p, &self, err));
    FC_TRY(add_forgetting(p, err));
    FC_TRY(add_bytes(p, &self, err));
    FC_TRY(fc_report_clients(&losses, &fates, &p->run, p->arena, err));
    if (losses.plot.n > 0)
        p->figure[p->n_figures++] = losses;
    FC_TRY(add_times(p, err));
    fputs(p->n_figures ? "<h2>Curves</h2>\n" : "", p->f);
    fc_page_figures(p->f, p->figure, p->n_figures, warning);
    put_matrix(p);
    if (fates.rows > 0) {
        fputs("<h2>Lost and late clients</h2>\n", p->f);
        fc_page_table(p->f, &fates);
    }
    FC_TRY(fc_report_partition(p->f, &p->run, p->arena, err));
    FC_TRY(put_run_tables(p, &self, err));
    FC_TRY(put_commands(p, err));
    fputs("<h2>Details</h2>\n", p->f);
    put_file(p, "Resolved config", "config.yaml");
    put_file(p, "Manifest: versions, machine, hashes", "manifest.json");
    put_file(p, "Summary", "summary.json");
    fc_page_end(p->f);
    return FC_OK;
}

fc_status fc_report_run(const char *dir, const char *path, fc_error *warning, fc_error *err)
{
    page p = {.live = fc_runlog_busy(dir)};
    fc_draft html;
    FC_TRY(fc_result_read(&p.run, dir, err));
    p.live = p.live && p.run.state == FC_RESULT_OPEN;
    p.arena = &p.run.arena;
    fc_status s = fc_draft_begin(&html, err);
    p.f = html.f;
    if (s == FC_OK)
        s = put_run_page(&p, warning, err);
    s = fc_draft_save(&html, s, path, err);
    fc_result_free(&p.run);
    return s;
}
