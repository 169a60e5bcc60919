/* Fisher information (core/fisher.h) of a model on images of a split, on all threads of a crew. */
#ifndef FC_FIT_FISHER_H
#define FC_FIT_FISHER_H

#include "core/fisher.h"
#include "sim/fit.h"

typedef struct fc_fisher_job {
    const fc_net *net;
    fc_crew *crew; /* idle */
    const fc_model *m;
    fc_fisher_kind kind;
    int lo, hi; /* logits of the task */
    const fc_split *split;
    const uint32_t *sample;
    size_t n;              /* >= 1; published: 256 */
    fc_progress *progress; /* may be NULL */
} fc_fisher_job;

/* FLOP of fc_fit_fisher. */
double fc_fit_fisher_flop(const fc_fisher_job *j);

/* F (layout->n), laid out as FC_TRAIN_FULL (fc_train_layout): the mean over the samples, not
 * augmented. Sums of FC_SLICE images in fc_real, over them in double and in order: same bits for
 * any number of threads. While it runs: twice the layout for each thread. Errors: FC_ESTOP when a
 * stop was requested; memory. */
fc_status fc_fit_fisher(double *F, const fc_params *layout, const fc_fisher_job *j, fc_error *err);

#endif
