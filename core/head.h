/* Softmax cross entropy on a slice of the logits (current-task mask, "ACE") and prediction. */
#ifndef FC_HEAD_H
#define FC_HEAD_H

#include "core/real.h"

/* Mean over the batch of CE(softmax(z[lo:hi]), y - lo):
 * returns the SUM of the losses of the n rows (in order, double); dlogits (n, classes) gets
 * (softmax - onehot) / n_total inside the slice and 0 outside. labels are absolute, in [lo, hi).
 * n_total is the size of the whole batch of which these n rows are a slice.
 * dlogits may be NULL. Softmax starts from the row's own maximum. */
double fc_ce(fc_real *dlogits, const fc_real *logits, const int *labels, int n, int classes, int lo,
             int hi, int n_total);

/* argmax of z[lo:hi] of one row; the first of equals. */
int fc_argmax(const fc_real *z, int lo, int hi);

#endif
