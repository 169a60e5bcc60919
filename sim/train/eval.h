/* Tests: counts of right answers per task, of a run's model or of one from a file. */
#ifndef FC_EVAL_H
#define FC_EVAL_H

#include "datasets/tasks.h"
#include "sim/parallel/ranks.h"
#include "sim/train/fit.h"

/* Test counts of one evaluation: tasks 0 .. seen-1. */
typedef struct fc_eval {
    int seen;
    long *correct, *masked, *total; /* (T): class-incremental, task-incremental, images */
    double loss;                    /* mean CE over all logits seen so far */
} fc_eval;

/* Counts of no images yet, with room for so many tasks. */
fc_status fc_eval_init(fc_eval *e, int tasks, fc_arena *a, fc_error *err);

/* What is tested, and on what. */
typedef struct fc_test {
    const fc_net *net;     /* how images are loaded, and the logit of each class */
    const fc_model *model; /* packed, of an engine that is the net's */
    const fc_split *images;
    const fc_tasks *tasks;
    int seen; /* tasks 0 .. seen-1: their test images, over the logits of all of them */
    fc_crew *crew;
    fc_progress *progress;
    fc_ranks *ranks;     /* share the work; NULL: this process does it all */
    fc_predict *predict; /* with the method's piece on the server; NULL: the logits */
    const fc_piece_server *server;
    const bool *skip; /* (seen) tasks that are left out: 0 of 0 right; NULL: none */
    int *answer;      /* (images->n) or NULL: the logit chosen among all seen, for each image of the
                         tasks; one process only */
} fc_test;

/* Fills out, whose arrays have room. Blocks of a fixed size, added in order: same bits for any
 * number of threads and ranks. Errors: FC_ESTOP when a stop was requested. */
fc_status fc_test_run(fc_eval *out, const fc_test *t, fc_arena *scratch, fc_error *err);

#endif
