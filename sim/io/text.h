/* Text for a terminal: help in 80 columns, words of commands. */
#ifndef FC_TEXT_H
#define FC_TEXT_H

#include "core/base/opt.h"

#include <stdio.h>

/* text in lines of at most 80 columns, each beginning with prefix. */
void fc_print_wrapped(FILE *f, const char *prefix, const char *text);

/* The same, but the first line goes on where one stands already, as long as prefix. */
void fc_print_hanging(FILE *f, const char *prefix, const char *text);

/* One option: its name, default, what it accepts, help; each line begins with prefix. */
void fc_print_option(FILE *f, const char *prefix, const char *section, const fc_opt *o);

/* text in single quotes, as a shell reads them; or a word of a command, in quotes where it needs
 * them. */
void fc_print_quoted(FILE *f, const char *text);
void fc_print_word(FILE *f, const char *word);

/* Control characters, which may come from file names and configs, become '?': they do not reach the
 * terminal. */
void fc_make_printable(char *text);

#endif
