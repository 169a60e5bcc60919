/* Metrics of class-incremental learning from integer counts. All in per cent.
 * correct[i][s], total[i][s]: test samples of task s after learning task i, s <= i; total 0: not
 * tested, and every metric that would count it is NaN. */
#ifndef FC_METRICS_H
#define FC_METRICS_H

typedef struct fc_acc_matrix {
    int tasks;             /* T */
    int done;              /* rows filled so far */
    int ld;                /* from one row of the arrays to the next; done <= ld <= T */
    long *correct, *total; /* (ld, ld) row-major; entries above the diagonal unused */
} fc_acc_matrix;

double fc_acc(const fc_acc_matrix *m, int i, int s); /* 100 correct / total */
double fc_acc_micro(const fc_acc_matrix *m, int i);  /* all samples of tasks 0..i together */
double fc_acc_task_mean(const fc_acc_matrix *m,
                        int i); /* mean over tasks 0..i of the task accuracies */

typedef struct fc_metrics {
    double faa, faa_task_mean;    /* after the last row: micro, task mean */
    double aia, aia_task_mean;    /* mean over rows of the same */
    double forgetting_fedmammoth; /* sum_i (acc[i][i] - acc[T-1][i]) / T */
    double forgetting_max; /* sum_{i<T-1} (max_{i<=l<T-1} acc[l][i] - acc[T-1][i]) / (T-1); 0 for T
                              = 1 */
    double bwt;            /* sum_{i<T-1} (acc[T-1][i] - acc[i][i]) / (T-1); 0 for T = 1 */
    double learning_accuracy; /* mean_i acc[i][i] */
} fc_metrics;
/* Over the `done` rows (done >= 1). */
fc_metrics fc_metrics_of(const fc_acc_matrix *m);

#endif
