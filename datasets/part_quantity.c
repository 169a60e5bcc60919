/* quantity: every client draws classes_per_client classes of the task without replacement, again
 * for all clients until every class is chosen; each sample of a class goes to one of the clients
 * that chose it, uniformly and independently. fed-mammoth's 'quantity'. */
#include "datasets/part_common.h"

/* chosen (classes, clients): the clients that chose class c stand first, count[c] of them.
 * Returns whether every class was chosen. */
static bool choose_classes(int *chosen, int *count, uint32_t *klass, int classes, int clients,
                           int each, fc_rng *g)
{
    for (int c = 0; c < classes; c++) {
        klass[c] = (uint32_t)c;
        count[c] = 0;
    }
    for (int k = 0; k < clients; k++) {
        fc_rng_shuffle(g, klass, (size_t)classes);
        for (int j = 0; j < each; j++) {
            size_t c = klass[j];
            chosen[c * (size_t)clients + (size_t)count[c]++] = k;
        }
    }
    for (int c = 0; c < classes; c++)
        if (count[c] == 0)
            return false;
    return true;
}

static fc_status assign_quantity(int32_t *owner, const fc_partition_task *task,
                                 const fc_partition_request *q, int attempt, fc_arena *scratch,
                                 fc_error *err)
{
    int classes = task->classes, clients = q->clients, each = q->classes_per_client;
    int least = (classes + clients - 1) / clients;
    if (each < least || each > classes)
        return fc_fail(err, FC_EUSAGE,
                       "partition quantity: task %d has %d classes for %d clients with %d each; %d "
                       "to %d classes per client would work",
                       task->t + 1, classes, clients, each, least, classes);
    size_t n = (size_t)classes;
    int *chosen = fc_arena_alloc(scratch, n * (size_t)clients, sizeof *chosen, err);
    int *count = fc_arena_alloc(scratch, n, sizeof *count, err);
    uint32_t *klass = fc_arena_alloc(scratch, n, sizeof *klass, err);
    if (!chosen || !count || !klass)
        return FC_EFAIL;
    fc_rng g = fc_part_rng(q, task->t, attempt);
    int tries = 0;
    while (!choose_classes(chosen, count, klass, classes, clients, each, &g))
        if (++tries >= q->max_tries)
            return fc_fail(err, FC_EUSAGE,
                           "partition quantity: task %d: no draw of %d classes for each of %d "
                           "clients covered all %d classes in %d tries; more classes per client or "
                           "more clients would work",
                           task->t + 1, each, clients, classes, tries);
    for (size_t i = 0; i < task->n; i++) {
        size_t c = (size_t)task->klass[i];
        owner[i] = chosen[c * (size_t)clients + fc_rng_below(&g, (uint32_t)count[c])];
    }
    return FC_OK;
}

const fc_partition_method fc_partition_quantity = {
    .name = "quantity",
    .source = "fed-mammoth; Li et al. 2022, arXiv 2102.02079 (#C = k)",
    .help = "every client holds classes_per_client random classes of each task",
    .needs = "classes_per_client min_samples",
    .assign = assign_quantity,
};
