/* Groups of runs side by side: mean and spread of a group over its seeds, paired differences
 * against a baseline, and tables of these. */
#ifndef FC_COMPARE_H
#define FC_COMPARE_H

#include "sim/draw/table.h"
#include "sim/report/metric.h"

/* Mean of the differences between the runs of a group and those of the baseline with the same
 * seeds (n pairs), and p of Student's paired t-test of "no difference" (two-sided, not corrected
 * for the number of comparisons); NaN for n < 2, and where all differences are the same. */
typedef struct fc_difference {
    fc_mean mean;
    double p;
} fc_difference;

typedef struct fc_comparison {
    int n_groups, n_metrics;
    const fc_result_group *group;   /* (n_groups) */
    const fc_metric *const *metric; /* (n_metrics) */
    int baseline;                   /* index of a group */
    fc_mean *value;                 /* (n_groups, n_metrics) over the finished runs */
    fc_difference *difference;      /* (n_groups, n_metrics) */
} fc_comparison;

/* Statistics of n_groups groups; groups and metrics stay the caller's and must outlive *out.
 * Errors: FC_EFAIL when memory is out. */
fc_status fc_compare(fc_comparison *out, const fc_result_group *group, int n_groups,
                     const fc_metric *const *metric, int n_metrics, int baseline, fc_arena *arena,
                     fc_error *err);

/* Index of the group called `label` into *out. Errors FC_EUSAGE: there is none; says which
 * there are. */
fc_status fc_compare_find(int *out, const fc_result_group *group, int n_groups, const char *label,
                          fc_error *err);

/* A row per group: its runs, and for each metric mean +- standard deviation, with the 95 %
 * interval as a note; the best mean in bold. */
fc_status fc_compare_table(fc_table *out, const fc_comparison *c, fc_arena *arena, fc_error *err);

/* A row per group but the baseline: pairs, and for each metric the mean difference, its 95 %
 * interval and p. */
fc_status fc_compare_differences(fc_table *out, const fc_comparison *c, fc_arena *arena,
                                 fc_error *err);

/* All of it in plain numbers, a row per group and metric:
 * group,metric,n,mean,sd,ci95_low,ci95_high,baseline,pairs,difference,difference_ci95_low,
 * difference_ci95_high,p. Empty where there is no number, from `baseline` on for the baseline. */
fc_status fc_compare_numbers(fc_table *out, const fc_comparison *c, fc_arena *arena, fc_error *err);

#endif
