/* iid: the shuffled samples of the task dealt in turn; client sizes differ by at most one. */
#include "datasets/part_common.h"

static fc_status assign_iid(int32_t *owner, const fc_partition_task *task,
                            const fc_partition_request *q, int attempt, fc_arena *scratch,
                            fc_error *err)
{
    uint32_t *order = fc_arena_alloc(scratch, task->n, sizeof *order, err);
    if (!order)
        return FC_EFAIL;
    for (size_t i = 0; i < task->n; i++)
        order[i] = (uint32_t)i;
    fc_rng g = fc_part_rng(q, task->t, attempt);
    fc_rng_shuffle(&g, order, task->n);
    for (size_t i = 0; i < task->n; i++)
        owner[order[i]] = (int32_t)(i % (size_t)q->clients);
    return FC_OK;
}

const fc_partition_method fc_partition_iid = {
    .name = "iid",
    .source = "McMahan et al. 2017, arXiv 1602.05629, section 3",
    .help = "samples shuffled and dealt in turn",
    .needs = "min_samples",
    .assign = assign_iid,
};
