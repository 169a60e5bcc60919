/* RegMean++: RegMean (core/merge/rules/rule_regmean.h) from the bottom up, with the inputs that the
 * layers will have in the merged network. Nguyen et al. (arXiv 2508.03121), as FusionBench has it,
 * block by block:
 *
 *     embeddings and all vectors: the mean of the tasks
 *     block l: X_i = inputs of its four linear layers where the images of task i go through the
 *              merged blocks 0 .. l-1 and then through block l of model i;
 *              W = (sum_i W_i M_i) (sum_i M_i)^+, M_i = X_i^T X_i / rows_i, off-diagonals scaled
 *
 * So within a block the layers behind the first see the inputs that model i gives them. Deviation:
 * a singular sum has its pseudo-inverse, where the reference inverts. In tau = W - W_0 it is the
 * same sum, since W_0 is common to all. Called by the rule's row, sim/train/vit_rule_regmean_pp.c.
 */
#ifndef FC_REGMEAN_PP_H
#define FC_REGMEAN_PP_H

#include "core/merge/combine.h"
#include "sim/train/fit.h"
#include "sim/train/task_images.h"

typedef struct fc_regmean_pp_job {
    const fc_net *net;
    fc_crew *crew; /* idle */
    const fc_split *split;
    const fc_params *w0;        /* backbone, theta_0 */
    const fc_tv_set *in;        /* one task vector per task, dense or in factors */
    const int *tensor;          /* (in->tensors) the tensor of w0 that each belongs to */
    const fc_task_images *task; /* (in->n) each of at least one image; published: 256 */
    double off_diagonal;        /* 0 .. 1; published for ViTs: 0.95 */
    fc_progress *progress;      /* may be NULL */
} fc_regmean_pp_job;

/* FLOP of the forward passes: depth times all images. */
double fc_regmean_pp_flop(const fc_regmean_pp_job *j);

/* out[t] (rows, cols): the merged task vector. Images are not augmented. Memory while it runs: two
 * networks (one packed), and the Grams of one block for each task and each thread: 3 D^2 + hidden^2
 * doubles. Same bits for any number of threads. Errors: those of fc_rule_regmean; FC_ESTOP when a
 * stop was requested. */
fc_status fc_regmean_pp_run(double *const *out, const fc_regmean_pp_job *j, fc_error *err);

#endif
