/* MLPs of a Vision Transformer whose weights are merged anew for each image x: the layers of WEMoE
 * (Tang et al., ICML 2024, arXiv 2402.00433). How they are made of updates:
 * core/merge/rules/wemoe.h.
 *
 *     theta_l(x) = theta_0 + sum_i w_i(x) tau_i                         fc1, fc2 of block l
 *     w(x)       = mean over tokens t of g(h_t)                         no softmax
 *     g(h)       = b2,  W2 h + b2  or  W2 relu(W1 h + b1) + b2          0, 1 or 2 router layers
 *
 * with h the block's MLP input (after norm2). batch_reduce: w is also averaged over the images of a
 * forward pass.
 *
 * Here no merged network is built: y = W_0 x + b_0 + sum_i w_i (tau_i x + beta_i), with task
 * vectors in factors where these are fewer numbers; dense ones are added up layer by layer, once
 * for an image, or with batch_reduce once for all. Cost of a token: the base, the experts, and D^2
 * of the gate. */
#ifndef FC_WEMOE_GATE_H
#define FC_WEMOE_GATE_H

#include "core/base/params.h"
#include "core/vit/experts.h"

typedef struct fc_wemoe {
    int tasks, width, router_layers;
    bool batch_reduce;
    fc_experts *mlp; /* (2 depth) of fc1 and fc2 of each block */
    fc_params gates; /* "blocks.0.mlp.gate.fc1.weight", ...; group FC_GROUP_BACKBONE */
} fc_wemoe;

/* The slot of mlp[i]: fc1 (even i) or fc2 of block i / 2. */
int fc_wemoe_slot(int i);
/* The experts of a slot; NULL where it is not of an MLP. */
const fc_experts *fc_wemoe_experts(const fc_wemoe *m, int slot);

/* Floating-point operations of gates and experts for one image of T tokens, forward. */
double fc_wemoe_flop(const fc_wemoe *m, int T, int depth);

/* One gate: a view of a block in the layout of m->gates, of its values or of their gradients. */
typedef struct fc_gate {
    int width, tasks, layers;
    bool batch_reduce;
    fc_real *W1, *b1; /* (D, D), (D); layers 2 */
    fc_real *W2;      /* (tasks, D); layers 1 and 2 */
    fc_real *b2;      /* (tasks) */
} fc_gate;
fc_gate fc_wemoe_gate(const fc_wemoe *m, fc_real *block, int l);

/* Scratch of the two functions below, for n images of T tokens in all `rows` of them; a bound. */
size_t fc_gate_bytes(const fc_engine *e, int width, int images, int rows);

/* w (n, tasks) = w(x) of n images, h (n T, D). Keeps for backward: z (n T, D) = relu(W1 h + b1),
 * with 2 layers, and mean (n, D) of W2's input. */
void fc_gate_forward(const fc_engine *e, double *w, fc_real *mean, fc_real *z, const fc_gate *g,
                     const fc_real *h, int n, int T);

/* dh (n T, D) += and the gradients d (NULL: none) +=, from dw (n, tasks), which is overwritten with
 * batch_reduce. The rest as given to, and kept by, forward. */
void fc_gate_backward(const fc_engine *e, fc_real *dh, const fc_gate *d, const fc_gate *g,
                      double *dw, const fc_real *h, const fc_real *mean, const fc_real *z, int n,
                      int T);

#endif
