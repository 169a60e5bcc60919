/* Views of one network and of its gradients, over blocks that others own. */
#ifndef FC_VIT_MODEL_H
#define FC_VIT_MODEL_H

#include "core/vit/vit_packed.h"

/* A read-only view of one network. W of slot i is w_i + scale * B_i A_i; experts add to its output,
 * token by token. */
typedef struct fc_model {
    const fc_vit_shape *shape;
    int classes, rank;       /* rank 0: no LoRA, A and B NULL */
    const fc_real *w;        /* backbone block in the layout of fc_vit_layout */
    const fc_real *A, *B;    /* all slots one after the other, as in a trained block */
    fc_real scale;           /* 1 in training */
    const fc_real *head_w;   /* (classes, D); NULL: features only */
    const fc_real *head_b;   /* (classes) */
    const fc_packed *packed; /* of w, for the engine of the activations; NULL: packed as they are
                                needed */
    const struct fc_smile *smile; /* (slots) experts of each layer (core/vit/smile_layer.h), or
                                     NULL; the head alone can be trained with them */
    const struct fc_wemoe *wemoe; /* experts of the MLPs and their gates (core/vit/wemoe_gate.h), or
                                     NULL */
} fc_model;

/* The view of trained block t on top of backbone w (in FC_TRAIN_FULL the backbone is t's own). */
fc_model fc_model_of(const fc_vit_shape *s, fc_train_mode mode, int rank, int classes,
                     const fc_real *w, const fc_params *t);

/* Gradients, accumulated (+=). NULL = frozen, and no work is done for it. */
typedef struct fc_grads {
    fc_real *w;     /* backbone block, or NULL */
    fc_real *A, *B; /* all slots, or NULL each */
    fc_real *head_w, *head_b;
    fc_real *gates; /* in the layout of the model's wemoe->gates, or NULL */
} fc_grads;
/* The view of a gradient block shaped like a trained block; groups not in `groups` (bits
 * 1 << fc_group) are NULL. */
fc_grads fc_grads_of(fc_train_mode mode, const fc_params *g, unsigned groups);

#endif
