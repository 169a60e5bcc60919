/* AdaMerging (core/merge/rules/adamerging.h) of ViTs: its coefficients trained on unlabelled images
 * (sim/train/entropy.h).
 *
 * Called by the rule's row, sim/train/vit_rule_adamerging.c.
 *
 * The paper takes images of the test set. Here the caller says which: held-out training images,
 * unless the published figures are to be compared with. */
#ifndef FC_TRAIN_ADAMERGING_H
#define FC_TRAIN_ADAMERGING_H

#include "core/merge/rules/adamerging.h"
#include "sim/train/entropy.h"

typedef struct fc_adamerging_job {
    fc_ada_options options;
    const fc_params *w0;   /* backbone, theta_0 */
    const fc_tv_set *in;   /* task vectors, dense or in factors */
    const int *tensor;     /* (in->tensors) the tensor of w0 that each belongs to */
    const fc_real *head_w; /* (net->classes, D) the rows of all tasks; stay as they are */
    const fc_real *head_b; /* (net->classes) */
    fc_entropy_job entropy;
} fc_adamerging_job;

/* FLOP of all steps. */
double fc_adamerging_flop(const fc_adamerging_job *j);

/* a: the trained coefficients; out[t] (rows, cols): the merged task vector; both without the last
 * step where it fails. Memory of a from arena; beside it, while it runs: two networks (one packed),
 * one double for each merged number, and one network of gradients for each thread. Errors: those of
 * fc_ada_init and fc_entropy_run. */
fc_status fc_adamerging_run(fc_adamerging *a, double *const *out, fc_entropy_result *result,
                            const fc_adamerging_job *j, fc_arena *arena, fc_error *err);

#endif
