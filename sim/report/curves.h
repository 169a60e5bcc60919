/* Accuracy curves of groups of runs: mean and standard deviation over seeds, as a plot. */
#ifndef FC_CURVES_H
#define FC_CURVES_H

#include "sim/draw/plot.h"
#include "sim/report/result.h"

/* What the accuracy is drawn against. TASKS, BYTES and TIME: a point after each finished task, or
 * after each test where there is one task only. ROUNDS: a point after each test. */
#define FC_CURVE_X_CHOICES "tasks|rounds|bytes|time"
typedef enum fc_curve_x { FC_X_TASKS, FC_X_ROUNDS, FC_X_BYTES, FC_X_TIME } fc_curve_x;

typedef struct fc_curve_options {
    fc_curve_x x;
    bool task_mean;   /* mean of the accuracies of the tasks, else over all their images */
    bool short_label; /* the final mean only, behind the letter of the group if there are more */
} fc_curve_options;

/* A line per group, from arena; width, height and font of *out are the caller's. A group has as
 * many points as all of its runs have; runs without any are left out. Errors: FC_EDATA where no
 * run of a group has a point yet; FC_EFAIL when memory is out. */
fc_status fc_curves(fc_plot *out, const fc_result_group *group, int n, const fc_curve_options *o,
                    fc_arena *arena, fc_error *err);

/* The letter by which pages name group i: A to Z, then a to z; '?' beyond. */
char fc_curve_letter(int i);

#endif
