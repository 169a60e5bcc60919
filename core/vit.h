/* Vision Transformer in timm's layout (Dosovitskiy et al. 2021; timm vision_transformer.py):
 * patch embedding, class token, learned position embedding, pre-norm blocks, fused qkv with bias,
 * exact (erf) GELU, LayerNorm eps 1e-6, final norm, features = class token. */
#ifndef FC_VIT_H
#define FC_VIT_H

#include "core/arena.h"
#include "core/gemm.h"
#include "core/params.h"
#include "core/safetensors.h"
#include "core/stats.h"
#include "core/status.h"

#include <stdint.h>

typedef struct fc_vit_shape {
    int image;  /* side in pixels, a multiple of patch */
    int patch;  /* side in pixels */
    int width;  /* D */
    int depth;  /* L */
    int heads;  /* H, divides width */
    int hidden; /* MLP width, 4 D in timm's models */
} fc_vit_shape;

/* 1 + (image / patch)^2 */
int fc_vit_tokens(const fc_vit_shape *s);

/* Errors FC_EUSAGE, with `where` at the head of the message. */
fc_status fc_vit_check(const fc_vit_shape *s, const char *where, fc_error *err);

/* Layout of the backbone (group FC_GROUP_BACKBONE, p NULL), timm's names in timm's order:
 * cls_token (1,1,D), pos_embed (1,T,D), patch_embed.proj.weight (D,3,P,P), patch_embed.proj.bias,
 * blocks.N.{norm1.weight,norm1.bias,attn.qkv.weight,attn.qkv.bias,attn.proj.weight,attn.proj.bias,
 * norm2.weight,norm2.bias,mlp.fc1.weight,mlp.fc1.bias,mlp.fc2.weight,mlp.fc2.bias}, norm.weight,
 * norm.bias. Tensor indices: */
enum {
    FC_VIT_CLS,
    FC_VIT_POS,
    FC_VIT_PATCH_W,
    FC_VIT_PATCH_B,
    FC_VIT_BLOCK0, /* first tensor of block 0 */
    FC_VIT_PER_BLOCK = 12
};
/* clang-format off */
enum { FC_N1W, FC_N1B, FC_QKVW, FC_QKVB, FC_PROJW, FC_PROJB, FC_N2W, FC_N2B, FC_FC1W, FC_FC1B, FC_FC2W, FC_FC2B };
/* clang-format on */
fc_status fc_vit_layout(fc_params *out, const fc_vit_shape *s, fc_arena *arena, fc_error *err);

/* The adapted linear layers ("slots"), four per block: qkv (3D x D), attn.proj (D x D), fc1
 * (hidden x D), fc2 (D x hidden). Slot i = 4 * block + {0, 1, 2, 3}. */
int fc_vit_slots(const fc_vit_shape *s); /* 4 * depth */
int fc_slot_tensor(int slot);            /* index of its weight in the backbone's spec table */
void fc_slot_dims(const fc_vit_shape *s, int slot, int *d_out, int *d_in);

/* Where things begin, in elements: a tensor in a backbone block, and A and B of a slot among all A
 * and all B of a trained block. */
size_t fc_vit_offset(const fc_vit_shape *s, int tensor);
void fc_slot_offsets(const fc_vit_shape *s, int slot, int rank, size_t *A, size_t *B);

/* What a client trains and sends: one block. */
typedef enum fc_train_mode {
    FC_TRAIN_LORA, /* all A, then all B, then head.weight (C, D), head.bias (C) */
    FC_TRAIN_FULL, /* the backbone in its layout, then the head */
    FC_TRAIN_HEAD  /* the head */
} fc_train_mode;
/* LoRA tensors are named after their layer: "blocks.0.attn.qkv.lora_A" (r, d_in),
 * "blocks.0.attn.qkv.lora_B" (d_out, r). rank is ignored unless mode is FC_TRAIN_LORA. */
fc_status fc_train_layout(fc_params *out, const fc_vit_shape *s, fc_train_mode mode, int rank,
                          int classes, fc_arena *arena, fc_error *err);
/* Index of A (or B) of a slot, and of head.weight, in the spec table of a trained block. */
int fc_train_A(int slot);
int fc_train_B(const fc_vit_shape *s, int slot);
int fc_train_head(const fc_params *train); /* head.bias is the next one */

/* Weights prepared as right operands: frozen ones once for all threads and clients, trained ones
 * once a step for all slices of the batch. */
typedef struct fc_packed {
    fc_engine engine;               /* isa and bf16 they are for */
    fc_operand patch;               /* W^T of the patch embedding */
    fc_operand *forward, *backward; /* (slots) W^T and W; backward may be NULL */
    void *block;
} fc_packed;
/* Room for them. backward: also for training. */
fc_status fc_packed_new(fc_packed *out, const fc_vit_shape *s, bool backward, const fc_engine *e,
                        fc_error *err);
/* Prepare backbone w. It must outlive the use: BLAS reads it in place. Serial. */
void fc_packed_fill(fc_packed *p, const fc_vit_shape *s, const fc_real *w);
void fc_packed_free(fc_packed *p); /* accepts {0} */
size_t fc_packed_bytes(const fc_vit_shape *s, bool backward, const fc_engine *e);

/* Grams of the inputs of all slots and, behind them, of the head: what fc_vit_forward feeds. alpha:
 * weight of their off-diagonals. */
fc_status fc_vit_grams(fc_grams *out, const fc_vit_shape *s, double alpha_slots, double alpha_head,
                       fc_arena *arena, fc_error *err);

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
    const struct fc_smile *smile; /* (slots) experts of each layer (core/smile_layer.h), or NULL;
                                     the head alone can be trained with them */
    const struct fc_wemoe *wemoe; /* experts of the MLPs and their gates (core/wemoe_gate.h), or
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

/* Activations of one block of at most n_max images: all scratch of forward and backward, allocated
 * once. One per thread. */
typedef struct fc_acts fc_acts;
/* Bounds on the models and images that they are for. */
typedef struct fc_acts_size {
    int rank, classes;
    int n_max;     /* images */
    bool backward; /* keep what backward needs (and its scratch); otherwise layers share buffers */
    int experts;   /* beside each layer; 0: none */
    int gate_k;    /* of SMILE's router */
    bool gates;    /* the experts are WEMoE's */
    bool whole;    /* all images go through each layer at once: for its batch_reduce */
} fc_acts_size;
/* e: isa and bf16 of the products; its scratch is made here. */
fc_status fc_acts_new(fc_acts **out, const fc_vit_shape *s, const fc_acts_size *size,
                      const fc_engine *e, fc_error *err);
void fc_acts_free(fc_acts *a); /* accepts NULL */

/* x (n, 3, image, image) normalised pixels, n <= n_max. Fills fc_acts_logits (n, classes) and
 * fc_acts_features (n, D). stats, if not NULL, is fed with the input of every slot and of the head
 * (statistics of images 0 .. n-1 in order). g: which gradients backward will be asked for (of its
 * pointers only which are NULL counts); what they need is kept. NULL: none, and all layers use the
 * same buffers, which stay in the cache. Serial, no allocation. */
void fc_vit_forward(fc_acts *a, const fc_model *m, const fc_real *x, int n, fc_grams *stats,
                    const fc_grads *g);
const fc_real *fc_acts_logits(const fc_acts *a);
const fc_real *fc_acts_features(const fc_acts *a);

/* dlogits (n, classes) of the last forward with the same model and g. Adds to g. Stops at the
 * lowest layer that has anything to train. Serial, no allocation. */
void fc_vit_backward(fc_acts *a, const fc_model *m, const fc_real *dlogits, const fc_grads *g);

/* Scratch of fc_acts in bytes, for the prediction of memory. */
size_t fc_acts_bytes(const fc_vit_shape *s, const fc_acts_size *size, const fc_engine *e);
/* Floating-point operations of the matrix products for one image: forward, or forward + backward
 * of a mode with `groups` trained. */
double fc_vit_flop(const fc_vit_shape *s, int rank, int classes, fc_train_mode mode,
                   unsigned groups, bool backward);

/* Random start of a backbone, timm's init ('' scheme): linear weights and position embedding
 * trunc-normal std 0.02, cls token N(0, 1e-6), biases 0, LayerNorm 1 and 0, patch embedding as
 * torch's Conv2d default (uniform bound 1/sqrt(3 P^2)). */
void fc_vit_init(fc_params *w, uint64_t seed);
/* Head: weight trunc-normal std 0.02 (truncated at +-2 absolute, as timm), bias 0. */
void fc_head_init(fc_params *train, uint64_t seed);
/* LoRA of task `task`: A ~ U(-1/sqrt(d_in), 1/sqrt(d_in)), B = 0. */
void fc_lora_init(fc_params *train, const fc_vit_shape *s, uint64_t seed, int task);

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

/* W_slot += scale * B A for every slot: dst is a backbone block; A, B as in a trained block. */
void fc_lora_apply(fc_real *dst, const fc_vit_shape *s, int rank, const fc_real *A,
                   const fc_real *B, fc_real scale);

#endif
