/* What report.html says of clients: their losses, how they fared, and who holds what. */
#ifndef FC_REPORT_CLIENTS_H
#define FC_REPORT_CLIENTS_H

#include "sim/draw/page.h"
#include "sim/report/result.h"

/* From one pass over clients.csv.
 * losses: the last loss of each client over the rounds, a line each for up to FC_PLOT_COLOURS
 * clients, else the median in a band from the 10 % to the 90 % quantile; the mean of rounds.csv
 * where there is no clients.csv; plot.n = 0: nothing yet. fates: how often clients had which
 * status; rows = 0 if all were ok. Errors: of fc_csv_each; FC_EFAIL when memory is out. */
fc_status fc_report_clients(fc_figure *losses, fc_table *fates, const fc_result *r, fc_arena *arena,
                            fc_error *err);

/* The samples of each client and class as areas of squares, and their spread as a table; of up to
 * so many clients and columns. Nothing if there is no partition.csv. */
enum { FC_REPORT_CLIENTS = 50, FC_REPORT_COLUMNS = 200 };
fc_status fc_report_partition(FILE *f, const fc_result *r, fc_arena *arena, fc_error *err);

#endif
