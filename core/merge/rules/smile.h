/* SMILE: Sparse Mixture of Low-rank Experts without training. Tang et al., 2024 (arXiv 2408.10174),
 * section 4. The experts W_e, b_e of a linear layer W_0, b_0 (core/vit/smile_layer.h) from the thin
 * SVD of the updates,
 *
 *     Delta_e = W_e - W_0 = U_e S_e V_e^T
 *
 * the first k vectors for the expert, the first gate_k of V_e for its router. Deviation: k and
 * gate_k are cut to the numerical rank of Delta_e, since the vectors behind it are whatever LAPACK
 * returns. (The published code may take them into the router; gate_k = d_in would give all experts
 * equal logits |x|.)
 *
 * Factored updates are decomposed without being multiplied out; k = all, or k >= r, keeps their
 * factors as they came. Memory: per expert the fewer of k (m + n) and m n numbers, and gate_k n. */
#ifndef FC_SMILE_H
#define FC_SMILE_H

#include "core/merge/combine.h"
#include "core/vit/smile_layer.h"
#include "core/vit/vit.h"

typedef struct fc_smile_options {
    int gate_k;            /* vectors of the router, >= 1: 1; 16 (ViT), 2 (LoRA of rank 16) */
    int k;                 /* vectors of an expert; < 0: all, that is Delta itself. 128; 32 (ViT) */
    int top_k;             /* experts per token, 1 .. experts: 1 */
    bool routing_use_diff; /* true; false: the router takes V of W_e itself */
    bool average_experts;  /* tensors that are not linear: false: W_0; true: the experts' mean */
} fc_smile_options;

/* One layer: the updates of tensor t. */
typedef struct fc_smile_source {
    const fc_tv_set *in;
    int t;
    const fc_real *W0; /* (rows, cols), wanted if not routing_use_diff */
    const fc_real *const
        *bias; /* (experts) b_e - b_0 of (rows) each, or NULL: 0; must outlive it */
} fc_smile_source;

/* Cost: an SVD per expert, in double, and without routing_use_diff a second one. Serial.
 * Errors: FC_EUSAGE for options out of their range; FC_EFAIL for an update that is not finite. */
fc_status fc_smile_init(fc_smile *s, const fc_smile_source *from, const fc_smile_options *options,
                        fc_arena *arena, fc_arena *scratch, fc_error *err);

/* All linear layers of a backbone: out (slots); one with n = 0 where no update has the tensor. The
 * set's tensors bear the names of the backbone's spec table (fc_vit_layout). w, the backbone, is
 * W_0 and stays so, but for the other tensors with average_experts. Layers in parallel, same bits
 * for any number of threads. Errors: as above; FC_EUSAGE for a tensor that the backbone has not. */
fc_status fc_smile_backbone(fc_smile *out, fc_real *w, const fc_vit_shape *shape,
                            const fc_tv_set *in, const fc_smile_options *options, fc_arena *arena,
                            fc_error *err);

#endif
