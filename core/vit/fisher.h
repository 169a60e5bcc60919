/* Fisher information of a classifier, diagonal, from per-sample gradients (Matena and Raffel,
 * NeurIPS 2022, eq. 3; Kirkpatrick et al., PNAS 2017):
 *
 *     expected    F = 1/N sum_x sum_c p_c (d log p_c / d theta)^2    over the classes of the task
 *     labels      F = 1/N sum_x (d log p_y / d theta)^2              the empirical Fisher
 *     weighted    F = 1/N sum_x p_y (d log p_y / d theta)^2          FisherAvg, EWC in fed-mammoth
 *
 * with p = softmax(z[lo:hi]). (fed-mammoth's FisherAvg has the sum over x: a merge of clients
 * weighs by their samples, core/merge/collect.h. It takes raw images, not normalised.) Squares of
 * single gradients: FusionBench squares sums over batches (with sqrt(p_c) inside), which depends on
 * the batch size and is not offered.
 *
 * theta: every tensor of the backbone, and the head. Of a model with LoRA these are the derivatives
 * by the full weights W of its layers at W + scale B A, not by A and B, so that F weighs task
 * vectors, merged or not. */
#ifndef FC_FISHER_H
#define FC_FISHER_H

#include "core/vit/vit.h"

typedef enum fc_fisher_kind {
    FC_FISHER_EXPECTED,
    FC_FISHER_LABELS,
    FC_FISHER_WEIGHTED
} fc_fisher_kind;
#define FC_FISHER_CHOICES "expected|labels|weighted" /* as an option */

typedef struct fc_fisher {
    fc_fisher_kind kind;
    int lo, hi; /* logits of the task */
    /* scratch */
    fc_acts *acts;    /* for backward and the model's classes, at least one image */
    fc_params grad;   /* laid out as in FC_TRAIN_FULL (fc_train_layout) */
    fc_real *dlogits; /* (classes) */
} fc_fisher;

/* F (as grad) += the sum over n images; the caller divides by their number. x (n, 3, S, S)
 * normalised pixels; label (n), in [lo, hi), is not read for FC_FISHER_EXPECTED. One forward pass
 * per image, and one backward pass for each class (or the label). Serial, no allocation. */
void fc_fisher_add(fc_real *F, const fc_fisher *f, const fc_model *m, const fc_real *x,
                   const int *label, int n);

/* FLOP for one image of a model with LoRA of that rank (0: without) and `task` classes of
 * `classes`. */
double fc_fisher_flop(fc_fisher_kind kind, const fc_vit_shape *s, int rank, int classes, int task);

/* Layout of the part of F that weighs what is trained in a mode: all of it, or (FC_TRAIN_LORA) the
 * weights of the slots and the head. */
fc_status fc_fisher_layout(fc_params *out, const fc_vit_shape *s, fc_train_mode mode, int classes,
                           fc_arena *arena, fc_error *err);

#endif
