/* dir-class: per class c, p ~ Dirichlet(beta 1_K), and every sample of c goes to a client drawn
 * independently from Categorical(p), so that counts are random and not p n_c rounded.
 * fed-mammoth (Salami et al., ICLR 2025), _datasets/_utils.py, its default 'distribution'. */
#include "datasets/part_common.h"

static fc_status assign_dir_class(int32_t *owner, const fc_partition_task *task,
                                  const fc_partition_request *q, int attempt, fc_arena *scratch,
                                  fc_error *err)
{
    size_t clients = (size_t)q->clients;
    double *a = fc_arena_alloc(scratch, clients, sizeof *a, err);
    double *cum = fc_arena_alloc(scratch, (size_t)task->classes * clients, sizeof *cum, err);
    if (!a || !cum)
        return FC_EFAIL;
    fc_rng g = fc_part_rng(q, task->t, attempt);
    for (int c = 0; c < task->classes; c++)
        fc_part_dirichlet_sums(cum + (size_t)c * clients, a, q->beta, q->clients, &g);
    for (size_t i = 0; i < task->n; i++)
        owner[i] = fc_part_pick(cum + (size_t)task->klass[i] * clients, q->clients, &g);
    return FC_OK;
}

const fc_partition_method fc_partition_dir_class = {
    .name = "dir-class",
    .source = "fed-mammoth; Hsu et al. 2019, arXiv 1909.06335",
    .help = "per class, clients' shares ~ Dirichlet(beta), every sample drawn on its own",
    .needs = "beta min_samples",
    .assign = assign_dir_class,
};
