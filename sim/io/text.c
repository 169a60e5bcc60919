#include "sim/io/text.h"

#include <ctype.h>
#include <string.h>

enum { COLUMNS = 80 };

/* first: before the first line. */
static void print_lines(FILE *f, const char *first, const char *prefix, const char *text)
{
    size_t width = COLUMNS - strlen(prefix);
    for (const char *before = first; *text; before = prefix) {
        size_t n = strlen(text);
        if (n > width) {
            n = width;
            while (n > 0 && text[n] != ' ')
                n--;
            if (n == 0) /* a word longer than a line */
                n = strcspn(text, " ");
        }
        fprintf(f, "%s%.*s\n", before, (int)n, text);
        text += n;
        text += strspn(text, " ");
    }
}

void fc_print_wrapped(FILE *f, const char *prefix, const char *text)
{
    print_lines(f, prefix, prefix, text);
}

void fc_print_hanging(FILE *f, const char *prefix, const char *text)
{
    print_lines(f, "", prefix, text);
}

void fc_print_option(FILE *f, const char *prefix, const char *section, const fc_opt *o)
{
    char name[128], below[32], want[512];
    snprintf(name, sizeof name, "%s.%s", section, o->key);
    snprintf(below, sizeof below, "%s    ", prefix);
    fprintf(f, "%s%-26s default %s\n", prefix, name, *o->def ? o->def : "(empty)");
    fc_print_wrapped(f, below, fc_opt_expected(o, want, sizeof want));
    fc_print_wrapped(f, below, o->help);
}

void fc_print_quoted(FILE *f, const char *text)
{
    fputc('\'', f);
    for (; *text; text++)
        if (*text == '\'')
            fputs("'\\''", f);
        else
            fputc(*text, f);
    fputc('\'', f);
}

void fc_print_word(FILE *f, const char *word)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                "%+,-./:=@_";
    if (*word && strspn(word, plain) == strlen(word))
        fputs(word, f);
    else
        fc_print_quoted(f, word);
}

void fc_make_printable(char *text)
{
    for (; *text; text++)
        if (iscntrl((unsigned char)*text) && *text != '\n')
            *text = '?';
}
