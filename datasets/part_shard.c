/* shard: samples sorted by class, cut into K s shards of equal size (sizes differ by at most one),
 * every client gets s random shards. McMahan et al., AISTATS 2017, section 3. */
#include "datasets/part_common.h"

static fc_status assign_shard(int32_t *owner, const fc_partition_task *task,
                              const fc_partition_request *q, int attempt, fc_arena *scratch,
                              fc_error *err)
{
    size_t shards = (size_t)q->clients * (size_t)q->shards_per_client;
    if (shards > task->n)
        return fc_fail(err, FC_EUSAGE,
                       "partition shard: task %d has %zu samples for %d clients x %d shards; at "
                       "most %zu shards per client (or clients <= %zu) would work",
                       task->t + 1, task->n, q->clients, q->shards_per_client,
                       task->n / (size_t)q->clients, task->n / (size_t)q->shards_per_client);
    fc_part_classes by;
    FC_TRY(fc_part_by_class(&by, task, scratch, err));
    uint32_t *order = fc_arena_alloc(scratch, shards, sizeof *order, err);
    if (!order)
        return FC_EFAIL;
    for (size_t s = 0; s < shards; s++)
        order[s] = (uint32_t)s;
    fc_rng g = fc_part_rng(q, task->t, attempt);
    fc_rng_shuffle(&g, order, shards);
    for (size_t s = 0; s < shards; s++) {
        size_t from = order[s] * task->n / shards, to = (order[s] + 1) * task->n / shards;
        for (size_t i = from; i < to; i++)
            owner[by.index[i]] = (int32_t)(s % (size_t)q->clients);
    }
    return FC_OK;
}

const fc_partition_method fc_partition_shard = {
    .name = "shard",
    .source = "McMahan et al. 2017, arXiv 1602.05629",
    .help = "samples sorted by class, cut into equal shards, shards_per_client for each client",
    .needs = "shards_per_client min_samples",
    .assign = assign_shard,
};
