#include "core/gemm.h"

#include <cblas.h>
#include <stddef.h>

#ifdef FC_REAL_DOUBLE
#define GEMM cblas_dgemm
#define SYRK cblas_dsyrk
#else
#define GEMM cblas_sgemm
#define SYRK cblas_ssyrk
#endif

static CBLAS_TRANSPOSE op(bool transposed)
{
    return transposed ? CblasTrans : CblasNoTrans;
}

void fc_gemm(bool ta, bool tb, int m, int n, int k, fc_real alpha, const fc_real *A, int lda,
             const fc_real *B, int ldb, fc_real beta, fc_real *C, int ldc)
{
    GEMM(CblasRowMajor, op(ta), op(tb), m, n, k, alpha, A, lda, B, ldb, beta, C, ldc);
}

void fc_dgemm(bool ta, bool tb, int m, int n, int k, double alpha, const double *A, int lda,
              const double *B, int ldb, double beta, double *C, int ldc)
{
    cblas_dgemm(CblasRowMajor, op(ta), op(tb), m, n, k, alpha, A, lda, B, ldb, beta, C, ldc);
}

void fc_gram(fc_real *G, const fc_real *X, int n, int d)
{
    SYRK(CblasRowMajor, CblasUpper, CblasTrans, d, n, 1, X, d, 1, G, d);
    for (size_t i = 1; i < (size_t)d; i++)
        for (size_t j = 0; j < i; j++)
            G[i * (size_t)d + j] = G[j * (size_t)d + i];
}
