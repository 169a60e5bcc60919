/* Dense linear algebra in double over CBLAS and LAPACKE (row-major, one thread). */
#ifndef FC_LINALG_H
#define FC_LINALG_H

#include "core/base/arena.h"
#include "core/base/status.h"

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

/* sum_i x_i^2, added in order. */
double fc_sum_squares(const double *x, size_t n);

/* Singular values at or below this fraction of the largest are rounding: they span no direction. */
#define FC_SUPPORT 1e-10

/* X = U diag(S) Vt, thin: k = min(m, n). Signs of the vectors, and their rotation where singular
 * values are equal or zero, are LAPACK's: no result should depend on them. */
typedef struct fc_usv {
    int m, n, k;
    double *U, *S, *Vt; /* (m, k), (k) descending, (k, n) */
} fc_usv;

/* Thin SVD of X (m, n), m, n >= 1; X is kept. LAPACK dgesdd (divide and conquer, several times
 * faster than dgesvd and as accurate relative to s_1); where it does not converge (info > 0),
 * dgesvd (QR iteration) on a fresh copy. what names the layer in messages.
 * U, S, Vt come from the arena; scratch m n + LAPACK's own, released. O(m n k). Serial.
 * Errors FC_EFAIL: X not finite; neither routine converges; memory. */
fc_status fc_svd(fc_usv *x, const double *X, int m, int n, const char *what, fc_arena *arena,
                 fc_error *err);

/* Thin SVD of B A without the product: B = Q_B R_B, A^T = Q_A R_A, SVD of the small R_B R_A^T.
 * B (m, r), A (r, n); k = min(m, r, n), so that all else of B A is exactly zero.
 * O((m + n) r^2 + r^3); scratch about 2 (m + n) r + 4 r^2. As fc_svd otherwise. */
fc_status fc_svd_product(fc_usv *x, const double *B, const double *A, int m, int r, int n,
                         const char *what, fc_arena *arena, fc_error *err);

/* Numerical rank: how many S exceed FC_SUPPORT * S[0]; 0 for a zero matrix. */
int fc_svd_rank(const fc_usv *x);

/* Thin QR: X = Q R; X (m, n), Q (m, k) with orthonormal columns whatever the rank of X, R (k, n)
 * upper triangular, k = min(m, n). Householder (LAPACK). X is kept. Scratch: m n + O(n). */
fc_status fc_qr(double *Q, double *R, const double *X, int m, int n, const char *what,
                fc_arena *scratch, fc_error *err);

/* The polar factor on the support: P = U_r V_r^T over the r = fc_svd_rank singular directions of X
 * (m, n). The nearest matrix with orthonormal columns (rows) where X has full rank; where not,
 * that one is not unique, and P is its part that is: null directions stay null.
 * P may alias X. Scratch: the SVD. */
fc_status fc_polar(double *P, const double *X, int m, int n, const char *what, fc_arena *scratch,
                   fc_error *err);

#endif
