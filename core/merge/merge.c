#include "core/merge/merge.h"

#include "core/merge/collect.h"

#include <string.h>

/* rule_table.inc: FC_ROW(name) for every row of rule_table.def */
#define FC_ROW(name) extern const fc_merge_method fc_merge_##name;
#include "rule_table.inc"
#undef FC_ROW

#define FC_ROW(name) &fc_merge_##name,
const fc_merge_method *const fc_merge_table[] = {
#include "rule_table.inc"
};
#undef FC_ROW

const int fc_merge_count = sizeof fc_merge_table / sizeof *fc_merge_table;

const fc_merge_method *fc_merge_find(const char *name)
{
    for (int i = 0; i < fc_merge_count; i++)
        if (strcmp(fc_merge_table[i]->name, name) == 0)
            return fc_merge_table[i];
    return NULL;
}

fc_status fc_merge_check(const fc_merge_method *rule, const fc_space *space, bool product,
                         fc_error *err)
{
    if (rule->experts)
        return fc_fail(err, FC_EUSAGE,
                       "%s keeps the updates apart: there is no one model to go on from",
                       rule->name);
    if (rule->needs & FC_MERGE_NEEDS_IMAGES)
        return fc_fail(err, FC_EUSAGE, "%s needs images, which the server of a round has not",
                       rule->name);
    if (product && !rule->combine)
        return fc_fail(err, FC_EUSAGE,
                       "%s does not merge the products B A, only parameters as they are sent",
                       rule->name);
    FC_TRY(fc_space_check(space, err));
    if (space->kind == FC_SPACE_FULL)
        return FC_OK;
    if (!rule->combine)
        return fc_fail(err, FC_EUSAGE, "%s works in full space only: %s", rule->name,
                       "it merges parameters as they are sent");
    if (rule->full_only)
        return fc_fail(err, FC_EUSAGE, "%s works in full space only: %s", rule->name,
                       rule->full_only);
    return FC_OK;
}

/* By task vectors, or folded? */
static bool collects(const fc_merge_method *rule, const fc_merge_job *job)
{
    bool product = job->product && !rule->factors;
    return product || !rule->begin || job->space.kind != FC_SPACE_FULL;
}

fc_status fc_merge_begin(void **state, const fc_merge_method *rule, const fc_merge_job *job,
                         fc_arena *arena, fc_error *err)
{
    fc_collect *c = NULL;
    FC_TRY(fc_merge_check(rule, &job->space, job->product, err));
    if (!collects(rule, job))
        return rule->begin(state, job, arena, err);
    if (!job->product && job->groups & (1u << FC_GROUP_A | 1u << FC_GROUP_B))
        return fc_fail(err, FC_EUSAGE,
                       "%s merges products B A, but A and B are sent as two parameters here",
                       rule->name);
    FC_TRY(fc_collect_begin(&c, rule, job, arena, err));
    *state = c;
    return FC_OK;
}

fc_status fc_merge_fold(void *state, const fc_merge_method *rule, const fc_merge_job *job,
                        const fc_update *u, fc_error *err)
{
    return collects(rule, job) ? fc_collect_fold(state, u, err) : rule->fold(state, job, u, err);
}

fc_status fc_merge_finish(void *state, const fc_merge_method *rule, const fc_merge_job *job,
                          fc_params *out, fc_error *err)
{
    return collects(rule, job) ? fc_collect_finish(state, out, err)
                               : rule->finish(state, job, out, err);
}

bool fc_merge_streams(const fc_merge_method *rule, const fc_merge_job *job)
{
    return !collects(rule, job) || fc_collect_streams(rule, job);
}

size_t fc_merge_kept_bytes(const fc_merge_method *rule, const fc_merge_job *job)
{
    return collects(rule, job) ? fc_collect_kept_bytes(rule, job) : 0;
}

size_t fc_merge_work_bytes(const fc_merge_method *rule, const fc_merge_job *job)
{
    return collects(rule, job) ? fc_collect_work_bytes(rule, job) : 0;
}
