/* Vision Transformer in timm's layout (Dosovitskiy et al. 2021; timm vision_transformer.py):
 * patch embedding, class token, learned position embedding, pre-norm blocks, fused qkv with bias,
 * exact (erf) GELU, LayerNorm eps 1e-6, final norm, features = class token.
 *
 *     x_0       = [cls; patches W_patch^T + b_patch] + pos         (T, D) of each image
 *     mid_l     = x_l + proj(softmax(q k^T / sqrt(D / H)) v)       (q, k, v) = qkv(norm1(x_l))
 *     x_l+1     = mid_l + fc2(GELU(fc1(norm2(mid_l))))             l = 0 .. L - 1
 *     logits    = norm(x_L)[cls] W_head^T + b_head
 *
 * qkv, proj, fc1 and fc2 may have LoRA, y = x (W + B A)^T + b, and experts beside them. This file
 * runs the network; the headers below are what it is made of. */
#ifndef FC_VIT_H
#define FC_VIT_H

#include "core/vit/vit_acts.h"
#include "core/vit/vit_io.h"
#include "core/vit/vit_layout.h"
#include "core/vit/vit_model.h"
#include "core/vit/vit_packed.h"

/* x (n, 3, image, image) normalised pixels, n <= n_max. Fills fc_acts_logits (n, classes) and
 * fc_acts_features (n, D). stats, if not NULL, is fed with the input of every slot and of the head
 * (statistics of images 0 .. n-1 in order). g: which gradients backward will be asked for (of its
 * pointers only which are NULL counts); what they need is kept. NULL: none, and all layers use the
 * same buffers, which stay in the cache. Serial, no allocation. */
void fc_vit_forward(fc_acts *a, const fc_model *m, const fc_real *x, int n, fc_grams *stats,
                    const fc_grads *g);

/* dlogits (n, classes) of the last forward with the same model and g. Adds to g. Stops at the
 * lowest layer that has anything to train. Serial, no allocation. */
void fc_vit_backward(fc_acts *a, const fc_model *m, const fc_real *dlogits, const fc_grads *g);
/* The same for a loss of logits and features: dfeatures (n, D) its gradient with respect to
 * fc_acts_features where the logits stand still; NULL: none. */
void fc_vit_backward_features(fc_acts *a, const fc_model *m, const fc_real *dlogits,
                              const fc_real *dfeatures, const fc_grads *g);

#endif
