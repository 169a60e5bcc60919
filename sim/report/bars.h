/* A metric of groups of runs as horizontal bars, for papers and pages. */
#ifndef FC_BARS_H
#define FC_BARS_H

#include "sim/draw/plot.h"
#include "sim/report/metric.h"

/* One bar per group, the largest mean first, with its label at the left and the mean at its end; of
 * several finished runs also a line of one standard deviation. Groups without a number stand last.
 * *out as of fc_plot_draw. Errors: FC_EDATA where no group has a number; those of fc_gnuplot. */
fc_status fc_bars_draw(char **out, size_t *size, const fc_result_group *group, int n,
                       const fc_metric *metric, fc_plot_format format, fc_error *err);

#endif
