/* Images that one update stands for: those of its task, or of several. What rules over images are
 * trained or measured on (sim/train/entropy.h, sim/train/regmean_pp.h, sim/train/vit_merge.h);
 * their labels are not read. */
#ifndef FC_TASK_IMAGES_H
#define FC_TASK_IMAGES_H

#include "core/base/rng.h"
#include "datasets/tasks.h"

typedef struct fc_task_images {
    const uint32_t *sample; /* (n) of the training split */
    size_t n;
    int lo, hi; /* logits of the task */
} fc_task_images;

/* A new list of all images of tasks from .. to - 1, task by task: those that are trained on, or
 * (held) held out. NULL: no memory. */
uint32_t *fc_task_images_list(size_t *n, const fc_tasks *tasks, int from, int to, bool held,
                              fc_arena *arena, fc_error *err);

/* Images of tasks from .. to - 1: the held-out ones, or where there are none the training images;
 * at most `most`, drawn at random. key: seed, and as its task the number of the update. */
fc_status fc_task_images_draw(fc_task_images *out, const fc_tasks *tasks, int from, int to,
                              size_t most, fc_key key, fc_arena *arena, fc_error *err);

#endif
