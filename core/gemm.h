/* Matrix products behind one interface. Today single-threaded OpenBLAS; a faster back end for
 * packed frozen weights goes behind the same calls. Row-major throughout. */
#ifndef FC_GEMM_H
#define FC_GEMM_H

#include "core/real.h"

#include <stdbool.h>

/* C (m, n) = alpha op(A) op(B) + beta C;  op(A) (m, k), op(B) (k, n); ld in elements. Serial. */
void fc_gemm(bool ta, bool tb, int m, int n, int k, fc_real alpha, const fc_real *A, int lda,
             const fc_real *B, int ldb, fc_real beta, fc_real *C, int ldc);

/* The same in double, for statistics and merges. */
void fc_dgemm(bool ta, bool tb, int m, int n, int k, double alpha, const double *A, int lda,
              const double *B, int ldb, double beta, double *C, int ldc);

/* G (d, d) += X^T X with X (n, d), lower and upper triangle both written. Serial. */
void fc_gram(fc_real *G, const fc_real *X, int n, int d);

#endif
