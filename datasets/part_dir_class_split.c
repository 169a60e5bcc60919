/* dir-class-split: per class, p ~ Dirichlet(beta 1_K), and the shuffled samples of the class are
 * cut at floor(n cumsum(p)). Flower's DirichletPartitioner with self_balancing=False (with it on,
 * see dir-class-balanced); Yurochkin et al., ICML 2019. */
#include "datasets/part_common.h"

static fc_status assign_dir_class_split(int32_t *owner, const fc_partition_task *task,
                                        const fc_partition_request *q, int attempt,
                                        fc_arena *scratch, fc_error *err)
{
    return fc_part_cut_classes(owner, task, q, attempt, false, scratch, err);
}

const fc_partition_method fc_partition_dir_class_split = {
    .name = "dir-class-split",
    .source = "Flower DirichletPartitioner; Yurochkin et al. 2019, arXiv 1905.12022",
    .help = "per class, samples cut at the running sum of shares ~ Dirichlet(beta)",
    .needs = "beta min_samples",
    .assign = assign_dir_class_split,
};
