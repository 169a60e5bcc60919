/* WEMoE: Weight-Ensembling Mixture of Experts. Tang et al., ICML 2024 (arXiv 2402.00433), section
 * 4; options as in the authors' FusionBench. All but the MLP blocks is task arithmetic, and each
 * MLP block merges anew for each image x:
 *
 *     theta      = theta_0 + lambda sum_i tau_i                         all other tensors
 *     theta_l(x) = theta_0 + sum_i w_i(x) tau_i                         fc1, fc2 of block l
 *     w(x)       = mean over tokens t of g(h_t)                         no softmax
 *     g(h)       = b2,  W2 h + b2  or  W2 relu(W1 h + b1) + b2          0, 1 or 2 router layers
 *
 * with h the block's MLP input (after norm2). batch_reduce: w is also averaged over the images of a
 * forward pass. W1 (D, D), W2 (tasks, D) start as N(0, 0.01^2), b1 = 0, b2 = lambda. Only the gates
 * are trained, without labels: Adam, lr 1e-4, 1000 steps of 16 images of each task, on the mean
 * entropy (fc_entropy) of each task's own logits.
 *
 * Here no merged network is built: y = W_0 x + b_0 + sum_i w_i (tau_i x + beta_i), with task
 * vectors in factors where these are fewer numbers; dense ones are added up layer by layer, once
 * for an image, or with batch_reduce once for all. Cost of a token: the base, the experts, and D^2
 * of the gate. Memory: the MLPs' task vectors, depth (D^2 + (tasks + 1) D + tasks) numbers of
 * gates. */
#ifndef FC_WEMOE_H
#define FC_WEMOE_H

#include "core/experts.h"
#include "core/merge/combine.h"
#include "core/params.h"
#include "core/vit.h"

typedef struct fc_wemoe_options {
    double lambda;     /* 0.3 */
    int router_layers; /* 0 .. 2: 2 */
    bool batch_reduce; /* false; published: true while gates are trained */
} fc_wemoe_options;

/* And how the gates are trained: the options of the row wemoe. */
typedef struct fc_wemoe_training {
    fc_wemoe_options options;
    double lr;        /* 1e-4 */
    int steps, batch; /* 1000; 16 of each task */
} fc_wemoe_training;

typedef struct fc_wemoe {
    int tasks, width, router_layers;
    bool batch_reduce;
    fc_experts *mlp; /* (2 depth) of fc1 and fc2 of each block */
    fc_params gates; /* "blocks.0.mlp.gate.fc1.weight", ...; group FC_GROUP_BACKBONE */
} fc_wemoe;

/* The set's tensors bear the names of the backbone's spec table (fc_vit_layout). w, the backbone,
 * is theta_0, and becomes what is said above for all tensors but those of the MLPs. Task vectors
 * are copied. Memory from arena. Errors: FC_EUSAGE for router_layers out of range, or a tensor that
 * the backbone has not; those of fc_tv_check. Serial. */
fc_status fc_wemoe_init(fc_wemoe *m, fc_real *w, const fc_vit_shape *shape, const fc_tv_set *in,
                        const fc_wemoe_options *o, uint64_t seed, fc_arena *arena, fc_error *err);

/* Room for such a model: gates of zeros, mlp with its sizes and no experts. Memory from arena.
 * Errors: FC_EUSAGE for router_layers out of range. */
fc_status fc_wemoe_alloc(fc_wemoe *m, const fc_vit_shape *shape, int tasks,
                         const fc_wemoe_options *o, fc_arena *arena, fc_error *err);

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
