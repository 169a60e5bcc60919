/* gnuplot as a function: script in, picture out. */
#ifndef FC_GNUPLOT_H
#define FC_GNUPLOT_H

#include "core/base/file.h"

#include <stddef.h>

/* Runs gnuplot without the user's settings; *out is what it writes to its standard output (n bytes
 * and a zero), malloc'ed. Waits for its end. Errors FC_EFAIL: it is not installed, or refuses the
 * script (says why). */
fc_status fc_gnuplot(char **out, size_t *n, const char *script, fc_error *err);

/* The same with a script that was written into a draft, which is freed; s: how the writing went. */
fc_status fc_gnuplot_draft(char **out, size_t *n, fc_draft *script, fc_status s, fc_error *err);

#endif
