/* Matrix products. Row-major throughout; serial.
 *
 * Two ways: fc_gemm and its kin call BLAS and serve merges and other places that are not hot. The
 * layers use an engine: operands are prepared first (the right one packed into panels of FC_PANEL
 * columns, both converted where products are in bf16), frozen ones once and for all, and then
 * multiplied by the kernels of core/linalg/isa.h. */
#ifndef FC_GEMM_H
#define FC_GEMM_H

#include "core/base/real.h"
#include "core/linalg/isa.h"

#include <stdbool.h>

/* C (m, n) = alpha op(A) op(B) + beta C;  op(A) (m, k), op(B) (k, n); ld in elements. */
void fc_gemm(bool ta, bool tb, int m, int n, int k, fc_real alpha, const fc_real *A, int lda,
             const fc_real *B, int ldb, fc_real beta, fc_real *C, int ldc);

/* The same in double, for statistics and merges. */
void fc_dgemm(bool ta, bool tb, int m, int n, int k, double alpha, const double *A, int lda,
              const double *B, int ldb, double beta, double *C, int ldc);

/* G (d, d) += X^T X with X (n, d), lower and upper triangle both written. */
void fc_gram(fc_real *G, const fc_real *X, int n, int d);

/* How products are done, and the scratch of one thread. A function that is handed an engine copies
 * it and takes what it needs from the front: nothing to give back. */
typedef struct fc_engine {
    const fc_isa *isa;
    bool bf16; /* operands rounded to bf16, sums in float */
    char *work;
    size_t left; /* bytes */
} fc_engine;

/* An operand as the kernels want it. A left one is (m, k) in rows; a right one (k, n) in panels.
 * For BLAS both stay as they are. Points into what it was made from, or into scratch. */
typedef struct fc_operand {
    const void *p;
    size_t ld;   /* elements between rows (of a panel) */
    size_t step; /* right: bytes between panels */
    int k;       /* padded */
    bool t;      /* BLAS: transposed */
} fc_operand;

/* Bytes of scratch (a bound) of a prepared operand. */
size_t fc_left_bytes(const fc_engine *e, int m, int k);
size_t fc_right_bytes(const fc_engine *e, int n, int k);

/* op(A) (m, k); op(B) (k, n). */
fc_operand fc_left(fc_engine *e, bool ta, int m, int k, const fc_real *A, int lda);
fc_operand fc_right(fc_engine *e, bool tb, int n, int k, const fc_real *B, int ldb);
/* The same into dst of fc_right_bytes, for operands that live longer. */
fc_operand fc_right_into(void *dst, const fc_engine *e, bool tb, int n, int k, const fc_real *B,
                         int ldb);
/* B (k, n) without a copy where the kernel can read it so (float products): for few rows on the
 * left, which do not pay for packing. */
fc_operand fc_right_direct(fc_engine *e, int n, int k, const fc_real *B, int ldb);

/* Views of a right operand (k, n): columns from `first` on (false: they do not begin a panel); rows
 * first .. first + k - 1. */
bool fc_right_columns(fc_operand *view, const fc_engine *e, const fc_operand *o, int first);
bool fc_right_rows(fc_operand *view, const fc_engine *e, const fc_operand *o, int first, int k);

/* C (m, n) = alpha (A0 B0 + A1 B1) + bias + add. A1, B1 may be NULL; bias (n) may be NULL; add (m,
 * ldadd) may be NULL or C. All operands come from engines with the same isa and bf16. */
typedef struct fc_product {
    fc_real *C;
    int ldc, m, n;
    const fc_operand *A[2], *B[2];
    fc_real alpha;
    const fc_real *bias, *add;
    int ldadd;
} fc_product;
void fc_multiply(const fc_engine *e, const fc_product *p);

/* C (m, n) = alpha op(A) op(B) (+ C if add): both operands prepared on the spot. */
void fc_matmul(const fc_engine *e, bool ta, bool tb, int m, int n, int k, fc_real alpha,
               const fc_real *A, int lda, const fc_real *B, int ldb, bool add, fc_real *C, int ldc);
size_t fc_matmul_bytes(const fc_engine *e, int m, int n, int k);

/* Bytes taken from the front of e->work, 64-byte aligned. */
void *fc_engine_take(fc_engine *e, size_t bytes);

#endif
