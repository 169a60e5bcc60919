/* WEMoE: Weight-Ensembling Mixture of Experts. Tang et al., ICML 2024 (arXiv 2402.00433), section
 * 4; options as in the authors' FusionBench. All but the MLP blocks is task arithmetic, and each
 * MLP block merges anew for each image x:
 *
 *     theta      = theta_0 + lambda sum_i tau_i                         all other tensors
 *     theta_l(x) = theta_0 + sum_i w_i(x) tau_i                         fc1, fc2 of block l
 *
 * with the weights w(x) of a gate, core/vit/wemoe_gate.h. Its W1 (D, D), W2 (tasks, D) start as
 * N(0, 0.01^2), b1 = 0, b2 = lambda. Only the gates are trained, without labels: Adam, lr 1e-4,
 * 1000 steps of 16 images of each task, on the mean entropy (fc_entropy) of each task's own logits.
 *
 * Memory: the MLPs' task vectors, depth (D^2 + (tasks + 1) D + tasks) numbers of gates. */
#ifndef FC_WEMOE_H
#define FC_WEMOE_H

#include "core/merge/combine.h"
#include "core/vit/vit.h"
#include "core/vit/wemoe_gate.h"

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

#endif
