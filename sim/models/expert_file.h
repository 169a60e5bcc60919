/* Merges that keep experts beside the backbone, as one safetensors file: the tensors of a
 * timm-named model, and those that the rule writes (sim/train/vit_rule.h), whose names begin with
 * its own.
 *
 * metadata: experts = the rule, experts.tasks = how many tasks each expert stands for, and what the
 * rule has to say.
 *
 * Written by fcil merge and fcil export, read by fcil eval (sim/models/model_on_data.h). */
#ifndef FC_EXPERT_FILE_H
#define FC_EXPERT_FILE_H

#include "core/base/opt.h"
#include "sim/models/model_meta.h"
#include "sim/train/vit_rule.h"

typedef struct fc_expert_file {
    int n;                /* experts; 0: a model without */
    fc_ints tasks;        /* (n) of each expert */
    fc_vit_merged merged; /* the rule and its experts; w and tau are not used */
} fc_expert_file;

/* Is there such a file for what this rule makes? */
bool fc_expert_file_keeps(const char *rule);

/* m: the backbone that the experts stand beside, and the head. Errors FC_EFAIL. */
fc_status fc_expert_file_write(const char *path, const fc_model *m, const fc_expert_file *x,
                               fc_pairs meta, int n_meta, fc_error *err);

/* The experts of a file, {0} if it says nothing of any. shape: of its backbone. Errors: FC_EDATA
 * names file and tensor, also one of experts that has no place in the network. */
fc_status fc_expert_file_read(fc_expert_file *x, const char *path, const fc_vit_shape *shape,
                              fc_arena *arena, fc_error *err);

/* What activations need beside, to run them. */
fc_acts_size fc_expert_file_acts(const fc_expert_file *x, const fc_vit_shape *shape);

#endif
