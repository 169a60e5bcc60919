/* What the options of a config ask for, made: data, tasks, partition, transform, optimiser,
 * kernels, threads, a random backbone. */
#ifndef FC_MAKE_H
#define FC_MAKE_H

#include "core/vit/optim.h"
#include "core/vit/vit.h"
#include "datasets/dataset.h"
#include "datasets/partition.h"
#include "datasets/tasks.h"
#include "datasets/transform.h"
#include "sim/config/config.h"
#include "sim/io/progress.h"

/* Starts the threads of a config and returns their number; warns of more threads than cores, and of
 * a BLAS that allows one only. */
int fc_threads_open(const fc_config *c, fc_progress *progress);
/* Kernels and precision of a config; warns where bf16 is emulated. */
fc_status fc_engine_open(fc_engine *e, const fc_config *c, fc_progress *progress, fc_error *err);
fc_transform fc_transform_of(const fc_config *c, int image);
fc_optim_config fc_optim_of(const fc_config *c, unsigned groups);
fc_status fc_data_open(fc_dataset *d, const fc_config *c, fc_error *err);
fc_status fc_tasks_open(fc_tasks *t, const fc_dataset *d, const fc_config *c, fc_arena *arena,
                        fc_error *err);
fc_status fc_partition_open(fc_partition *p, const fc_dataset *d, const fc_tasks *t,
                            const fc_config *c, fc_arena *arena, fc_error *err);
/* The shape that the options of section `backbone` ask for, and random weights of it. */
fc_status fc_backbone_random(fc_params *w, fc_vit_shape *s, const fc_config *c, fc_arena *arena,
                             fc_error *err);

#endif
