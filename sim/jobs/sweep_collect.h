/* The finished runs of a sweep as tables. */
#ifndef FC_SWEEP_COLLECT_H
#define FC_SWEEP_COLLECT_H

#include "sim/sweep/sweep.h"

/* Writes into <out>/<name>, each atomically:
 *
 *   results.csv          a row per run of the plan: id, values of the axes, state, folder, and
 *                        every metric in plain numbers, empty where there is none
 *   table.md, table.tex  a row per setting: mean +- standard deviation over its seeds (the N
 *                        of tasks.order=seed:N is one) and the 95 % interval; with a baseline also
 *                        the paired differences
 *   table.csv            the same numbers, a row per setting and metric
 *
 * and the Markdown to stdout. metrics: names separated by commas. A setting is compared with the
 * baseline that agrees with it in all other axes. Errors: FC_EUSAGE for an unknown metric, FC_EDATA
 * if no run is done yet or a folder is damaged, FC_EFAIL if a file cannot be written. */
fc_status fc_sweep_collect(const fc_sweep *s, const char *metrics, fc_error *err);

#endif
