/* What our files of models and adapters say of themselves in their metadata, so that fcil eval
 * needs no config. Made by fcil export, joined by fcil merge, read with every model:
 *
 *   classes        "[68, 56, ...]": the class of the data set that each row of the head stands for
 *   tasks          "[10, 10]": how many of these rows belong to each task, in this order
 *   backbone.heads, data.*, run.precision, seed.data    options of the run (but for paths) */
#ifndef FC_MODEL_META_H
#define FC_MODEL_META_H

#include "core/vit/vit.h"
#include "datasets/tasks.h"
#include "sim/config/config.h"
#include "sim/config/config_parts.h"

typedef const char *const (*fc_pairs)[2]; /* {key, value} */

typedef struct fc_model_meta {
    fc_ints classes, tasks; /* n = 0: not said */
    int n_settings;
    fc_setting *setting; /* (n_settings) the options */
} fc_model_meta;

/* Reads n pairs; path heads the messages. Errors: FC_EDATA for classes and tasks that are no lists,
 * or do not fit each other or the `rows` of the head (0: unknown). */
fc_status fc_model_meta_read(fc_model_meta *out, fc_pairs pair, int n, const char *path, int rows,
                             fc_arena *arena, fc_error *err);

/* Is this option among them, with the same value? */
bool fc_model_meta_says(const fc_model_meta *m, const fc_setting *s);

/* As pairs, sorted by key. */
fc_status fc_model_meta_pairs(fc_pairs *out, int *n, const fc_model_meta *m, fc_arena *arena,
                              fc_error *err);

/* The pairs of a model of tasks from .. to - 1 of a run. */
fc_status fc_model_meta_make(fc_pairs *out, int *n, fc_config *c, const fc_vit_shape *s,
                             const fc_tasks *k, int from, int to, fc_arena *arena, fc_error *err);

#endif
