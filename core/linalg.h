/* Dense linear algebra in double over CBLAS and LAPACKE (row-major, one thread). */
#ifndef FC_LINALG_H
#define FC_LINALG_H

#include "core/arena.h"
#include "core/status.h"

/* X (m, n) with X S = R for symmetric positive semi-definite S (n, n), R (m, n):
 * Cholesky (dpotrf/dpotrs) first; if S is not positive definite to working precision, X = R S^+ with the pseudo-inverse
 * by symmetric eigen-decomposition (dsyevd), dropping |lambda| <= n * 2.2e-16 * max|lambda|.
 * X may alias R. S is destroyed. what names the layer in messages. *used_pinv may be NULL.
 * Errors FC_EFAIL: not finite, LAPACK info != 0 (routine and layer are named). */
fc_status fc_spd_solve(double *X, double *S, const double *R, int m, int n, const char *what,
                       int *used_pinv, fc_arena *scratch, fc_error *err);
/* The same, pseudo-inverse always. */
fc_status fc_psd_pinv_solve(double *X, double *S, const double *R, int m, int n, const char *what,
                            fc_arena *scratch, fc_error *err);

#endif
