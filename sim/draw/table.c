#include "sim/draw/table.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

fc_status fc_table_init(fc_table *t, int rows, int columns, int words, fc_arena *arena,
                        fc_error *err)
{
    *t = (fc_table){.rows = rows, .columns = columns, .words = words};
    t->head = fc_arena_alloc(arena, (size_t)columns, sizeof *t->head, err);
    t->cell = fc_arena_alloc(arena, (size_t)rows * (size_t)columns, sizeof *t->cell, err);
    return t->head && t->cell ? FC_OK : FC_EFAIL;
}

fc_status fc_table_number(fc_cell *cell, double x, fc_arena *arena, fc_error *err)
{
    if (isnan(x))
        return FC_OK;
    cell->text = fc_arena_format(arena, err, "%.10g", x);
    return cell->text ? FC_OK : FC_EFAIL;
}

static const fc_cell *cells_of_row(const fc_table *t, int row)
{
    return t->cell + (size_t)row * (size_t)t->columns;
}

static const char *or_empty(const char *text)
{
    return text ? text : "";
}

/* --- Markdown --------------------------------------------------------------------------------- */

static void markdown_text(FILE *f, const char *text)
{
    for (; *text; text++) {
        if (strchr("\\|*`[]<", *text))
            fputc('\\', f);
        fputc(iscntrl((unsigned char)*text) ? ' ' : *text, f);
    }
}

void fc_table_markdown(FILE *f, const fc_table *t)
{
    for (int c = 0; c < t->columns; c++) {
        fputs(c ? " | " : "| ", f);
        markdown_text(f, or_empty(t->head[c]));
    }
    fputs(" |\n|", f);
    for (int c = 0; c < t->columns; c++)
        fputs(c < t->words ? "---|" : "---:|", f);
    fputc('\n', f);
    for (int r = 0; r < t->rows; r++) {
        const fc_cell *cell = cells_of_row(t, r);
        for (int c = 0; c < t->columns; c++) {
            fputs(c ? " | " : "| ", f);
            fputs(cell[c].best ? "**" : "", f);
            markdown_text(f, or_empty(cell[c].text));
            fputs(cell[c].best ? "**" : "", f);
            fputs(cell[c].note ? " " : "", f);
            markdown_text(f, or_empty(cell[c].note));
        }
        fputs(" |\n", f);
    }
}

/* --- LaTeX ------------------------------------------------------------------------------------ */

static void latex_text(FILE *f, const char *text)
{
    static const char plus_minus[] = "\302\261";
    for (const char *c = text; *c; c++) {
        bool after_word = c > text && isalnum((unsigned char)c[-1]);
        if (strncmp(c, plus_minus, 2) == 0) {
            fputs("$\\pm$", f);
            c++;
        } else if (*c == '-' && isdigit((unsigned char)c[1]) && !after_word) {
            fputs("$-$", f);
        } else if (strchr("&%$#_{}", *c)) {
            fprintf(f, "\\%c", *c);
        } else if (strchr("~^\\<>|\"", *c)) {
            fprintf(f, "\\symbol{%d}", *c);
        } else {
            fputc(iscntrl((unsigned char)*c) ? ' ' : *c, f);
        }
    }
}

void fc_table_latex(FILE *f, const fc_table *t)
{
    fputs("\\begin{tabular}{", f);
    for (int c = 0; c < t->columns; c++)
        fputc(c < t->words ? 'l' : 'r', f);
    fputs("}\n\\toprule\n", f);
    for (int c = 0; c < t->columns; c++) {
        fputs(c ? " & " : "", f);
        latex_text(f, or_empty(t->head[c]));
    }
    fputs(" \\\\\n\\midrule\n", f);
    for (int r = 0; r < t->rows; r++) {
        const fc_cell *cell = cells_of_row(t, r);
        for (int c = 0; c < t->columns; c++) {
            fputs(c ? " & " : "", f);
            if (c == 0 && (*or_empty(cell[c].text) == '[' || *or_empty(cell[c].text) == '*'))
                fputs("{}", f); /* or \\ of the line above would take it for its argument */
            fputs(cell[c].best ? "\\textbf{" : "", f);
            latex_text(f, or_empty(cell[c].text));
            fputs(cell[c].best ? "}" : "", f);
            if (cell[c].note) {
                fputs(" {\\scriptsize ", f);
                latex_text(f, cell[c].note);
                fputc('}', f);
            }
        }
        fputs(" \\\\\n", f);
    }
    fputs("\\bottomrule\n\\end{tabular}\n", f);
}

/* --- CSV -------------------------------------------------------------------------------------- */

static void csv_text(FILE *f, const char *text)
{
    bool quote = strpbrk(text, ",\"\r\n");
    fputs(quote ? "\"" : "", f);
    for (; *text; text++) {
        fputs(*text == '"' ? "\"" : "", f);
        fputc(*text, f);
    }
    fputs(quote ? "\"" : "", f);
}

void fc_table_csv(FILE *f, const fc_table *t)
{
    for (int r = -1; r < t->rows; r++) {
        for (int c = 0; c < t->columns; c++) {
            fputs(c ? "," : "", f);
            csv_text(f, or_empty(r < 0 ? t->head[c] : cells_of_row(t, r)[c].text));
        }
        fputc('\n', f);
    }
}

/* --- HTML ------------------------------------------------------------------------------------- */

/* Bytes of the character that begins at s: 0 if it is no valid UTF-8 (RFC 3629). */
static int utf8_length(const unsigned char *s)
{
    int n = s[0] < 0x80   ? 1
            : s[0] < 0xc2 ? 0
            : s[0] < 0xe0 ? 2
            : s[0] < 0xf0 ? 3
            : s[0] < 0xf5 ? 4
                          : 0;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool surrogate = s[0] == 0xed && s[1] > 0x9f, beyond = s[0] == 0xf4 && s[1] > 0x8f;
    return n > 1 && (overlong || surrogate || beyond) ? 0 : n;
}

void fc_html_text(FILE *f, const char *text)
{
    const unsigned char *c = (const unsigned char *)text;
    while (*c) {
        int n = utf8_length(c);
        bool control = (*c < 0x20 && *c != '\n' && *c != '\t') || *c == 0x7f;
        if (n == 0 || control)
            fputs("\357\277\275", f);
        else if (*c == '&')
            fputs("&amp;", f);
        else if (*c == '<')
            fputs("&lt;", f);
        else if (*c == '>')
            fputs("&gt;", f);
        else if (*c == '"')
            fputs("&quot;", f);
        else
            fwrite(c, 1, (size_t)n, f);
        c += n ? n : 1;
    }
}

void fc_table_html(FILE *f, const fc_table *t)
{
    fputs("<table>\n", f);
    if (t->caption) {
        fputs("<caption><span>", f);
        fc_html_text(f, t->caption);
        fputs("</span></caption>\n", f);
    }
    fputs("<thead><tr>", f);
    for (int c = 0; c < t->columns; c++) {
        fprintf(f, "<th scope=\"col\"%s>", c < t->words ? " class=\"word\"" : "");
        fc_html_text(f, or_empty(t->head[c]));
        fputs("</th>", f);
    }
    fputs("</tr></thead>\n<tbody>\n", f);
    for (int r = 0; r < t->rows; r++) {
        const fc_cell *cell = cells_of_row(t, r);
        fputs("<tr>", f);
        for (int c = 0; c < t->columns; c++) {
            const char *tag = c == 0 ? "th" : "td";
            fprintf(f, "<%s%s%s>", tag, c == 0 ? " scope=\"row\"" : "",
                    c < t->words ? " class=\"word\"" : "");
            fputs(cell[c].best ? "<strong>" : "", f);
            fc_html_text(f, or_empty(cell[c].text));
            fputs(cell[c].best ? "</strong>" : "", f);
            if (cell[c].note) {
                fputs(" <small>", f);
                fc_html_text(f, cell[c].note);
                fputs("</small>", f);
            }
            fprintf(f, "</%s>", tag);
        }
        fputs("</tr>\n", f);
    }
    fputs("</tbody>\n</table>\n", f);
}
