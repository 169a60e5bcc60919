/* The tensors of experts in a safetensors file (sim/models/expert_file.h), as the rule that made
 * them writes and reads them: their names begin with the rule's, and what they stand beside is a
 * weight of the network. A low-rank or dense expert of a layer (core/vit/experts.h) is the same for
 * all rules:
 *
 *   <rule>.<weight>.<e>.B (m, k), .A (k, n), or .W (m, n) where it is kept whole; .bias (m) where
 * it has one */
#ifndef FC_EXPERT_TENSORS_H
#define FC_EXPERT_TENSORS_H

#include "core/base/safetensors.h"
#include "core/vit/experts.h"
#include "core/vit/vit.h"

/* --- writing -----------------------------------------------------------------------------------
 */

enum { FC_EXPERT_PAIRS = 8 }; /* most that a rule has to say in the metadata */

typedef struct fc_expert_writer {
    const char *rule;
    int n; /* experts */
    const fc_vit_shape *shape;
    fc_params layout;   /* of the backbone (fc_vit_layout) */
    fc_st_entry *entry; /* (entries) */
    int entries, room;
    const char *pair[FC_EXPERT_PAIRS][2]; /* {key, value} of the metadata */
    int pairs;
    fc_arena *arena;
} fc_expert_writer;

/* A tensor (rows, cols); data must outlive the writer. name NULL: no memory. */
fc_status fc_expert_put(fc_expert_writer *w, const char *name, fc_dtype dtype, int64_t rows,
                        int64_t cols, const void *data, fc_error *err);
fc_status fc_expert_put_reals(fc_expert_writer *w, const char *name, int64_t rows, int64_t cols,
                              const fc_real *data, fc_error *err);
/* All experts of a layer. */
fc_status fc_expert_put_layer(fc_expert_writer *w, const fc_experts *of, const char *weight,
                              fc_error *err);
/* A pair of the metadata. value NULL: no memory. */
fc_status fc_expert_say(fc_expert_writer *w, const char *key, const char *value);

/* --- reading -----------------------------------------------------------------------------------
 */

typedef struct fc_expert_reader {
    const char *rule;
    int n; /* experts */
    const fc_vit_shape *shape;
    fc_params layout;
    fc_st file;
    bool *seen; /* (file.n) tensors that were asked for */
    fc_arena *arena;
} fc_expert_reader;

/* *t = the tensor of that name; rows or cols -1: any. find: NULL if there is none; need: FC_EDATA.
 * Errors: FC_EDATA for another shape. name NULL: no memory. */
fc_status fc_expert_find(const fc_tensor **t, const fc_expert_reader *r, const char *name,
                         int64_t rows, int64_t cols, fc_error *err);
fc_status fc_expert_need(const fc_tensor **t, const fc_expert_reader *r, const char *name,
                         int64_t rows, int64_t cols, fc_error *err);
/* *out = its numbers, in the arena. */
fc_status fc_expert_reals(fc_real **out, const fc_expert_reader *r, const fc_tensor *t,
                          fc_error *err);
/* The experts of a layer, whose rows and cols are known. Errors: FC_EDATA. */
fc_status fc_expert_read_layer(fc_experts *of, const fc_expert_reader *r, const char *weight,
                               fc_error *err);
/* Does the layer have some? */
fc_status fc_expert_has_layer(bool *has, const fc_expert_reader *r, const fc_experts *of,
                              const char *weight, fc_error *err);

#endif
