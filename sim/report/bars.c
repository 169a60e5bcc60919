#include "sim/report/bars.h"

#include "core/base/file.h"
#include "sim/draw/gnuplot.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The letters are large enough for a picture that is shown at half its width. */
enum { FONT = 14, WIDTH = 620, LINE_CHARS = 28, LINES_MAX = 8 };
static const double line_height = 1.3; /* font sizes */

/* Text of a label between two breaks. */
typedef struct line {
    const char *text;
    int bytes;
} line;

typedef struct bar {
    const char *label;
    fc_mean value; /* in the metric's unit */
    line line[LINES_MAX];
    int lines;
    double y;                      /* of its middle, in lines from the top */
    char text[FC_SPREAD_TEXT_MAX]; /* at its end */
    double reaches;                /* the right end of the bar and of its deviation */
} bar;

typedef struct picture {
    const fc_metric *metric;
    int n;
    bar *bar;                          /* (n) */
    double left, right, width, height; /* pixels */
    double low, high;                  /* of the axis */
    double lines;                      /* of all bars */
} picture;

/* --- layout -------------------------------------------------------------------------------------
 */

/* Breaks a label behind the commas between options, where a line would be longer than LINE_CHARS.
 */
static void break_label(bar *b)
{
    const char *start = b->label, *end = start; /* of the line, and of what it holds so far */
    while (*end) {
        const char *comma = strstr(*end == ',' ? end + 1 : end, ", ");
        const char *next = comma ? comma : end + strlen(end);
        if (end > start && next - start > LINE_CHARS && b->lines < LINES_MAX - 1) {
            b->line[b->lines++] = (line){start, (int)(end - start) + 1}; /* with its comma */
            start = end + 2;
        }
        end = next;
    }
    b->line[b->lines++] = (line){start, (int)(end - start)};
}

static fc_status measure_bar(bar *b, const fc_result_group *g, const fc_metric *m, fc_error *err)
{
    double *x = malloc((size_t)g->n * sizeof *x);
    if (!x)
        return fc_fail(err, FC_EFAIL, "plot: out of memory");
    for (int i = 0; i < g->n; i++)
        x[i] = fc_metric_final(m, g->run[i]) / m->unit;
    b->value = fc_mean_of(x, g->n);
    free(x);
    const fc_mean *v = &b->value;
    fc_spread_text(b->text, v, 1, m->decimals);
    b->reaches = v->n == 0 ? 0 : fmax(v->n > 1 ? v->mean + v->sd : v->mean, 0);
    return FC_OK;
}

/* Longest first; those without a number last, in the order given. */
static void sort_bars(bar *b, int n)
{
    for (int i = 1; i < n; i++)
        for (int k = i; k > 0 && b[k].value.n > 0 &&
                        (b[k - 1].value.n == 0 || b[k].value.mean > b[k - 1].value.mean);
             k--) {
            bar swap = b[k];
            b[k] = b[k - 1];
            b[k - 1] = swap;
        }
}

static void lay_out_bars(picture *p)
{
    double label = 0, text = 0;
    for (int i = 0; i < p->n; i++) {
        bar *b = &p->bar[i];
        const fc_mean *v = &b->value;
        for (int k = 0; k < b->lines; k++)
            label = fmax(label, fc_plot_text_width(b->line[k].text, b->line[k].bytes));
        text = fmax(text, fc_plot_text_width(b->text, (int)strlen(b->text)));
        b->y = p->lines + (b->lines + 0.5) / 2;
        p->lines += b->lines + 0.5;
        p->high = fmax(p->high, b->reaches);
        if (v->n > 0 && v->mean < 0)
            p->low = fmin(p->low, v->n > 1 ? v->mean - v->sd : v->mean);
    }
    if (p->high - p->low < 1e-9)
        p->high = p->low + 1;
    p->left = (label + 1.2) * FONT;
    p->right = (text + 1.2) * FONT;
    p->width = fmax(WIDTH, p->left + p->right + 0.35 * WIDTH);
    p->height = (p->lines * line_height + 5.5) * FONT;
}

/* --- script -------------------------------------------------------------------------------------
 */

static void put_bar_axes(FILE *f, const picture *p)
{
    fprintf(f, "set lmargin at screen %g\nset rmargin at screen %g\n", p->left / p->width,
            1 - p->right / p->width);
    fprintf(f, "set bmargin at screen %g\nset tmargin at screen %g\n", 5.0 * FONT / p->height,
            1 - 0.5 * FONT / p->height);
    fprintf(f, "set xrange [%.10g:%.10g]\nset yrange [%g:0]\n", p->low, p->high, p->lines);
    fputs("set encoding utf8\n"
          "set border 1 lc rgb '#444444' lw 1.2\n"
          "unset ytics\nunset key\n"
          "set xtics nomirror out scale 0.6 textcolor rgb '#222222' format '%g'\n"
          "set grid xtics lt 1 lc rgb '#e4e4e4' lw 0.8\n"
          "set arrow from 0, graph 0 to 0, graph 1 nohead lc rgb '#444444' lw 1.2\n"
          "set xlabel ",
          f);
    fc_plot_quoted(f, p->metric->title);
    fputs(" textcolor rgb '#222222' noenhanced\n", f);
}

/* Its label, line by line, and its value. */
static void put_labels(FILE *f, const picture *p, const bar *b)
{
    char text[512];
    for (int i = 0; i < b->lines; i++) {
        snprintf(text, sizeof text, "%.*s", b->line[i].bytes, b->line[i].text);
        fputs("set label ", f);
        fc_plot_quoted(f, text);
        fprintf(f, " at screen %g, first %g right noenhanced textcolor rgb '#222222'\n",
                (p->left - 0.6 * FONT) / p->width, b->y + i - (b->lines - 1) / 2.0);
    }
    fputs("set label ", f);
    fc_plot_quoted(f, b->text);
    fprintf(f, " at first %.10g, first %g left offset 0.7,0 noenhanced textcolor rgb '#222222'\n",
            b->reaches, b->y);
}

static void put_bar_chart(FILE *f, const picture *p, fc_plot_format format)
{
    fputs("reset\n", f);
    fc_plot_terminal(f, p->width, (int)ceil(p->height), FONT, format);
    put_bar_axes(f, p);
    for (int i = 0; i < p->n; i++)
        put_labels(f, p, &p->bar[i]);
    fputs("$bar << EOD\n", f);
    for (int i = 0; i < p->n; i++)
        if (p->bar[i].value.n > 0)
            fprintf(f, "%.10g %g\n", p->bar[i].value.mean, p->bar[i].y);
    fputs("EOD\n$deviation << EOD\n", f);
    int deviations = 0;
    for (int i = 0; i < p->n; i++) {
        const fc_mean *v = &p->bar[i].value;
        if (v->n < 2)
            continue;
        double low = v->mean >= 0 ? fmax(v->mean - v->sd, 0) : v->mean - v->sd;
        fprintf(f, "%.10g %g %.10g %.10g\n", v->mean, p->bar[i].y, low, v->mean + v->sd);
        deviations++;
    }
    fprintf(f,
            "EOD\nplot $bar using ($1/2):2:(0):1:($2-0.4):($2+0.4) with boxxyerror fs solid 1 "
            "noborder lc rgb '%s'",
            fc_plot_colour(5));
    if (deviations)
        fputs(", $deviation using 1:2:3:4 with xerrorbars pt 0 lw 1.2 lc rgb '#222222'", f);
    fputc('\n', f);
}

static fc_status draw_picture(char **out, size_t *size, const picture *p, fc_plot_format format,
                              fc_error *err)
{
    fc_draft script;
    FC_TRY(fc_draft_begin(&script, err));
    put_bar_chart(script.f, p, format);
    return fc_gnuplot_draft(out, size, &script, FC_OK, err);
}

fc_status fc_bars_draw(char **out, size_t *size, const fc_result_group *group, int n,
                       const fc_metric *metric, fc_plot_format format, fc_error *err)
{
    picture p = {.metric = metric, .n = n, .bar = calloc((size_t)n, sizeof *p.bar)};
    fc_status s = p.bar ? FC_OK : fc_fail(err, FC_EFAIL, "plot: out of memory");
    *out = NULL;
    for (int i = 0; i < n && s == FC_OK; i++) {
        p.bar[i].label = group[i].label;
        break_label(&p.bar[i]);
        s = measure_bar(&p.bar[i], &group[i], metric, err);
    }
    if (s == FC_OK) {
        sort_bars(p.bar, n);
        s = p.bar[0].value.n > 0
                ? FC_OK
                : fc_fail(err, FC_EDATA, "%s: no run is finished and has %s, expected one",
                          group[0].run[0]->dir, metric->name);
    }
    if (s == FC_OK) {
        lay_out_bars(&p);
        s = draw_picture(out, size, &p, format, err);
    }
    free(p.bar);
    return s;
}
