/* Merging: the registry of rules (rule_table.def), one file each (rule_<name>.c), and a round of
 * clients merged by one of them. A round calls fc_merge_begin, fc_merge_fold and fc_merge_finish,
 * which pick the form of the rule that fits the job (core/merge/rule.h). */
#ifndef FC_MERGE_H
#define FC_MERGE_H

#include "core/merge/rule.h"

extern const fc_merge_method *const fc_merge_table[];
extern const int fc_merge_count;
const fc_merge_method *fc_merge_find(const char *name); /* NULL if unknown */

/* Does this rule work in that space, and (product) on B A? FC_EUSAGE with the reason if not. Rules
 * with experts, or that need images, do not work in a round. */
fc_status fc_merge_check(const fc_merge_method *rule, const fc_space *space, bool product,
                         fc_error *err);

/* A round, by the form that fits the job: see fc_merge_method. Errors of begin: those of the rule,
 * and of fc_merge_check. */
fc_status fc_merge_begin(void **state, const fc_merge_method *rule, const fc_merge_job *job,
                         fc_arena *arena, fc_error *err);
fc_status fc_merge_fold(void *state, const fc_merge_method *rule, const fc_merge_job *job,
                        const fc_update *u, fc_error *err);
fc_status fc_merge_finish(void *state, const fc_merge_method *rule, const fc_merge_job *job,
                          fc_params *out, fc_error *err);

/* Does memory not grow with the number of updates? */
bool fc_merge_streams(const fc_merge_method *rule, const fc_merge_job *job);
/* Bytes of a rule over task vectors until the updates of that job are merged: of all updates, or of
 * running sums; 0 for folded rules, which take no more than the sums of the block. */
size_t fc_merge_kept_bytes(const fc_merge_method *rule, const fc_merge_job *job);
/* About what such a rule takes beside them when it merges: the result, and the scratch of the
 * threads: one update (a rule that ranks all its numbers) and the SVD of the largest layer. */
size_t fc_merge_work_bytes(const fc_merge_method *rule, const fc_merge_job *job);

#endif
