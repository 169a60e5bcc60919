/* CSV files of runs, written and read back: a header and rows of unquoted cells. */
#ifndef FC_CSV_H
#define FC_CSV_H

#include "core/base/arena.h"
#include "core/base/status.h"

#include <stdbool.h>
#include <stdio.h>

typedef struct fc_csv {
    const char *path;
    int columns;
    size_t rows;
    const char **name; /* (columns) */
    const char **cell; /* (rows, columns) text, "" if empty */
} fc_csv;

/* Reads a file that may still be written to: a last line without its newline is left out.
 * Errors: FC_EDATA if it cannot be read, has no header, or a line has too few or too many cells. */
fc_status fc_csv_read(fc_csv *csv, const char *path, fc_arena *arena, fc_error *err);

/* The same from n bytes of text, which are copied; the last newline may be missing. path heads the
 * messages. */
fc_status fc_csv_parse(fc_csv *csv, const char *path, const char *text, size_t n, fc_arena *arena,
                       fc_error *err);

/* Index of a column, -1 if there is none of that name. */
int fc_csv_column(const fc_csv *csv, const char *name);

/* The number in a cell; NaN where the cell is empty or no number, or there is no such column. */
double fc_csv_number(const fc_csv *csv, size_t row, int column);
/* The number in the last row of a column; NaN where there is none. */
double fc_csv_last(const fc_csv *csv, const char *name);

/* Reads a file row by row, however long it is: for each whole line `row` gets the text of the n
 * named columns, "" where the file has no such column or the line is too short. Errors: FC_EDATA if
 * it cannot be read, or memory is out for a line. */
typedef void fc_csv_visit(void *ctx, const char *const *cell);
fc_status fc_csv_each(const char *path, const char *const *column, int n, fc_csv_visit *row,
                      void *ctx, fc_error *err);

/* --- writing ---------------------------------------------------------------------------------- */

typedef enum fc_csv_type {
    FC_CSV_INT,
    FC_CSV_LONG,
    FC_CSV_SIZE, /* size_t */
    FC_CSV_U64,
    FC_CSV_TEXT, /* const char * */
    FC_CSV_REAL  /* double; NaN is an empty cell */
} fc_csv_type;

/* A column that is a field of a struct, under the name of the field. */
typedef struct fc_csv_field {
    const char *name;
    fc_csv_type type;
    size_t offset; /* in the struct */
    int decimals;  /* of a REAL */
    bool optional; /* in some rows there is none */
} fc_csv_field;

/* The header, and a row of it; without `all` the cells of optional columns stay empty. A failed
 * write is left to ferror(f). */
void fc_csv_put_header(FILE *f, const fc_csv_field *field, int n);
void fc_csv_put_row(FILE *f, const fc_csv_field *field, int n, const void *row, bool all);
void fc_csv_put_real(FILE *f, double x, int decimals); /* one cell; nothing for NaN */

#endif
