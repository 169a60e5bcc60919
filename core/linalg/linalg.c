#include "core/linalg/linalg.h"

#include "core/linalg/gemm.h"

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

static fc_status check_finite_matrix(const double *x, size_t n, const char *name, const char *what,
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
    /* S = V diag(lambda) V^T; S then holds V^T (n, n) */
    int info = LAPACKE_dsyevd_work(LAPACK_COL_MAJOR, 'V', 'L', n, S, n, lambda, work, (int)lwork,
                                   iwork, (int)liwork);
    if (info != 0)
        return lapack_failed("dsyevd", info, what, err);
    /* lambda_k <- 1 / lambda_k, or 0 where it is rounding */
    double top = 0;
    for (int k = 0; k < n; k++)
        top = fmax(top, fabs(lambda[k]));
    for (int k = 0; k < n; k++)
        lambda[k] = fabs(lambda[k]) > noise_level(n) * top ? 1 / lambda[k] : 0;

    /* X S^+ = (X V diag(lambda^+)) V^T    X (m, n), V (n, n) */
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
    /* S = L L^T, and 1 / (|S|_1 |S^-1|_1) */
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
    FC_TRY(check_finite_matrix(S, nn, "the matrix to invert", what, err));
    FC_TRY(check_finite_matrix(R, mn, "the right-hand side", what, err));
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

double fc_sum_squares(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sum;
}

/* Row-major X (m, n) is X^T (n, m) to LAPACK, whose left vectors are V and right ones U^T: in
 * memory just Vt (k, n) and U (m, k). */
static int gesdd(fc_usv *x, double *copy, double *work, int lwork, int *iwork)
{
    return LAPACKE_dgesdd_work(LAPACK_COL_MAJOR, 'S', x->n, x->m, copy, x->n, x->S, x->Vt, x->n,
                               x->U, x->k, work, lwork, iwork);
}

static int gesvd(fc_usv *x, double *copy, double *work, int lwork)
{
    return LAPACKE_dgesvd_work(LAPACK_COL_MAJOR, 'S', 'S', x->n, x->m, copy, x->n, x->S, x->Vt,
                               x->n, x->U, x->k, work, lwork);
}

static fc_status svd_into(fc_usv *x, const double *X, const char *what, fc_arena *scratch,
                          fc_error *err)
{
    size_t mn = (size_t)x->m * (size_t)x->n;
    double *copy = fc_arena_alloc(scratch, mn, sizeof *copy, err);
    int *iwork = fc_arena_alloc(scratch, 8 * (size_t)x->k, sizeof *iwork, err);
    if (!copy || !iwork)
        return FC_EFAIL;
    double dd = 0, qr = 0; /* the workspaces that the two ask for */
    int info = gesdd(x, copy, &dd, -1, iwork);
    if (info == 0)
        info = gesvd(x, copy, &qr, -1);
    double lwork = fmax(dd, qr);
    if (info != 0 || !(lwork <= INT_MAX))
        return fc_fail(err, FC_EFAIL, "%s: SVD of a %d x %d matrix, too large for LAPACK", what,
                       x->m, x->n);
    double *work = fc_arena_alloc(scratch, (size_t)lwork, sizeof *work, err);
    if (!work)
        return FC_EFAIL;
    /* X = U diag(S) Vt */
    memcpy(copy, X, mn * sizeof *copy);
    info = gesdd(x, copy, work, (int)lwork, iwork);
    if (info <= 0)
        return info ? lapack_failed("dgesdd", info, what, err) : FC_OK;
    memcpy(copy, X, mn * sizeof *copy);
    info = gesvd(x, copy, work, (int)lwork);
    return info ? lapack_failed("dgesvd", info, what, err) : FC_OK;
}

static fc_status usv_alloc(fc_usv *x, int m, int n, int k, fc_arena *arena, fc_error *err)
{
    size_t K = (size_t)k;
    *x = (fc_usv){.m = m, .n = n, .k = k};
    x->U = fc_arena_alloc(arena, (size_t)m * K, sizeof *x->U, err);
    x->S = fc_arena_alloc(arena, K, sizeof *x->S, err);
    x->Vt = fc_arena_alloc(arena, K * (size_t)n, sizeof *x->Vt, err);
    return x->U && x->S && x->Vt ? FC_OK : FC_EFAIL;
}

fc_status fc_svd(fc_usv *x, const double *X, int m, int n, const char *what, fc_arena *arena,
                 fc_error *err)
{
    FC_TRY(check_finite_matrix(X, (size_t)m * (size_t)n, "the matrix to decompose", what, err));
    FC_TRY(usv_alloc(x, m, n, m < n ? m : n, arena, err));
    fc_mark mark = fc_arena_mark(arena);
    fc_status status = svd_into(x, X, what, arena, err);
    fc_arena_release(arena, mark);
    return status;
}

int fc_svd_rank(const fc_usv *x)
{
    int rank = 0;
    while (rank < x->k && x->S[rank] > FC_SUPPORT * x->S[0])
        rank++;
    return rank;
}

fc_status fc_qr(double *Q, double *R, const double *X, int m, int n, const char *what,
                fc_arena *scratch, fc_error *err)
{
    enum { BLOCK = 64 }; /* LAPACK's widest */
    int k = m < n ? m : n, lwork = BLOCK * n;
    FC_TRY(check_finite_matrix(X, (size_t)m * (size_t)n, "the matrix to decompose", what, err));
    fc_mark mark = fc_arena_mark(scratch);
    double *a = fc_arena_alloc(scratch, (size_t)m * (size_t)n, sizeof *a, err);
    double *tau = fc_arena_alloc(scratch, (size_t)k, sizeof *tau, err);
    double *work = fc_arena_alloc(scratch, (size_t)lwork, sizeof *work, err);
    fc_status status = a && tau && work ? FC_OK : FC_EFAIL;
    if (status == FC_OK) {
        /* X^T = L Q^T column-major is X = Q R with R = L^T in the same bytes */
        memcpy(a, X, (size_t)m * (size_t)n * sizeof *a);
        int info = LAPACKE_dgelqf_work(LAPACK_COL_MAJOR, n, m, a, n, tau, work, lwork);
        for (int i = 0; i < k; i++)
            for (int j = 0; j < n; j++)
                R[(size_t)i * (size_t)n + (size_t)j] =
                    j < i ? 0 : a[(size_t)i * (size_t)n + (size_t)j];
        if (info == 0)
            info = LAPACKE_dorglq_work(LAPACK_COL_MAJOR, k, m, k, a, n, tau, work, lwork);
        for (int i = 0; i < m; i++)
            memcpy(Q + (size_t)i * (size_t)k, a + (size_t)i * (size_t)n, (size_t)k * sizeof *Q);
        if (info != 0)
            status = lapack_failed("dgelqf or dorglq", info, what, err);
    }
    fc_arena_release(scratch, mark);
    return status;
}

static fc_status product_into(fc_usv *x, const double *B, const double *A, int r, const char *what,
                              fc_arena *scratch, fc_error *err)
{
    int m = x->m, n = x->n, kb = m < r ? m : r, ka = n < r ? n : r;
    size_t M = (size_t)m, N = (size_t)n, R = (size_t)r, KB = (size_t)kb, KA = (size_t)ka;
    double *QB = fc_arena_alloc(scratch, M * KB, sizeof *QB, err);
    double *RB = fc_arena_alloc(scratch, KB * R, sizeof *RB, err);
    double *At = fc_arena_alloc(scratch, N * R, sizeof *At, err);
    double *QA = fc_arena_alloc(scratch, N * KA, sizeof *QA, err);
    double *RA = fc_arena_alloc(scratch, KA * R, sizeof *RA, err);
    double *core = fc_arena_alloc(scratch, KB * KA, sizeof *core, err);
    if (!QB || !RB || !At || !QA || !RA || !core)
        return FC_EFAIL;
    /* B = Q_B R_B (m, kb) (kb, r), A^T = Q_A R_A (n, ka) (ka, r) */
    for (size_t i = 0; i < R; i++)
        for (size_t j = 0; j < N; j++)
            At[j * R + i] = A[i * N + j];
    FC_TRY(fc_qr(QB, RB, B, m, r, what, scratch, err));
    FC_TRY(fc_qr(QA, RA, At, n, r, what, scratch, err));
    /* core = R_B R_A^T (kb, ka) = U_c diag(S) V_c^T */
    fc_dgemm(false, true, kb, ka, r, 1, RB, r, RA, r, 0, core, ka);
    fc_usv c;
    FC_TRY(fc_svd(&c, core, kb, ka, what, scratch, err));
    /* B A = (Q_B U_c) diag(S) (V_c^T Q_A^T)    (m, k), (k, n) */
    memcpy(x->S, c.S, (size_t)x->k * sizeof *x->S);
    fc_dgemm(false, false, m, x->k, kb, 1, QB, kb, c.U, c.k, 0, x->U, x->k);
    fc_dgemm(false, true, x->k, n, ka, 1, c.Vt, ka, QA, ka, 0, x->Vt, n);
    return FC_OK;
}

fc_status fc_svd_product(fc_usv *x, const double *B, const double *A, int m, int r, int n,
                         const char *what, fc_arena *arena, fc_error *err)
{
    int k = m < n ? m : n;
    FC_TRY(usv_alloc(x, m, n, r < k ? r : k, arena, err));
    fc_mark mark = fc_arena_mark(arena);
    fc_status status = product_into(x, B, A, r, what, arena, err);
    fc_arena_release(arena, mark);
    return status;
}

fc_status fc_polar(double *P, const double *X, int m, int n, const char *what, fc_arena *scratch,
                   fc_error *err)
{
    fc_usv x;
    fc_mark mark = fc_arena_mark(scratch);
    fc_status status = fc_svd(&x, X, m, n, what, scratch, err);
    /* P = U_r V_r^T    (m, r) (r, n) */
    if (status == FC_OK)
        fc_dgemm(false, false, m, n, fc_svd_rank(&x), 1, x.U, x.k, x.Vt, n, 0, P, n);
    fc_arena_release(scratch, mark);
    return status;
}
