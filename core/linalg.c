#include "core/linalg.h"

#include "core/gemm.h"

#include <float.h>
#include <lapacke.h>
#include <limits.h>
#include <math.h>
#include <string.h>

/* Relative size below which an eigenvalue of an (n, n) matrix is rounding. */
static double noise_level(int n)
{
    return fmax(n, 64) * DBL_EPSILON;
}

static fc_status check_finite(const double *x, size_t n, const char *name, const char *what,
                              fc_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return fc_fail(err, FC_EFAIL, "%s: element %zu of %s is %g, expected a finite number",
                           what, i, name, x[i]);
    return FC_OK;
}

static fc_status lapack_failed(const char *routine, int info, const char *what, fc_error *err)
{
    return fc_fail(err, FC_EFAIL, "%s: LAPACK %s returned info = %d, expected 0", what, routine,
                   info);
}

/* X <- X S^+ with the eigenvectors of S. S is symmetric, so its bytes are the same in LAPACK's
 * column-major order, and the eigenvectors come back as the ROWS of S read row-major. */
static fc_status pinv_solve(double *X, double *S, int m, int n, const char *what, fc_arena *scratch,
                            fc_error *err)
{
    size_t N = (size_t)n, lwork = 1 + 6 * N + 2 * N * N, liwork = 3 + 5 * N;
    if (lwork > INT_MAX)
        return fc_fail(err, FC_EFAIL, "%s: pseudo-inverse of size %d, expected at most 32000", what,
                       n);
    double *lambda = fc_arena_alloc(scratch, N, sizeof *lambda, err);
    double *work = fc_arena_alloc(scratch, lwork, sizeof *work, err);
    int *iwork = fc_arena_alloc(scratch, liwork, sizeof *iwork, err);
    double *XV = fc_arena_alloc(scratch, (size_t)m * N, sizeof *XV, err);
    if (!lambda || !work || !iwork || !XV)
        return FC_EFAIL;
    int info = LAPACKE_dsyevd_work(LAPACK_COL_MAJOR, 'V', 'L', n, S, n, lambda, work, (int)lwork,
                                   iwork, (int)liwork);
    if (info != 0)
        return lapack_failed("dsyevd", info, what, err);
    double top = 0;
    for (int k = 0; k < n; k++)
        top = fmax(top, fabs(lambda[k]));
    for (int k = 0; k < n; k++)
        lambda[k] = fabs(lambda[k]) > noise_level(n) * top ? 1 / lambda[k] : 0;

    fc_dgemm(false, true, m, n, n, 1, X, n, S, n, 0, XV, n);
    for (int i = 0; i < m; i++)
        for (int k = 0; k < n; k++)
            XV[(size_t)i * N + (size_t)k] *= lambda[k];
    fc_dgemm(false, false, m, n, n, 1, XV, n, S, n, 0, X, n);
    return FC_OK;
}

/* L (n, n) holds S. On return *regular says whether its Cholesky factor is there and of use. */
static fc_status cholesky(double *L, bool *regular, int n, const char *what, fc_arena *scratch,
                          fc_error *err)
{
    double *work = fc_arena_alloc(scratch, (size_t)n, 3 * sizeof *work, err);
    int *iwork = fc_arena_alloc(scratch, (size_t)n, sizeof *iwork, err);
    if (!work || !iwork)
        return FC_EFAIL;
    double norm = LAPACKE_dlansy_work(LAPACK_COL_MAJOR, '1', 'L', n, L, n, work), rcond = 0;
    int info = LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, 'L', n, L, n);
    if (info < 0)
        return lapack_failed("dpotrf", info, what, err);
    if (info == 0) {
        info = LAPACKE_dpocon_work(LAPACK_COL_MAJOR, 'L', n, L, n, norm, &rcond, work, iwork);
        if (info != 0)
            return lapack_failed("dpocon", info, what, err);
    }
    /* near the threshold of the pseudo-inverse the eigenvalues decide, not a rounded pivot */
    *regular = rcond > 10 * noise_level(n);
    return FC_OK;
}

fc_status fc_spd_solve(double *X, double *S, const double *R, int m, int n, const char *what,
                       int *used_pinv, fc_arena *scratch, fc_error *err)
{
    size_t nn = (size_t)n * (size_t)n, mn = (size_t)m * (size_t)n;
    FC_TRY(check_finite(S, nn, "the matrix to invert", what, err));
    FC_TRY(check_finite(R, mn, "the right-hand side", what, err));
    fc_mark mark = fc_arena_mark(scratch);
    bool regular = false;
    double *L = fc_arena_alloc(scratch, nn, sizeof *L, err);
    fc_status status = L ? FC_OK : FC_EFAIL;
    if (status == FC_OK) {
        memcpy(L, S, nn * sizeof *L);
        status = cholesky(L, &regular, n, what, scratch, err);
    }
    if (status == FC_OK) {
        memmove(X, R, mn * sizeof *X);
        /* X S = R row-major is S X^T = R^T column-major, in the same bytes */
        int info = regular ? LAPACKE_dpotrs_work(LAPACK_COL_MAJOR, 'L', n, m, L, n, X, n) : 0;
        if (info != 0)
            status = lapack_failed("dpotrs", info, what, err);
        else if (!regular)
            status = pinv_solve(X, S, m, n, what, scratch, err);
    }
    if (used_pinv)
        *used_pinv = !regular;
    fc_arena_release(scratch, mark);
    return status;
}
