/* What became of the runs of a sweep so far; it looks and touches nothing. */
#ifndef FC_SWEEP_STATUS_H
#define FC_SWEEP_STATUS_H

#include "sim/sweep/sweep.h"

/* A row per run on stdout, or (json) one JSON object; watch: on a terminal, again and again until
 * all runs are done or failed. */
fc_status fc_sweep_status(const fc_sweep *s, bool json, bool watch, fc_error *err);

/* A line of shell per run that is neither done nor failed (failed: those too): this program, `sweep
 * run`, the file, --only ID, and the n words of the command line, quoted. */
fc_status fc_sweep_print(const fc_sweep *s, bool failed, char *const *word, int n, fc_error *err);

#endif
