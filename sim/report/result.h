/* A run directory read back from its files, finished or not; and runs that belong together. */
#ifndef FC_RESULT_H
#define FC_RESULT_H

#include "core/base/arena.h"
#include "core/base/metrics.h"
#include "sim/config/config.h"
#include "sim/io/csv.h"

#include <jansson.h>

typedef enum fc_result_state {
    FC_RESULT_OPEN, /* running, or killed */
    FC_RESULT_DONE,
    FC_RESULT_FAILED,
    FC_RESULT_STOPPED /* with a checkpoint */
} fc_result_state;

typedef struct fc_result {
    const char *dir;
    fc_result_state state;
    const char *why; /* it failed; "" otherwise */
    fc_config config;
    json_t *manifest;     /* NULL where the folder has none, as below results/ */
    json_t *summary;      /* NULL before the end */
    fc_csv rounds, tasks; /* no columns where the file is not there yet */
    fc_acc_matrix acc;    /* acc.done tasks are finished */
    long *masked;         /* like acc.correct, with the task known */
    fc_arena arena;
} fc_result;

/* Reads dir; on error *r is {0}. Errors: FC_EDATA if there is no run (no config.yaml), or a file of
 * it is not what a run writes. */
fc_status fc_result_read(fc_result *r, const char *dir, fc_error *err);
void fc_result_free(fc_result *r); /* accepts {0} */

/* n of them, malloc'ed; on error nothing is kept. */
fc_status fc_results_read(fc_result **out, const char *const *dir, int n, fc_error *err);
void fc_results_free(fc_result *r, int n); /* accepts NULL */

/* The run folders directly below `parent`, in the order of their names. Errors: FC_EDATA if it
 * cannot be read. */
fc_status fc_result_dirs(char ***dir, int *n, const char *parent, fc_arena *arena, fc_error *err);

/* Accuracy with the task known, over all images seen, after the last finished task; NaN before the
 * first. In per cent. */
double fc_result_masked(const fc_result *r);

/* Runs that differ in nothing but their seeds; the N of an order seed:N is one. */
typedef struct fc_result_group {
    const char *label; /* the values of what differs between the groups, and of options of a method
                          or rule between groups of the same one: "lorm, beta=0.5" */
    int n;
    fc_result **run; /* (n) in the order given; one of each run that was given twice */
} fc_result_group;

/* Do a and b differ in nothing but their seeds? Errors: FC_EFAIL when memory is out. */
fc_status fc_result_same_experiment(bool *same, fc_result *a, fc_result *b, fc_arena *arena,
                                    fc_error *err);

/* Groups in the order of their first runs. Data and weights are compared by content where a
 * manifest has it. Errors: FC_EFAIL when memory is out. */
fc_status fc_result_groups(fc_result_group **group, int *n, fc_result *run, int n_runs,
                           fc_arena *arena, fc_error *err);

#endif
