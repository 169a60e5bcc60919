/* Dense linear algebra in double over CBLAS and LAPACKE (row-major, one thread). */
#ifndef FC_LINALG_H
#define FC_LINALG_H

#include "core/arena.h"
#include "core/status.h"

/* X = R S^+ for symmetric positive semi-definite S (n, n), R and X (m, n): the X with X S = R where
 * S is regular. Cholesky (dpotrf, dpotrs) where S is positive definite to working precision
 * (dpocon), else the pseudo-inverse by symmetric eigen-decomposition (dsyevd), which drops
 *
 *     |lambda| <= max(n, 64) * 2.2e-16 * max |lambda|
 *
 * (64: a small S is itself a product over a longer dimension, and carries the rounding of that).
 *
 * X may alias R. S is destroyed. what names the layer in messages. *used_pinv may be NULL.
 * Scratch: m n + 3 n^2 + O(n) doubles. Serial.
 * Errors FC_EFAIL: S or R not finite; LAPACK info != 0 (routine and layer are named). */
fc_status fc_spd_solve(double *X, double *S, const double *R, int m, int n, const char *what,
                       int *used_pinv, fc_arena *scratch, fc_error *err);

#endif
