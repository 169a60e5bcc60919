#include "sim/io/csv.h"

#include "core/base/file.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static int count_bytes(const char *text, size_t n, char what)
{
    int found = 0;
    for (size_t i = 0; i < n; i++)
        found += text[i] == what;
    return found;
}

/* Cuts the next cell off a line; *line is NULL behind the last one. */
static char *next_cell(char **line)
{
    char *cell = *line, *end = cell + strcspn(cell, ",\n");
    *line = *end == ',' ? end + 1 : NULL;
    if (!*line && end > cell && end[-1] == '\r')
        end--;
    *end = '\0';
    return cell;
}

/* Cuts one line into `columns` cells, which it has; returns the start of the next one. */
static char *cut_line(const char **cell, char *line, int columns)
{
    char *next = strchr(line, '\n') + 1;
    for (int i = 0; i < columns; i++)
        cell[i] = next_cell(&line);
    return next;
}

/* text: whole lines, `size` bytes and a zero, cut up in place. */
static fc_status cut_up(fc_csv *csv, char *text, size_t size, fc_arena *arena, fc_error *err)
{
    size_t lines = (size_t)count_bytes(text, size, '\n');
    if (lines == 0)
        return fc_fail(err, FC_EDATA, "%s: empty, expected a header", csv->path);
    csv->columns = 1 + count_bytes(text, strcspn(text, "\n"), ',');
    csv->rows = lines - 1;
    size_t columns = (size_t)csv->columns;
    csv->name = fc_arena_alloc(arena, columns, sizeof *csv->name, err);
    csv->cell = fc_arena_alloc(arena, csv->rows * columns, sizeof *csv->cell, err);
    if (!csv->name || !csv->cell)
        return FC_EFAIL;
    for (size_t i = 0; i < lines; i++) {
        int found = 1 + count_bytes(text, strcspn(text, "\n"), ',');
        if (found != csv->columns)
            return fc_fail(err, FC_EDATA, "%s:%zu: %d cells, expected %d", csv->path, i + 1, found,
                           csv->columns);
        text = cut_line(i ? csv->cell + (i - 1) * columns : csv->name, text, csv->columns);
    }
    return FC_OK;
}

fc_status fc_csv_parse(fc_csv *csv, const char *path, const char *text, size_t n, fc_arena *arena,
                       fc_error *err)
{
    *csv = (fc_csv){.path = fc_arena_strdup(arena, path, err)};
    char *copy = fc_arena_alloc(arena, n + 2, 1, err);
    if (!csv->path || !copy)
        return FC_EFAIL;
    memcpy(copy, text, n);
    if (n > 0 && text[n - 1] != '\n')
        copy[n++] = '\n';
    if (strlen(copy) != n)
        return fc_fail(err, FC_EDATA, "%s: found a zero byte, expected text", path);
    return cut_up(csv, copy, n, arena, err);
}

fc_status fc_csv_read(fc_csv *csv, const char *path, fc_arena *arena, fc_error *err)
{
    void *map;
    size_t size;
    FC_TRY(fc_file_map(&map, &size, path, FC_EDATA, err));
    size_t n = size;
    while (n > 0 && ((char *)map)[n - 1] != '\n')
        n--;
    fc_status s = fc_csv_parse(csv, path, map, n, arena, err);
    fc_file_unmap(map, size);
    return s;
}

int fc_csv_column(const fc_csv *csv, const char *name)
{
    for (int i = 0; i < csv->columns; i++)
        if (strcmp(csv->name[i], name) == 0)
            return i;
    return -1;
}

double fc_csv_number(const fc_csv *csv, size_t row, int column)
{
    if (column < 0 || row >= csv->rows)
        return NAN;
    const char *text = csv->cell[row * (size_t)csv->columns + (size_t)column];
    char *end;
    double x = strtod(text, &end);
    return end > text && *end == '\0' ? x : NAN;
}

double fc_csv_last(const fc_csv *csv, const char *name)
{
    return csv->rows ? fc_csv_number(csv, csv->rows - 1, fc_csv_column(csv, name)) : NAN;
}

enum { PICKED_MAX = 16 };

/* Cell number at[k] of a line into cell[k]; at[k] < 0: none. Cuts the line up. */
static void pick_cells(const char **cell, char *line, const int *at, int n)
{
    for (int k = 0; k < n; k++)
        cell[k] = "";
    for (int i = 0; line; i++) {
        const char *one = next_cell(&line);
        for (int k = 0; k < n; k++)
            if (at[k] == i)
                cell[k] = one;
    }
}

/* Where the named columns are in a header. */
static void find_columns(int *at, char *line, const char *const *column, int n)
{
    for (int k = 0; k < n; k++)
        at[k] = -1;
    for (int i = 0; line; i++) {
        const char *name = next_cell(&line);
        for (int k = 0; k < n; k++)
            if (strcmp(name, column[k]) == 0)
                at[k] = i;
    }
}

fc_status fc_csv_each(const char *path, const char *const *column, int n, fc_csv_visit *row,
                      void *ctx, fc_error *err)
{
    const char *cell[PICKED_MAX];
    int at[PICKED_MAX];
    char *line = NULL;
    size_t size = 0;
    bool header = true;
    assert(n <= PICKED_MAX);
    FILE *f = fopen(path, "re");
    if (!f)
        return fc_fail(err, FC_EDATA, "%s: cannot open: %s", path, strerror(errno));
    for (ssize_t length; (length = getline(&line, &size, f)) > 0 && line[length - 1] == '\n';) {
        if (header) {
            find_columns(at, line, column, n);
            header = false;
            continue;
        }
        pick_cells(cell, line, at, n);
        row(ctx, cell);
    }
    fc_status s = ferror(f) || (!feof(f) && !line)
                      ? fc_fail(err, FC_EDATA, "%s: cannot read: %s", path, strerror(errno))
                      : FC_OK;
    free(line);
    fclose(f);
    return s;
}

/* --- writing ---------------------------------------------------------------------------------- */

void fc_csv_put_real(FILE *f, double x, int decimals)
{
    if (!isnan(x))
        fprintf(f, "%.*f", decimals, x);
}

static void put_cell(FILE *f, const fc_csv_field *c, const void *row)
{
    static const size_t size_of[] = {
        [FC_CSV_INT] = sizeof(int),           [FC_CSV_LONG] = sizeof(long),
        [FC_CSV_SIZE] = sizeof(size_t),       [FC_CSV_U64] = sizeof(uint64_t),
        [FC_CSV_TEXT] = sizeof(const char *), [FC_CSV_REAL] = sizeof(double)};
    union {
        int i;
        long l;
        size_t size;
        uint64_t u64;
        const char *text;
        double real;
    } field;
    memcpy(&field, (const char *)row + c->offset, size_of[c->type]);
    switch (c->type) {
    case FC_CSV_INT:
        fprintf(f, "%d", field.i);
        break;
    case FC_CSV_LONG:
        fprintf(f, "%ld", field.l);
        break;
    case FC_CSV_SIZE:
        fprintf(f, "%zu", field.size);
        break;
    case FC_CSV_U64:
        fprintf(f, "%llu", (unsigned long long)field.u64);
        break;
    case FC_CSV_TEXT:
        fputs(field.text, f);
        break;
    case FC_CSV_REAL:
        fc_csv_put_real(f, field.real, c->decimals);
        break;
    }
}

void fc_csv_put_header(FILE *f, const fc_csv_field *field, int n)
{
    for (int i = 0; i < n; i++)
        fprintf(f, "%s%s", i ? "," : "", field[i].name);
    fputc('\n', f);
}

void fc_csv_put_row(FILE *f, const fc_csv_field *field, int n, const void *row, bool all)
{
    for (int i = 0; i < n; i++) {
        fputs(i ? "," : "", f);
        if (all || !field[i].optional)
            put_cell(f, &field[i], row);
    }
    fputc('\n', f);
}
