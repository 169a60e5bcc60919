/* A table of text, as people paste it: Markdown, LaTeX, CSV, HTML. */
#ifndef FC_TABLE_H
#define FC_TABLE_H

#include "core/base/arena.h"
#include "core/base/status.h"

#include <stdbool.h>
#include <stdio.h>

typedef struct fc_cell {
    const char *text; /* NULL: empty */
    const char *note; /* behind the text and smaller, e.g. an interval, in lines; NULL: none */
    bool best;        /* in bold */
} fc_cell;

typedef struct fc_table {
    const char *caption; /* NULL: none */
    int rows, columns;
    int words;         /* so many first columns hold words, the others numbers */
    const char **head; /* (columns) */
    fc_cell *cell;     /* (rows, columns) */
} fc_table;

/* An empty table in `arena`. Errors: FC_EFAIL when memory is out. */
fc_status fc_table_init(fc_table *t, int rows, int columns, int words, fc_arena *arena,
                        fc_error *err);

/* The number x, with ten digits, as the text of a cell; NaN leaves it empty. Errors: FC_EFAIL when
 * memory is out. */
fc_status fc_table_number(fc_cell *cell, double x, fc_arena *arena, fc_error *err);

/* Each escapes what its language would take for its own; failures show in ferror(f).
 * LaTeX: a tabular for the package booktabs. CSV: RFC 4180, notes left out. */
void fc_table_markdown(FILE *f, const fc_table *t);
void fc_table_latex(FILE *f, const fc_table *t);
void fc_table_csv(FILE *f, const fc_table *t);
void fc_table_html(FILE *f, const fc_table *t);

/* Text into HTML, also into attributes in double quotes. Bytes that are no UTF-8, and control
 * characters, become U+FFFD: the page stays well-formed whatever a file holds. */
void fc_html_text(FILE *f, const char *text);

#endif
