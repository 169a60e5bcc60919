/* A table of kernels around another one, which counts the time spent in each group of them.
 *
 * Kernels are called through pointers without a context, so the counters are the one mutable state
 * of the program that is not on a stack or in an arena. Only fcil bench touches it. */
#include "sim/bench/bench.h"
#include "sim/io/progress.h"

#include <stdatomic.h>
#include <stdint.h>

static const fc_isa *timed;
static _Atomic int64_t spent[FC_SHARES]; /* nanoseconds */

#define TIMED(group, kernel, parameters, ...)                                                      \
    static void kernel parameters                                                                  \
    {                                                                                              \
        double begin = fc_wall();                                                                  \
        timed->kernel(__VA_ARGS__);                                                                \
        atomic_fetch_add_explicit(&spent[group], (int64_t)(1e9 * (fc_wall() - begin)),             \
                                  memory_order_relaxed);                                           \
    }

TIMED(FC_SHARE_GEMM, panel, (const fc_panel *p), p)
TIMED(FC_SHARE_GEMM, panel_bf16, (const fc_panel *p), p)
TIMED(FC_SHARE_PACKING, transpose,
      (fc_real * dst, size_t ldd, const fc_real *src, size_t ld, int rows, int cols, bool round),
      dst, ldd, src, ld, rows, cols, round)
TIMED(FC_SHARE_PACKING, pack,
      (fc_real * dst, bool tb, int n, int k, const fc_real *B, size_t ldb, bool round), dst, tb, n,
      k, B, ldb, round)
TIMED(FC_SHARE_PACKING, pack_bf16,
      (uint16_t * dst, bool tb, int n, int k, int kp, const fc_real *B, size_t ldb), dst, tb, n, k,
      kp, B, ldb)
TIMED(FC_SHARE_PACKING, rows_bf16,
      (uint16_t * dst, size_t ldd, bool ta, int m, int k, const fc_real *A, size_t lda), dst, ldd,
      ta, m, k, A, lda)
TIMED(FC_SHARE_PACKING, round_bf16, (fc_real * dst, const fc_real *src, size_t n), dst, src, n)
TIMED(FC_SHARE_BIAS, add_column_sums, (fc_real * db, const fc_real *dy, int n, int d), db, dy, n, d)
TIMED(FC_SHARE_NORM, norm_forward,
      (fc_real * y, fc_real *stat, const fc_real *w, const fc_real *b, const fc_real *x, int n,
       int d),
      y, stat, w, b, x, n, d)
TIMED(FC_SHARE_NORM, norm_backward_x,
      (fc_real * dx, const fc_real *w, const fc_real *dy, const fc_real *x, const fc_real *stat,
       int n, int d),
      dx, w, dy, x, stat, n, d)
TIMED(FC_SHARE_NORM, norm_backward_w,
      (fc_real * dw, fc_real *db, const fc_real *dy, const fc_real *x, const fc_real *stat, int n,
       int d),
      dw, db, dy, x, stat, n, d)
TIMED(FC_SHARE_GELU, gelu_forward, (fc_real * y, const fc_real *x, size_t n), y, x, n)
TIMED(FC_SHARE_GELU, gelu_forward_derivative, (fc_real * y, fc_real *x, size_t n), y, x, n)
TIMED(FC_SHARE_GELU, multiply_elements, (fc_real * y, const fc_real *x, size_t n), y, x, n)
TIMED(FC_SHARE_GELU, gelu_backward, (fc_real * dy, const fc_real *x, size_t n), dy, x, n)
TIMED(FC_SHARE_SOFTMAX, softmax, (fc_real * z, int n, int d), z, n, d)
TIMED(FC_SHARE_SOFTMAX, softmax_backward, (fc_real * dP, const fc_real *P, int n, int d), dP, P, n,
      d)

const fc_isa *fc_share_begin(const fc_isa *isa)
{
    static fc_isa table;
    timed = isa;
    for (int i = 0; i < FC_SHARES; i++)
        spent[i] = 0;
    table = *isa; /* a kernel without a group counts as other */
    table.panel = isa->panel ? panel : NULL;
    table.panel_bf16 = isa->panel_bf16 ? panel_bf16 : NULL;
    table.transpose = transpose;
    table.pack = pack;
    table.pack_bf16 = pack_bf16;
    table.rows_bf16 = rows_bf16;
    table.round_bf16 = round_bf16;
    table.add_column_sums = add_column_sums;
    table.norm_forward = norm_forward;
    table.norm_backward_x = norm_backward_x;
    table.norm_backward_w = norm_backward_w;
    table.gelu_forward = gelu_forward;
    table.gelu_forward_derivative = gelu_forward_derivative;
    table.gelu_backward = gelu_backward;
    table.multiply_elements = multiply_elements;
    table.softmax = softmax;
    table.softmax_backward = softmax_backward;
    return &table;
}

double fc_share_seconds(fc_share share)
{
    return 1e-9 * (double)spent[share];
}
