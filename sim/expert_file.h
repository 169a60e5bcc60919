/* Merges that keep experts beside the backbone, as one safetensors file: the tensors of a
 * timm-named model, and
 *
 *   SMILE   smile.<weight>.<e>.B (m, k), .A (k, n), or .W (m, n) where an expert is kept whole,
 *           .bias (m) where it has one; smile.<weight>.gate (experts) and .router (sum of gate, n)
 *   WEMoE   wemoe.<weight>.<e>.B, .A, .W, .bias likewise; wemoe.<gate tensor> (core/merge/wemoe.h)
 *   EMR     emr.<tensor>.unified (rows, cols), emr.<tensor>.mask (experts, bytes), emr.rescaler
 *           (experts)
 *
 * metadata: experts = smile | wemoe | emr, experts.tasks = how many tasks each expert stands for;
 * top_k (SMILE), router_layers and batch_reduce (WEMoE). */
#ifndef FC_EXPERT_FILE_H
#define FC_EXPERT_FILE_H

#include "core/merge/rule_emr.h"
#include "core/merge/smile.h"
#include "core/merge/wemoe.h"
#include "core/opt.h"
#include "core/safetensors.h"
#include "sim/model_meta.h"

typedef struct fc_expert_file {
    int n, gate_k; /* experts; largest gate of SMILE's routers. 0: a model without experts */
    fc_ints tasks; /* (n) of each expert */
    const fc_smile *smile; /* (slots), or NULL */
    const fc_wemoe *wemoe; /* or NULL */
    const fc_emr *emr;     /* or NULL */
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
fc_acts_size fc_expert_file_acts(const fc_expert_file *x);

#endif
