/* The shape of a Vision Transformer and where each of its tensors stands: in a backbone, in timm's
 * names and order, and in the block that a client trains and sends. How both begin, and what a pass
 * costs. */
#ifndef FC_VIT_LAYOUT_H
#define FC_VIT_LAYOUT_H

#include "core/base/arena.h"
#include "core/base/params.h"
#include "core/base/status.h"
#include "core/vit/stats.h"

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

/* Grams of the inputs of all slots and, behind them, of the head: what fc_vit_forward feeds. alpha:
 * weight of their off-diagonals. */
fc_status fc_vit_grams(fc_grams *out, const fc_vit_shape *s, double alpha_slots, double alpha_head,
                       fc_arena *arena, fc_error *err);

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

/* W_slot += scale * B A for every slot: dst is a backbone block; A, B as in a trained block. */
void fc_lora_apply(fc_real *dst, const fc_vit_shape *s, int rank, const fc_real *A,
                   const fc_real *B, fc_real scale);

#endif
