/* From the file of a sweep to its runs. */
#ifndef FC_SWEEP_LOAD_H
#define FC_SWEEP_LOAD_H

#include "sim/sweep/sweep.h"

/* Reads the file and loads the config of every run; the n overrides of the command line apply to
 * all of them and win over the file's `set`. On error *s is {0}. Errors: FC_EUSAGE with
 * file:line:col (or "argument N") and what is wrong there. */
fc_status fc_sweep_load(fc_sweep *s, const char *path, char *const *override, int n, fc_error *err);

#endif
