/* Merges of files that are more than a function of task vectors (sim/train/vit_merge.h): the base
 * is a timm-named ViT, the inputs are updates of it, and with the head that they have together it
 * is a network. Used by fcil merge, on inputs that sim/models/merge_files.h has loaded: their task
 * vectors and images go into fc_vit_merge_make, and what comes out is saved by merge_files or, with
 * experts, here.
 *
 * Rules that need images take them from the data that the inputs name in their metadata, of each
 * input's own classes, as tasks.merge does in a run (fc_task_images_draw): with the run's seed and
 * as many images as there, the result is the same byte for byte. */
#ifndef FC_MERGE_NETWORK_H
#define FC_MERGE_NETWORK_H

#include "sim/models/merge_files.h"
#include "sim/train/vit_merge.h"

typedef struct fc_merge_network_job {
    const fc_merge_method *rule;
    const void *options; /* the rule's */
    fc_space space;
    uint64_t seed;
    size_t samples;        /* images of each input, at most; 0: none, and no data is opened */
    char *const *override; /* (n_override) "section.key=value", of the config */
    int n_override;
    fc_console console;
} fc_merge_network_job;

typedef struct fc_merge_network {
    fc_vit_shape shape;
    fc_real *head_w, *head_b; /* (f->rows, width), (f->rows) */
    fc_vit_merged merged;     /* its tau: as f->set */
} fc_merge_network;

/* What the rule makes of the loaded inputs; in f->arena. Errors: FC_EDATA where the base is no such
 * network or has experts of its own, there is no head, the inputs do not name their classes or not
 * the same data; those of the config, the data and the rule. */
fc_status fc_merge_network_make(fc_merge_network *m, fc_merge_files *f,
                                const fc_merge_network_job *job, fc_error *err);

/* A result with experts as a file that fcil eval runs (sim/models/expert_file.h). Errors: FC_EDATA
 * for a model for each input where these have the same classes. */
fc_status fc_merge_network_save(const fc_merge_network *m, fc_merge_files *f, const char *path,
                                fc_error *err);

#endif
