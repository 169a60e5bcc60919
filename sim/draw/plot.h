/* Line plots and stacked bars by gnuplot: one look for the page of a run and for papers. Lines
 * differ in colour (Okabe and Ito's, which colour-blind people tell apart), point and dash, and are
 * labelled at their ends. */
#ifndef FC_PLOT_H
#define FC_PLOT_H

#include "core/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define FC_PLOT_FORMAT_CHOICES "svg|png|pdf" /* endings of file names */
typedef enum fc_plot_format { FC_PLOT_SVG, FC_PLOT_PNG, FC_PLOT_PDF } fc_plot_format;

typedef struct fc_series {
    const char *label;        /* at the end of the line; NULL: none */
    int n;                    /* points; 0: not drawn */
    const double *x, *y;      /* (n) */
    const double *low, *high; /* (n) a band around it; NULL: none */
    bool dots;                /* mark each point */
} fc_series;

typedef struct fc_plot {
    const char *x_title, *y_title;
    int n;
    const fc_series *series; /* (n) */
    int width, height, font; /* pixels; the width grows with long labels */
    bool percent;            /* y is from 0 to 100 */
    bool whole_x;            /* x counts from 1 */
    /* instead of lines: at each x, from low to high, one unit wide; labels in a key above */
    bool bars;
} fc_plot;

/* The pictures one behind the other, as gnuplot writes them (several: SVG only), malloc'ed, with a
 * zero behind. Errors FC_EFAIL: no memory; of fc_gnuplot. */
fc_status fc_plot_draw(char **out, size_t *size, const fc_plot *plot, int n, fc_plot_format format,
                       fc_error *err);

/* Writes "set terminal" for a picture of width and height pixels, in letters of `font` pixels. */
void fc_plot_terminal(FILE *f, double width, int height, int font, fc_plot_format format);

/* Width of the first bytes of a text, in font sizes: an estimate that is seldom too small. */
double fc_plot_text_width(const char *text, int bytes);

/* Writes text as a string of gnuplot, in single quotes; control characters become '?'. */
void fc_plot_quoted(FILE *f, const char *text);

enum { FC_PLOT_COLOURS = 8 };

/* Colours, as "#rrggbb", of line and label of series i. */
const char *fc_plot_colour(int i);
const char *fc_plot_text_colour(int i);

#endif
