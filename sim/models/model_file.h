/* A Vision Transformer with a head from files: timm-named safetensors, or an adapter folder
 * (sim/models/adapter.h) and the file of the backbone that it belongs to. Opened by fcil merge
 * (sim/models/merge_files.h) for what the file has, by fcil eval and stats
 * (sim/models/model_on_data.h) to be run. */
#ifndef FC_MODEL_FILE_H
#define FC_MODEL_FILE_H

#include "sim/config/config.h"
#include "sim/models/adapter.h"
#include "sim/models/model_meta.h"

typedef struct fc_model_file {
    const char *path;
    fc_model_meta meta;
    bool folder; /* an adapter */
    fc_adapter adapter;
    int classes, width;       /* of the head; 0: there is none */
    fc_real *head_w, *head_b; /* (classes, width), (classes) */
    fc_vit_shape shape;       /* from here on by load */
    fc_params w;              /* the backbone; an adapter's changes are in it */
} fc_model_file;

/* An adapter; of a model the metadata and the head, which is head.weight with head.bias. Everything
 * is in the arena. Errors: FC_EDATA for a file that is damaged. */
fc_status fc_model_file_open(fc_model_file *m, const char *path, fc_arena *arena, fc_error *err);

/* Is that the name of a tensor of the head? */
bool fc_model_file_is_head(const char *name);

/* The config of a test on it: of the file `config` if that is not NULL, else of what the metadata
 * say; then n overrides "section.key=value". Errors as fc_config_load. */
fc_status fc_model_file_config(fc_config *c, const fc_model_file *m, const char *config,
                               char *const *override, int n, fc_error *err);

/* The backbone at data.image_size of c. base: the file that an adapter belongs to; NULL: the one
 * that its config names, as seen from its folder or from here. Errors: FC_EUSAGE for a base beside
 * a whole model; FC_EDATA as fc_vit_load, where there is no head, or the adapter does not fit the
 * base. */
fc_status fc_model_file_load(fc_model_file *m, const char *base, const fc_config *c,
                             fc_arena *arena, fc_error *err);

#endif
