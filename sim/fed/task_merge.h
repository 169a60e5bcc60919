/* tasks.merge: the evaluated model from the deltas of the finished tasks, by any rule.
 *
 * The backbone is W0 plus the merged task vectors, in the order of the tasks, or what a rule with
 * experts makes of them (sim/train/vit_merge.h); the classifier rows of each task are as they were
 * learnt. The rule lorm is LoRM's merge by the Grams that clients send at the end of a task. Where
 * task_merge.scales lists factors for the merged update, the one is taken that is best on the
 * held-out images of all finished tasks. */
#ifndef FC_TASK_MERGE_H
#define FC_TASK_MERGE_H

#include "sim/fed/state.h"
#include "sim/train/vit_merge.h"

/* Is the rule of tasks.merge one that this run can use? FC_EUSAGE with the reason if not. */
fc_status fc_task_merge_check(const fc_setup *s, fc_error *err);

/* The model of the finished tasks. out->w has room; the rest is put into r->arena. *scale: the
 * factor taken. Same bits for any number of threads. */
fc_status fc_task_merge(fc_vit_merged *out, double *scale, fc_run *r, fc_error *err);

/* That model as a network. FC_EUSAGE where it is one for each task (EMR). */
fc_status fc_task_merge_model(fc_model *out, const fc_run *r, const fc_vit_merged *m,
                              fc_error *err);

/* Test of that model on tasks 0 .. t, into r->eval. */
fc_status fc_task_merge_test(fc_run *r, const fc_vit_merged *m, int t, fc_error *err);

/* Numbers that the model keeps beside one backbone. */
size_t fc_task_merge_extra(const fc_setup *s, const fc_vit_merged *m);

/* About the bytes that the merge of all tasks takes while it is made; 0 without tasks.merge. */
double fc_task_merge_bytes(const fc_setup *s, int threads);

/* FLOP of the merge of n tasks, where images take part. */
double fc_task_merge_flop(const fc_setup *s, int n);

#endif
