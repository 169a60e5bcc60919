#include "sim/report/confusion.h"

#include "core/base/file.h"
#include "sim/draw/gnuplot.h"

static long *count_at(const fc_confusion *c, int row, int column)
{
    return &c->count[(size_t)row * (size_t)c->n + (size_t)column];
}

fc_status fc_confusion_make(fc_confusion *out, const fc_tasks *k, const fc_split *images,
                            const int *answer, fc_arena *arena, fc_error *err)
{
    size_t n = (size_t)k->first[k->n];
    *out = (fc_confusion){.tasks = k, .n = (int)n};
    out->count = fc_arena_alloc(arena, n, n * sizeof *out->count, err);
    if (!out->count)
        return FC_EFAIL;
    for (int t = 0; t < k->n; t++)
        for (size_t i = 0; i < k->n_test[t]; i++) {
            uint32_t sample = k->test[t][i];
            ++*count_at(out, k->logit[images->label[sample]], answer[sample]);
        }
    return FC_OK;
}

fc_status fc_confusion_csv(const char *path, const fc_confusion *c, fc_error *err)
{
    const fc_tasks *k = c->tasks;
    fc_draft d;
    FC_TRY(fc_draft_begin(&d, err));
    fputs("task,class", d.f);
    for (int i = 0; i < c->n; i++)
        fprintf(d.f, ",%d", k->order[i]);
    for (int t = 0; t < k->n; t++)
        for (int i = k->first[t]; i < k->first[t + 1]; i++) {
            fprintf(d.f, "\n%d,%d", t + 1, k->order[i]);
            for (int j = 0; j < c->n; j++)
                fprintf(d.f, ",%ld", *count_at(c, i, j));
        }
    fputc('\n', d.f);
    return fc_draft_save(&d, FC_OK, path, err);
}

/* --- the picture --------------------------------------------------------------------------------
 */

enum { SIDE = 560, RIGHT = 110, FONT = 13, TICS_MAX = 20 };

/* Classes where there are few, else the tasks at their middles; not more than fit. */
static void put_tics(FILE *f, const fc_confusion *c, const char *axis)
{
    const fc_tasks *k = c->tasks;
    const char *glue = "";
    fprintf(f, "set %s (", axis);
    if (c->n <= TICS_MAX || k->n == 1) {
        int step = (c->n + TICS_MAX - 1) / TICS_MAX;
        for (int i = 0; i < c->n; i += step, glue = ", ")
            fprintf(f, "%s'%d' %d", glue, k->order[i], i);
    } else {
        int step = (k->n + TICS_MAX - 1) / TICS_MAX;
        for (int t = 0; t < k->n; t += step, glue = ", ")
            fprintf(f, "%s'T%d' %g", glue, t + 1, (k->first[t] + k->first[t + 1] - 1) / 2.0);
    }
    fputs(")\n", f);
}

static void put_borders(FILE *f, const fc_confusion *c)
{
    const fc_tasks *k = c->tasks;
    for (int t = 1; t < k->n; t++) {
        double at = k->first[t] - 0.5, end = c->n - 0.5;
        fprintf(f, "set arrow from %g,-0.5 to %g,%g nohead front lc rgb '#D55E00' lw 0.8\n", at, at,
                end);
        fprintf(f, "set arrow from -0.5,%g to %g,%g nohead front lc rgb '#D55E00' lw 0.8\n", at,
                end, at);
    }
}

/* Cells as boxes, which stay sharp at any size; empty ones are not drawn. */
static void put_row(FILE *f, const fc_confusion *c, int row)
{
    long images = 0;
    for (int j = 0; j < c->n; j++)
        images += *count_at(c, row, j);
    for (int j = 0; j < c->n; j++)
        if (*count_at(c, row, j) > 0)
            fprintf(f, "%d %d %.4g\n", j, row,
                    100.0 * (double)*count_at(c, row, j) / (double)images);
}

static void put_confusion(FILE *f, const fc_confusion *c, fc_plot_format format)
{
    fc_plot_terminal(f, SIDE + RIGHT, SIDE, FONT, format);
    fprintf(f,
            "set size ratio -1\nunset key\n"
            "set xrange [-0.5:%g]\nset yrange [%g:-0.5]\nset cbrange [0:100]\n"
            "set palette defined (0 '#ffffff', 25 '#9ecae1', 60 '#3182bd', 100 '#08306b')\n"
            "set tics nomirror out scale 0.4 textcolor rgb '#222222'\n"
            "set xlabel 'Answer' textcolor rgb '#222222'\n"
            "set ylabel 'Class' textcolor rgb '#222222'\n"
            "set cblabel 'Images of the class (%%)' textcolor rgb '#222222'\n",
            c->n - 0.5, c->n - 0.5);
    put_tics(f, c, "xtics rotate by 90 right");
    put_tics(f, c, "ytics");
    put_borders(f, c);
    fputs("$counts << EOD\n", f);
    for (int i = 0; i < c->n; i++)
        put_row(f, c, i);
    fputs("EOD\nplot $counts using 1:2:($1-0.5):($1+0.5):($2-0.5):($2+0.5):3 with boxxyerror "
          "fs solid 1 noborder lc palette\n",
          f);
}

fc_status fc_confusion_draw(char **out, size_t *size, const fc_confusion *c, fc_plot_format format,
                            fc_error *err)
{
    fc_draft script;
    *out = NULL;
    FC_TRY(fc_draft_begin(&script, err));
    put_confusion(script.f, c, format);
    return fc_gnuplot_draft(out, size, &script, FC_OK, err);
}
