/* The instruction sets: one table of kernels each, chosen when the program starts.
 *
 * The plain C forms (scalar) are the oracle of the others. All other code is written against the
 * table; intrinsics live in isa_<name>.c only. Layer kernels (normalisation, GELU, softmax, ...)
 * are one text, isa_kernels.inc, compiled for each instruction set: without contraction to fma, and
 * with sums over a fixed number of lanes, all of them give the same bits. Matrix products differ in
 * the last bits between tables, never between runs, threads or shapes of the rest. */
#ifndef FC_ISA_H
#define FC_ISA_H

#include "core/base/real.h"
#include "core/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FC_PANEL = 32 }; /* columns of a packed panel */

/* One panel of a matrix product, j < n <= FC_PANEL, i < m:
 *     C_ij = alpha sum_s sum_k A_s[i][k] B_s[k][j] + bias_j + add_ij
 * with up to two terms s (a weight and its LoRA branch; the second has k = 0 if unused). A_s is
 * row-major. bias and add may be NULL; add may be C. Each element is one sum over k in order, so
 * that the bits of a row do not depend on the rows around it. */
typedef struct fc_panel {
    fc_real *C;
    size_t ldc;
    int m, n;
    struct {
        const void *A;
        size_t lda;
        const void *B; /* its rows are ldb apart: FC_PANEL when packed */
        size_t ldb;
        int k;
    } term[2];
    fc_real alpha;
    const fc_real *bias; /* (n) */
    const fc_real *add;  /* (m, ldadd) */
    size_t ldadd;
} fc_panel;

typedef struct fc_isa {
    const char *name, *help;

    /* --- matrix products; see core/linalg/gemm.h for the packed layouts --- */

    void (*panel)(const fc_panel *p); /* NULL: BLAS does the products */
    /* A and B in bf16, sums in float; B packed, A's rows padded to bf16_k numbers, k a multiple of
     * it. NULL: emulated (operands rounded to bf16, the panel above). */
    void (*panel_bf16)(const fc_panel *p);
    int bf16_k;

    /* dst (rows, cols) = src^T, src (cols, rows) with ld; rounded to bf16 if asked. */
    void (*transpose)(fc_real *dst, size_t ldd, const fc_real *src, size_t ld, int rows, int cols,
                      bool round);
    /* One panel: dst [k][FC_PANEL] = op(B)(:, 0 .. n-1), zero columns behind; B (k, n), or (n, k)
     * if tb. */
    void (*pack)(fc_real *dst, bool tb, int n, int k, const fc_real *B, size_t ldb, bool round);
    /* The same in bf16: dst [kp / 2][FC_PANEL][2], kp = k padded with zeros to bf16_k. Denormals
     * may count as zero, here and in rows_bf16. */
    void (*pack_bf16)(uint16_t *dst, bool tb, int n, int k, int kp, const fc_real *B, size_t ldb);
    /* dst (m, ldd) = op(A) in bf16, zeros behind k; A (m, k), or (k, m) if ta. ldd: a multiple of
     * 32. */
    void (*rows_bf16)(uint16_t *dst, size_t ldd, bool ta, int m, int k, const fc_real *A,
                      size_t lda);
    /* dst (n) = src rounded to bf16. */
    void (*round_bf16)(fc_real *dst, const fc_real *src, size_t n);

    /* --- layers; core/vit/kernels.h says what they compute --- */

    void (*add_column_sums)(fc_real *db, const fc_real *dy, int n, int d);
    void (*norm_forward)(fc_real *y, fc_real *stat, const fc_real *w, const fc_real *b,
                         const fc_real *x, int n, int d);
    void (*norm_backward_x)(fc_real *dx, const fc_real *w, const fc_real *dy, const fc_real *x,
                            const fc_real *stat, int n, int d);
    void (*norm_backward_w)(fc_real *dw, fc_real *db, const fc_real *dy, const fc_real *x,
                            const fc_real *stat, int n, int d);
    void (*gelu_forward)(fc_real *y, const fc_real *x, size_t n);
    void (*gelu_forward_derivative)(fc_real *y, fc_real *x, size_t n);
    void (*gelu_backward)(fc_real *dy, const fc_real *x, size_t n);
    void (*multiply_elements)(fc_real *y, const fc_real *x, size_t n);
    void (*softmax)(fc_real *z, int n, int d);
    void (*softmax_backward)(fc_real *dP, const fc_real *P, int n, int d);
} fc_isa;

/* What a person may ask for: "auto" and the names of all tables, built here or not. */
#define FC_ISA_CHOICES "auto|scalar|blas|avx2|avx512|avx512bf16|amx"

/* Each is defined in its own file; those of x86-64 in the float build only. */
extern const fc_isa fc_isa_scalar, fc_isa_blas, fc_isa_avx2, fc_isa_avx512, fc_isa_avx512bf16,
    fc_isa_amx;
/* The float products of AVX-512, which the tables above it share. */
void fc_panel_avx512(const fc_panel *p);

/* All of this build, from the plainest to the widest. */
extern const fc_isa *const fc_isa_table[];
extern const int fc_isa_count;

/* Can this processor (and this system: AMX needs a permission, asked for here) run it? If not, *why
 * says what is missing. */
bool fc_isa_usable(const fc_isa *isa, const char **why);

/* name "auto": the widest that is usable, and of those with a bf16 kernel only one that was
 * measured faster than the f32 kernel just now (wanted only if bf16). Another name: that one.
 * Errors FC_EUSAGE: unknown, or not usable here. */
fc_status fc_isa_find(const fc_isa **out, const char *name, bool bf16, fc_error *err);

#endif
