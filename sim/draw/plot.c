#include "sim/draw/plot.h"

#include "core/base/file.h"
#include "sim/draw/gnuplot.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Text is darker than lines, so that it can be read on white (contrast at least 4.5). */
static const struct {
    const char *line, *text;
    int point;
} style[FC_PLOT_COLOURS] = {{"#0072B2", "#00609A", 7},  {"#D55E00", "#B04A00", 5},
                            {"#009E73", "#007153", 9},  {"#CC79A7", "#A63F78", 13},
                            {"#E69F00", "#8A5F00", 11}, {"#56B4E9", "#1A76AB", 6},
                            {"#000000", "#000000", 4},  {"#777777", "#666666", 8}};
static const char *const dash[] = {"1", "(14,4)", "(5,4)", "(14,4,3,4)"};
enum { DASHES = sizeof dash / sizeof *dash };

static const double char_width = 0.63; /* of sans-serif on average, in font sizes */

const char *fc_plot_colour(int i)
{
    return style[i % FC_PLOT_COLOURS].line;
}

const char *fc_plot_text_colour(int i)
{
    return style[i % FC_PLOT_COLOURS].text;
}

void fc_plot_quoted(FILE *f, const char *text)
{
    fputc('\'', f);
    for (; *text; text++) {
        fputs(*text == '\'' ? "'" : "", f);
        fputc(iscntrl((unsigned char)*text) ? '?' : *text, f);
    }
    fputc('\'', f);
}

double fc_plot_text_width(const char *text, int bytes)
{
    int n = 0; /* characters of UTF-8 */
    for (int i = 0; i < bytes; i++)
        n += (text[i] & 0xc0) != 0x80;
    return char_width * n;
}

/* --- layout ------------------------------------------------------------------------------------
 */

typedef struct range {
    double low, high, step; /* of an axis, and between its tics */
} range;

/* Where things are, in pixels and in units of the axes. */
typedef struct layout {
    double width, left, right, top, bottom; /* margins but for the width */
    range x, y;
    double *place; /* (n) y of each label */
} layout;

/* 1, 2 or 5 times a power of ten: about `tics` of them in `span`. */
static double nice_step(double span, int tics)
{
    double rough = span / tics, power = pow(10, floor(log10(rough))), m = rough / power;
    return (m > 5 ? 10 : m > 2 ? 5 : m > 1 ? 2 : 1) * power;
}

/* Smallest and largest number of x (n), widened into *r. */
static void cover(range *r, const double *x, int n)
{
    for (int i = 0; x && i < n; i++) {
        r->low = fmin(r->low, x[i]);
        r->high = fmax(r->high, x[i]);
    }
}

static range y_range(const fc_plot *p)
{
    range r = {.low = INFINITY, .high = -INFINITY};
    for (int i = 0; i < p->n; i++) {
        const fc_series *s = &p->series[i];
        cover(&r, s->y, s->n);
        cover(&r, s->low, s->n);
        cover(&r, s->high, s->n);
    }
    if (!(r.high >= r.low))
        r = (range){.low = 0, .high = 1};
    if (r.low >= 0 && (p->bars || r.low < 0.5 * r.high))
        r.low = 0;
    if (r.high - r.low < 1e-9)
        r.high = r.low + 1;
    r.step = nice_step(r.high - r.low, 5);
    r.low = floor(r.low / r.step + 1e-9) * r.step;
    r.high = ceil(r.high / r.step - 1e-9) * r.step;
    if (p->percent) {
        r.low = fmax(r.low, 0);
        r.high = fmin(r.high, 100);
        if (r.high <= r.low) /* all at 100 */
            r.low = r.high - r.step;
    }
    return r;
}

static range x_range(const fc_plot *p)
{
    range r = {.low = INFINITY, .high = -INFINITY};
    for (int i = 0; i < p->n; i++)
        cover(&r, p->series[i].x, p->series[i].n);
    if (!(r.high >= r.low))
        r = (range){.low = 1, .high = 1};
    double span = r.high - r.low;
    r.step = nice_step(span > 0 ? span : 1, p->whole_x ? 12 : 5);
    if (p->whole_x)
        r.step = fmax(r.step, 1);
    double margin = p->bars ? 0.6 : span > 0 ? 0.02 * span : 0.5;
    if (!p->whole_x)
        r.low = fmin(r.low, 0);
    return (range){r.low - margin, r.high + margin, r.step};
}

/* The last point that can be drawn, -1: none. */
static int last_point(const fc_series *s)
{
    int k = s->n - 1;
    while (k >= 0 && !(isfinite(s->x[k]) && isfinite(s->y[k])))
        k--;
    return k;
}

/* Labels stand at the ends of their lines; those too close push each other apart, and all stay
 * beside the axis; more of them than fit go beyond its top. */
static void place_labels(layout *l, const fc_plot *p, int *order)
{
    double gap = 1.5 * p->font * (l->y.high - l->y.low) / (p->height - l->top - l->bottom);
    int n = 0;
    for (int i = 0; i < p->n; i++) {
        const fc_series *s = &p->series[i];
        int last = last_point(s);
        if (last < 0 || !s->label)
            continue;
        l->place[i] = s->y[last];
        int at = n++;
        for (; at > 0 && l->place[order[at - 1]] < l->place[i]; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    for (int pass = 0; pass < 200; pass++)
        for (int k = 0; k + 1 < n; k++) {
            double *above = &l->place[order[k]], *below = &l->place[order[k + 1]];
            double push = (gap - (*above - *below)) / 2;
            if (push > 0) {
                *above += push;
                *below -= push;
            }
        }
    for (int k = 0; k < n; k++)
        l->place[order[k]] = fmin(l->place[order[k]], l->y.high - k * gap);
    for (int k = n - 1; k >= 0; k--)
        l->place[order[k]] = fmax(l->place[order[k]], l->y.low + (n - 1 - k) * gap);
}

/* Characters of the longest number at an axis. */
static int longest_number(const range *r)
{
    char text[32];
    int longest = 0;
    for (double at = r->low; at < r->high + 0.5 * r->step; at += r->step)
        longest = (int)fmax(longest, snprintf(text, sizeof text, "%.6g", at));
    return longest;
}

static fc_status lay_out_plot(layout *l, const fc_plot *p, fc_error *err)
{
    size_t n = (size_t)p->n + 1;
    int *order = malloc(n * sizeof *order);
    *l = (layout){.place = malloc(n * sizeof *l->place)};
    if (!order || !l->place) {
        free(order);
        free(l->place);
        return fc_fail(err, FC_EFAIL, "plot: out of memory");
    }
    double longest = 0;
    for (int i = 0; i < p->n && !p->bars; i++)
        if (p->series[i].label && last_point(&p->series[i]) >= 0)
            longest = fmax(longest,
                           fc_plot_text_width(p->series[i].label, (int)strlen(p->series[i].label)));
    l->x = x_range(p);
    l->y = y_range(p);
    l->left = (3.4 + char_width * longest_number(&l->y)) * p->font;
    l->top = p->bars ? 2.2 * p->font : 1.2 * p->font;
    l->bottom = 5 * p->font;
    l->right = (longest > 0 ? 3 + longest : 1.5) * p->font;
    l->width = fmax(p->width, l->left + l->right + 0.5 * p->width);
    place_labels(l, p, order);
    free(order);
    return FC_OK;
}

/* --- script ------------------------------------------------------------------------------------
 */

void fc_plot_terminal(FILE *f, double width, int height, int font, fc_plot_format format)
{
    switch (format) {
    case FC_PLOT_SVG:
        fprintf(f, "set terminal svg size %.0f,%d font 'sans-serif,%d' background 'white'\n", width,
                height, font);
        break;
    case FC_PLOT_PNG: /* two pixels for one, three quarters of a point each */
        fprintf(f, "set terminal pngcairo size %.0f,%d font 'sans,%g' linewidth 2 pointscale 2.5\n",
                2 * width, 2 * height, 1.5 * font);
        break;
    case FC_PLOT_PDF: /* 120 pixels to the inch */
        fprintf(f,
                "set terminal pdfcairo size %.3fin,%.3fin font 'sans,%g' linewidth 0.6 "
                "pointscale 0.6\n",
                width / 120, height / 120.0, 0.6 * font);
        break;
    }
}

static void put_plot_axes(FILE *f, const fc_plot *p, const layout *l)
{
    fprintf(f, "set lmargin at screen %g\nset rmargin at screen %g\n", l->left / l->width,
            1 - l->right / l->width);
    fprintf(f, "set bmargin at screen %g\nset tmargin at screen %g\n", l->bottom / p->height,
            1 - l->top / p->height);
    fputs("set encoding utf8\n"
          "set border 3 lc rgb '#444444' lw 1.2\n"
          "set tics nomirror out scale 0.6 textcolor rgb '#222222' format '%g'\n"
          "set grid ytics lt 1 lc rgb '#e4e4e4' lw 0.8\n"
          "set style fill transparent solid 0.16 noborder\n",
          f);
    fprintf(f, "set xrange [%.10g:%.10g]\nset yrange [%.10g:%.10g]\nset ytics %.10g\n", l->x.low,
            l->x.high, l->y.low, l->y.high, l->y.step);
    if (p->whole_x && l->x.step == 2)
        fputs("set xtics 1, 2\n", f);
    else if (p->whole_x && l->x.step > 2)
        fprintf(f, "set xtics %.10g, %.10g\nset xtics add (1)\n", l->x.step, l->x.step);
    else
        fprintf(f, "set xtics %.10g\n", l->x.step);
    fputs("set xlabel ", f);
    fc_plot_quoted(f, p->x_title);
    fputs(" textcolor rgb '#222222' noenhanced\nset label ", f);
    /* not "set ylabel", whose distance depends on the digits of the tics */
    fc_plot_quoted(f, p->y_title);
    fprintf(f, " at screen %g, graph 0.5 center rotate textcolor rgb '#222222' noenhanced\n",
            1.5 * p->font / l->width);
    fputs(p->bars ? "set key at graph 1, screen 1 right top horizontal samplen 1 noenhanced "
                    "textcolor rgb '#222222'\n"
                  : "unset key\n",
          f);
}

/* The data of a series under the name $dI, and its label. */
static void put_data(FILE *f, const fc_plot *p, const layout *l, int i)
{
    const fc_series *s = &p->series[i];
    fprintf(f, "$d%d << EOD\n", i);
    for (int k = 0; k < s->n; k++)
        fprintf(f, "%.10g %.10g %.10g %.10g\n", s->x[k], s->y[k], s->low ? s->low[k] : s->y[k],
                s->high ? s->high[k] : s->y[k]);
    fputs("EOD\n", f);
    if (!s->label || p->bars)
        return;
    fputs("set label ", f);
    fc_plot_quoted(f, s->label);
    fprintf(f, " noenhanced at graph 1, first %.10g offset 2.2,0 textcolor rgb '%s'\n", l->place[i],
            fc_plot_text_colour(i));
    int last = last_point(s);
    double plot_width = l->width - l->left - l->right;
    fprintf(f,
            "set arrow from %.10g, %.10g to graph 1 + %g, first %.10g nohead lc rgb '%s' lw 0.8 dt "
            "(3,4)\n",
            s->x[last], s->y[last], 14 / plot_width, l->place[i], fc_plot_colour(i));
}

static void put_bars(FILE *f, const fc_plot *p)
{
    for (int i = 0; i < p->n; i++) {
        fprintf(f,
                "%s$d%d using 1:2:($1-0.4):($1+0.4):3:4 with boxxyerror fs solid 1 noborder "
                "lc rgb '%s' title ",
                i ? ", " : "plot ", i, fc_plot_colour(i));
        fc_plot_quoted(f, p->series[i].label);
    }
    fputc('\n', f);
}

static void put_lines(FILE *f, const fc_plot *p)
{
    const char *glue = "plot ";
    for (int i = 0; i < p->n; i++) /* bands below all lines */
        if (last_point(&p->series[i]) >= 0 && p->series[i].low) {
            fprintf(f, "%s$d%d using 1:%s lc rgb '%s'", glue, i,
                    p->series[i].n > 1 ? "3:4 with filledcurves" : "2:3:4 with yerrorbars pt 0",
                    fc_plot_colour(i));
            glue = ", ";
        }
    for (int i = 0; i < p->n; i++)
        if (last_point(&p->series[i]) >= 0) {
            bool dots = p->series[i].dots || p->series[i].n == 1;
            fprintf(f, "%s$d%d using 1:2 with %s lc rgb '%s' lw 2 dt %s", glue, i,
                    dots ? "linespoints" : "lines", fc_plot_colour(i),
                    dash[(i + i / FC_PLOT_COLOURS) % DASHES]);
            if (dots)
                fprintf(f, " pt %d ps 0.75", style[i % FC_PLOT_COLOURS].point);
            glue = ", ";
        }
    fputs(*glue == ',' ? "\n" : "plot NaN\n", f);
}

static fc_status put_plot(FILE *f, const fc_plot *p, fc_plot_format format, fc_error *err)
{
    layout l;
    FC_TRY(lay_out_plot(&l, p, err));
    fputs("reset\n", f);
    fc_plot_terminal(f, l.width, p->height, p->font, format);
    put_plot_axes(f, p, &l);
    for (int i = 0; i < p->n; i++)
        if (p->bars || last_point(&p->series[i]) >= 0)
            put_data(f, p, &l, i);
    p->bars ? put_bars(f, p) : put_lines(f, p);
    free(l.place);
    return FC_OK;
}

fc_status fc_plot_draw(char **out, size_t *size, const fc_plot *plot, int n, fc_plot_format format,
                       fc_error *err)
{
    fc_draft script;
    *out = NULL;
    FC_TRY(fc_draft_begin(&script, err));
    fc_status s = FC_OK;
    for (int i = 0; i < n && s == FC_OK; i++)
        s = put_plot(script.f, &plot[i], format, err);
    return fc_gnuplot_draft(out, size, &script, s, err);
}
