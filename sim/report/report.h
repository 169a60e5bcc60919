/* report.html: a run, or several side by side, on one page. */
#ifndef FC_REPORT_H
#define FC_REPORT_H

#include "sim/report/compare.h"

/* The page of the run in `dir`, finished or not, written atomically to `path`. A page without
 * pictures (no gnuplot) is a success; warning then says why. Errors: of fc_result_read,
 * fc_csv_each, fc_file_write_atomic. */
fc_status fc_report_run(const char *dir, const char *path, fc_error *warning, fc_error *err);

/* Groups of runs compared, differences against group `baseline`. */
fc_status fc_report_groups(const char *path, const fc_result_group *group, int n, int baseline,
                           fc_arena *arena, fc_error *warning, fc_error *err);

#endif
