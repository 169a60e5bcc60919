/* Vision Transformers as safetensors files, in timm's tensor names. */
#ifndef FC_VIT_IO_H
#define FC_VIT_IO_H

#include "core/base/safetensors.h"
#include "core/vit/vit_model.h"

/* Load a timm ViT: width, depth, hidden, patch are read from the tensors; heads from the metadata
 * key "heads" (another `heads` > 0 is refused), else `heads` if > 0, else width / 64. image > 0:
 * the position embedding is resampled to (image / patch)^2 tokens, bicubic with antialias as timm's
 * resample_abs_pos_embed (the class token's row is kept); image 0: the file's own size. Extra
 * tensors (head.*) are ignored. *w is allocated from arena, *s filled. Errors FC_EDATA: missing
 * tensor, wrong shape, NaN. */
fc_status fc_vit_load(fc_params *w, fc_vit_shape *s, const char *path, int image, int heads,
                      fc_arena *arena, fc_error *err);
/* What a file of weights holds beside a network. */
typedef struct fc_vit_extra {
    const char *const (*metadata)[2]; /* (n_metadata) */
    int n_metadata;
    const fc_st_entry *entry; /* (n_entries) */
    int n_entries;
} fc_vit_extra;
/* Write a network without LoRA, and its head if it has one (m->head_w), as timm-named safetensors
 * with metadata format, heads, image; more, which may be NULL, goes behind. */
fc_status fc_vit_save(const char *path, const fc_model *m, const fc_vit_extra *more, fc_error *err);

#endif
