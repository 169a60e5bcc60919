/* Experts: what stands beside a frozen linear layer and is added to its output row by row, with
 * weights of each row's own. SMILE and WEMoE are two ways to find the weights.
 *
 *     Y_i += sum_e w_ie (Delta_e X_i + b_e)
 *
 * Delta_e in factors or dense. Everything is serial and allocates nothing; products are the
 * engine's, so that with packed kernels (all but BLAS) the bits of a row do not depend on the rows
 * around it. */
#ifndef FC_EXPERTS_H
#define FC_EXPERTS_H

#include "core/linalg/gemm.h"

typedef struct fc_expert {
    fc_real *dense;      /* (rows, cols); NULL: B A */
    int rank;            /* <= min(rows, cols); 0: Delta = 0 */
    fc_real *B, *A;      /* (rows, rank), (rank, cols) */
    const fc_real *bias; /* (rows), or NULL: 0 */
} fc_expert;

/* Those of one layer. */
typedef struct fc_experts {
    int n, rows, cols; /* rows = d_out, cols = d_in; n 0: none */
    fc_expert *expert; /* (n) */
} fc_experts;

/* Scratch of the functions below for n rows of X, a bound for all experts of that size. */
size_t fc_experts_bytes(const fc_engine *e, int rows, int cols, int n);

/* Numbers that they are made of. */
size_t fc_experts_numbers(const fc_experts *x);

/* Floating-point operations for one row that all experts take. */
double fc_experts_flop(const fc_experts *x);

/* Y (n, rows) += the above, X (n, cols). Row i has the weights w[i / share][0 .. x->n - 1]: share =
 * 1: each row its own; T: the T tokens of an image have the same. An expert takes all rows with a
 * weight other than 0 at once; dense ones that rows share are first added up, sum_e w_e Delta_e,
 * which costs x->n / share of what their products would. */
void fc_experts_forward(const fc_engine *e, fc_real *Y, const fc_experts *x, const fc_real *X,
                        const double *w, int share, int n);

/* dX (n, cols) += and dw (ceil(n / share), x->n) +=, from dY (n, rows) and what forward was given.
 */
void fc_experts_backward(const fc_engine *e, fc_real *dX, double *dw, const fc_experts *x,
                         const fc_real *dY, const fc_real *X, const double *w, int share, int n);

#endif
