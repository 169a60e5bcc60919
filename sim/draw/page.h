/* The frame of an HTML page: one file that needs nothing else, for light and dark, phone and paper.
 * All of it is well-formed XML too, which tests check. */
#ifndef FC_PAGE_H
#define FC_PAGE_H

#include "sim/draw/plot.h"
#include "sim/draw/table.h"

#include <stdio.h>

enum { FC_FIGURE_WIDTH = 440, FC_FIGURE_HEIGHT = 290, FC_FIGURE_FONT = 14 };

/* refresh_s > 0: the page reloads itself. */
void fc_page_begin(FILE *f, const char *title, int refresh_s);
void fc_page_end(FILE *f);

/* A drawing with what it is and what it shows. */
typedef struct fc_figure {
    const char *title;   /* above it */
    const char *caption; /* below it, also for those who cannot see it */
    fc_plot plot;        /* title and axes; size and font are set by fc_page_figures */
} fc_figure;

/* Figures side by side, drawn by one call of gnuplot. Where that fails, err says why and the page
 * says that its pictures are missing. */
void fc_page_figures(FILE *f, fc_figure *figure, int n, fc_error *err);

/* Around what may be wider than the page: it then scrolls sideways. title says what it is. */
void fc_page_scroll_begin(FILE *f, const char *title);
void fc_page_scroll_end(FILE *f);

/* A table in such a frame; its caption must be set. */
void fc_page_table(FILE *f, const fc_table *t);

/* A part that opens on a click, with text to copy. */
void fc_page_copy(FILE *f, const char *title, const char *text);

/* The same for a table in Markdown, LaTeX and CSV; numbers: what CSV holds, NULL: the table. */
void fc_page_table_copies(FILE *f, const char *title, const fc_table *t, const fc_table *numbers);

#endif
