/* Numbers by which runs are compared. */
#ifndef FC_METRIC_H
#define FC_METRIC_H

#include "core/base/mean.h"
#include "sim/report/result.h"

/* One number of a run. */
typedef struct fc_metric {
    const char *name;  /* as in summary.json and fcil list metrics */
    const char *title; /* head of a column, with its unit */
    double unit;       /* tables show value / unit, with so many decimals */
    int decimals;
    int better;                       /* 1: higher, -1: lower, 0: neither */
    double (*of)(const fc_result *r); /* over what is finished so far; NaN if there is nothing */
    bool of_matrix;                   /* a function of the accuracies alone; in summary.json */
    const char *formula;              /* per cent, from the counts of correct test samples a(i, s)
                                         of task s after learning task i = 0 .. T-1; or where it
                                         stands */
    const char *help;
} fc_metric;
extern const fc_metric fc_metric_table[];
extern const int fc_metric_count;

/* The columns of a comparison that nobody asks otherwise. */
#define FC_METRICS_DEFAULT "faa,aia,forgetting_max,acc_masked,bytes_up,bytes_down,wall_s"

/* The metric of that name. Errors FC_EUSAGE: there is none; says the nearest. */
fc_status fc_metric_find(const fc_metric **out, const char *name, fc_error *err);

/* Metrics by name, from a list separated by commas. Errors FC_EUSAGE: an unknown one, or
 * none. */
fc_status fc_metric_list(const fc_metric ***out, int *n, const char *names, fc_arena *arena,
                         fc_error *err);

/* m->of(r) when all tasks of r are finished, else NaN: what may be averaged and compared. */
double fc_metric_final(const fc_metric *m, const fc_result *r);

/* A mean over seeds as people write it, in that unit: "26.9 +- 1.8" (with the character), with the
 * standard deviation where there are several; "-" of none. */
enum { FC_SPREAD_TEXT_MAX = 80 };
const char *fc_spread_text(char buf[FC_SPREAD_TEXT_MAX], const fc_mean *m, double unit,
                           int decimals);

#endif
