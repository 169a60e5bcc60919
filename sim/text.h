/* Help and tables for a terminal: 80 columns, no colours. */
#ifndef FC_TEXT_H
#define FC_TEXT_H

#include "core/opt.h"

#include <stdio.h>

/* text in lines of at most 80 columns, each beginning with prefix. */
void fc_print_wrapped(FILE *f, const char *prefix, const char *text);

/* The same, but the first line goes on where one stands already, as long as prefix. */
void fc_print_hanging(FILE *f, const char *prefix, const char *text);

/* One option: its name, default, what it accepts, help; each line begins with prefix. */
void fc_print_option(FILE *f, const char *prefix, const char *section, const fc_opt *o);

/* Control characters, which may come from file names and configs, become '?': they do not reach the
 * terminal. */
void fc_make_printable(char *text);

#endif
