/* dir-class-balanced: as dir-class-split, but a client that already holds at least N / K samples of
 * the task gets share 0 of the following classes, and the others' shares are renormalised.
 * NIID-Bench (Li et al., ICDE 2022), partition 'noniid-labeldir'; also used by TARGET (ICCV 2023).
 * Deviation: the shares are redrawn when every client with a share is full. */
#include "datasets/part_common.h"

static fc_status assign_dir_class_balanced(int32_t *owner, const fc_partition_task *task,
                                           const fc_partition_request *q, int attempt,
                                           fc_arena *scratch, fc_error *err)
{
    return fc_part_cut_classes(owner, task, q, attempt, true, scratch, err);
}

const fc_partition_method fc_partition_dir_class_balanced = {
    .name = "dir-class-balanced",
    .source = "NIID-Bench; Li et al. 2022, arXiv 2102.02079",
    .help = "as dir-class-split, clients with their fair number of samples get no more classes",
    .needs = "beta min_samples",
    .assign = assign_dir_class_balanced,
};
