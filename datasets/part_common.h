/* What several partitions share: the stream of one try, categorical draws, samples by class. */
#ifndef FC_PART_COMMON_H
#define FC_PART_COMMON_H

#include "core/base/rng.h"
#include "datasets/partition.h"

/* The stream of one try at one task. */
fc_rng fc_part_rng(const fc_partition_request *q, int t, int attempt);

/* cum (k) = running sums of p (k) ~ Dirichlet(beta, ..., beta); a (k) is scratch. */
void fc_part_dirichlet_sums(double *cum, double *a, double beta, int k, fc_rng *g);

/* i with probability (cum[i] - cum[i-1]) / cum[k-1], never one of probability 0. */
int fc_part_pick(const double *cum, int k, fc_rng *g);

/* The samples of class c are index[start[c]] .. index[start[c+1]-1], positions in the task. */
typedef struct fc_part_classes {
    uint32_t *index; /* (n) ascending within each class */
    size_t *start;   /* (classes + 1) */
} fc_part_classes;

/* Errors FC_EFAIL (memory). */
fc_status fc_part_by_class(fc_part_classes *out, const fc_partition_task *task, fc_arena *scratch,
                           fc_error *err);

/* Every class: shuffle its n samples, draw p ~ Dirichlet(beta), give client k the samples from
 * floor(n cum[k-1]) to floor(n cum[k]). balanced: clients that hold their share N / K of the task
 * already get p = 0 and the rest is renormalised. Errors FC_EFAIL (memory). */
fc_status fc_part_cut_classes(int32_t *owner, const fc_partition_task *task,
                              const fc_partition_request *q, int attempt, bool balanced,
                              fc_arena *scratch, fc_error *err);

#endif
