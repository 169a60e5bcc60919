/* dir-client: every client draws p ~ Dirichlet(beta 1_C) over the task's classes and then
 * samples_per_client samples, the class from p renormalised over the classes that have samples
 * left, without replacement; samples that no client drew stay unused. pfl-research (Granqvist et
 * al., NeurIPS 2024); Hsu et al. 2019, section 3.1. Deviation: a client whose p has no mass left on
 * these classes draws from all samples left. */
#include "datasets/part_common.h"

static fc_status assign_dir_client(int32_t *owner, const fc_partition_task *task,
                                   const fc_partition_request *q, int attempt, fc_arena *scratch,
                                   fc_error *err)
{
    size_t clients = (size_t)q->clients, classes = (size_t)task->classes;
    size_t each = q->samples_per_client ? (size_t)q->samples_per_client : task->n / clients;
    if (each > task->n / clients)
        return fc_fail(err, FC_EUSAGE,
                       "partition dir-client: task %d has %zu samples for %zu clients with %zu "
                       "each; at most %zu samples per client (or clients <= %zu) would work",
                       task->t + 1, task->n, clients, each, task->n / clients, task->n / each);
    fc_part_classes by;
    FC_TRY(fc_part_by_class(&by, task, scratch, err));
    double *a = fc_arena_alloc(scratch, classes, sizeof *a, err);
    double *p = fc_arena_alloc(scratch, classes, sizeof *p, err);
    double *cum = fc_arena_alloc(scratch, classes, sizeof *cum, err);
    size_t *left = fc_arena_alloc(scratch, classes, sizeof *left, err);
    if (!a || !p || !cum || !left)
        return FC_EFAIL;
    fc_rng g = fc_part_rng(q, task->t, attempt);
    for (size_t c = 0; c < classes; c++) {
        a[c] = q->beta;
        left[c] = by.start[c + 1] - by.start[c];
        fc_rng_shuffle(&g, by.index + by.start[c], left[c]);
    }
    for (size_t k = 0; k < clients; k++) {
        fc_rng_dirichlet(&g, p, a, task->classes);
        for (size_t j = 0; j < each; j++) {
            double sum = 0;
            for (size_t c = 0; c < classes; c++)
                cum[c] = sum += left[c] ? p[c] : 0;
            if (!(sum > 0))
                for (size_t c = 0; c < classes; c++)
                    cum[c] = sum += (double)left[c];
            size_t c = (size_t)fc_part_pick(cum, task->classes, &g);
            owner[by.index[by.start[c] + --left[c]]] = (int32_t)k;
        }
    }
    return FC_OK;
}

const fc_partition_method fc_partition_dir_client = {
    .name = "dir-client",
    .source = "pfl-research; Hsu et al. 2019, arXiv 1909.06335",
    .help = "per client, class shares ~ Dirichlet(beta), a fixed number of samples",
    .needs = "beta samples_per_client min_samples",
    .assign = assign_dir_client,
};
