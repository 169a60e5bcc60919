/* A round of clients, merged by a rule over task vectors (fc_merge_method.combine).
 *
 * Task vectors are taken from the server's model at the start of the round, one tensor per trained
 * backbone tensor, or (job->product) one per adapted layer:
 *
 *     tau_i = W_i - W_0          full fine-tuning
 *     tau_i = B_i A_i - B_0 A_0  LoRA, in factors: rank r, or 2 r where B_0 is not 0
 *
 * The head is merged as averages are, or by RegMean where the rule needs Grams: its rows are the
 * classes of the task, and no rule over task vectors speaks of it. Rules that weigh entries by
 * their Fisher information weigh those of the head as well; the Fisher information of a client
 * counts for all its samples (job->weighted), as a sum over them would.
 *
 * Updates without a sample do not count. Memory: all updates in double; for rules with a `scale`
 * in full space one running sum, whose factors are stacked as long as they are the smaller form;
 * for rules with entry_weights two, dense. */
#ifndef FC_COLLECT_H
#define FC_COLLECT_H

#include "core/merge/rule.h"

typedef struct fc_collect fc_collect;

/* *out from the arena, which also receives the updates. */
fc_status fc_collect_begin(fc_collect **out, const fc_merge_method *rule, const fc_merge_job *job,
                           fc_arena *arena, fc_error *err);
/* Errors as fc_merge_method.fold. */
fc_status fc_collect_fold(fc_collect *c, const fc_update *u, fc_error *err);
fc_status fc_collect_finish(fc_collect *c, fc_params *out, fc_error *err);

/* See fc_merge_streams, fc_merge_kept_bytes and fc_merge_work_bytes. */
bool fc_collect_streams(const fc_merge_method *rule, const fc_merge_job *job);
size_t fc_collect_kept_bytes(const fc_merge_method *rule, const fc_merge_job *job);
size_t fc_collect_work_bytes(const fc_merge_method *rule, const fc_merge_job *job);

#endif
