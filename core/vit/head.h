/* Losses on a slice of the logits (current-task mask, "ACE") and prediction. */
#ifndef FC_HEAD_H
#define FC_HEAD_H

#include "core/base/real.h"

/* Mean over the batch of CE(softmax(z[lo:hi]), y - lo):
 * returns the SUM of the losses of the n rows (in order, double); dlogits (n, classes) gets
 * (softmax - onehot) / n_total inside the slice and 0 outside. labels are absolute, in [lo, hi).
 * n_total is the size of the whole batch of which these n rows are a slice.
 * dlogits may be NULL. Softmax starts from the row's own maximum. */
double fc_ce(fc_real *dlogits, const fc_real *logits, const int *labels, int n, int classes, int lo,
             int hi, int n_total);

/* Mean over the batch of the entropy of softmax(z[lo:hi]),
 *
 *     H = -sum_c p_c log(p_c + 1e-8)
 *
 * the loss without labels of AdaMerging (Yang et al., ICLR 2024, arXiv 2310.02575, eq. 4; 1e-8 as
 * FusionBench has it). Returns the SUM over the n rows; dlogits (n, classes), or NULL, gets dH/dz /
 * n_total inside the slice and 0 outside. n_total as in fc_ce. */
double fc_entropy(fc_real *dlogits, const fc_real *logits, int n, int classes, int lo, int hi,
                  int n_total);

/* argmax of z[lo:hi] of one row; the first of equals. */
int fc_argmax(const fc_real *z, int lo, int hi);

#endif
