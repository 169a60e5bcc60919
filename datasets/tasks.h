/* Which classes come when. */
#ifndef FC_TASKS_H
#define FC_TASKS_H

#include "core/base/arena.h"
#include "core/base/opt.h"
#include "core/base/status.h"
#include "datasets/dataset.h"

typedef struct fc_tasks {
    int n;       /* T */
    int classes; /* total */
    int *order; /* (classes) order[k] = dataset class learnt as logit k: task t owns logits first[t]
                   .. first[t+1]-1 */
    int *logit; /* (of the data set) inverse: logit[c] of dataset class c, -1: in no task */
    int *first; /* (n + 1) */
    uint32_t **train; /* (n) training sample indices of task t, ascending */
    size_t *n_train;
    uint32_t **held; /* (n) of them, held out: in neither list */
    size_t *n_held;
    uint32_t **test;
    size_t *n_test;
} fc_tasks;

/* count tasks of equal size, or `sizes` (its sum must be the number of classes; count then
 * ignored). order: word "natural", "seed:N" (NumPy legacy RandomState(N).permutation(classes):
 * MT19937, masked rejection Fisher-Yates from the end), or a list of all classes. Errors FC_EUSAGE.
 */
fc_status fc_tasks_make(fc_tasks *out, const fc_dataset *d, int count, const fc_ints *sizes,
                        const fc_ints *order, fc_arena *arena, fc_error *err);

/* Tasks in another order, each with its classes; order as above, of the tasks. */
fc_status fc_tasks_reorder(fc_tasks *t, const fc_ints *order, fc_arena *arena, fc_error *err);

/* The last n training samples of each class go to held. Errors FC_EUSAGE: a class has no more than
 * that, naming it. */
fc_status fc_tasks_hold_out(fc_tasks *t, const fc_dataset *d, int n, fc_arena *arena,
                            fc_error *err);

/* Tasks of these classes of the data only, in this order; the others are left out. */
fc_status fc_tasks_some(fc_tasks *out, const fc_dataset *d, const fc_ints *sizes,
                        const fc_ints *classes, fc_arena *arena, fc_error *err);

#endif
