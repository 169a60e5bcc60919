/* tasks.merge: the evaluated model from the deltas of the finished tasks, by any rule.
 *
 * The backbone is W0 plus the merged task vectors, in the order of the tasks; the classifier rows
 * of each task are as they were learnt. The rule lorm is LoRM's merge by the Grams that clients
 * send at the end of a task. */
#ifndef FC_TASK_MERGE_H
#define FC_TASK_MERGE_H

#include "sim/run.h"

/* Is the rule of tasks.merge one that this run can use? FC_EUSAGE with the reason if not. */
fc_status fc_task_merge_check(const fc_run *r, fc_error *err);

/* Numbers of fc_run.task_head. */
size_t fc_task_head_size(const fc_run *r);
/* The head rows of task t as they are now. */
void fc_task_head_keep(fc_run *r, int t);

/* w (a backbone block, holds W0) += the merge of the finished tasks. Same bits for any number of
 * threads. */
fc_status fc_task_merge(fc_real *w, fc_run *r, fc_error *err);

#endif
