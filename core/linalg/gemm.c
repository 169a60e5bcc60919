#include "core/linalg/gemm.h"

#include <assert.h>
#include <cblas.h>
#include <stddef.h>

#ifdef FC_REAL_DOUBLE
#define GEMM cblas_dgemm
#define SYRK cblas_dsyrk
#else
#define GEMM cblas_sgemm
#define SYRK cblas_ssyrk
#endif

static CBLAS_TRANSPOSE blas_op(bool transposed)
{
    return transposed ? CblasTrans : CblasNoTrans;
}

void fc_gemm(bool ta, bool tb, int m, int n, int k, fc_real alpha, const fc_real *A, int lda,
             const fc_real *B, int ldb, fc_real beta, fc_real *C, int ldc)
{
    GEMM(CblasRowMajor, blas_op(ta), blas_op(tb), m, n, k, alpha, A, lda, B, ldb, beta, C, ldc);
}

void fc_dgemm(bool ta, bool tb, int m, int n, int k, double alpha, const double *A, int lda,
              const double *B, int ldb, double beta, double *C, int ldc)
{
    cblas_dgemm(CblasRowMajor, blas_op(ta), blas_op(tb), m, n, k, alpha, A, lda, B, ldb, beta, C,
                ldc);
}

void fc_gram(fc_real *G, const fc_real *X, int n, int d)
{
    SYRK(CblasRowMajor, CblasUpper, CblasTrans, d, n, 1, X, d, 1, G, d);
    for (size_t i = 1; i < (size_t)d; i++)
        for (size_t j = 0; j < i; j++)
            G[i * (size_t)d + j] = G[j * (size_t)d + i];
}

/* ---- engine --------------------------------------------------------------------------------- */

/* Blocks: K_BLOCK numbers of k at a time, so that a panel of B stays in the first two caches, and
 * as many rows of A as fill BLOCK_BYTES. They shape the order of the sums over k only through
 * K_BLOCK, a constant. */
enum { K_BLOCK = 768, BLOCK_BYTES = 384 << 10, ALIGN = 64, TILE_ROWS = 16 };

/* Are operands stored as 16-bit numbers? Otherwise they are fc_real, rounded to bf16 if asked. */
static bool holds_bf16(const fc_engine *e)
{
    return e->bf16 && e->isa->panel_bf16;
}

static size_t aligned(size_t bytes)
{
    return (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

static int padded_depth(const fc_engine *e, int k)
{
    int unit = holds_bf16(e) ? e->isa->bf16_k : 1;
    return (k + unit - 1) / unit * unit;
}

/* Rows of bf16 begin at cache lines. */
static size_t row_length(const fc_engine *e, int k)
{
    size_t line = holds_bf16(e) ? ALIGN / sizeof(uint16_t) : 1;
    return ((size_t)k + line - 1) / line * line;
}

static size_t element_bytes(const fc_engine *e)
{
    return holds_bf16(e) ? sizeof(uint16_t) : sizeof(fc_real);
}

void *fc_engine_take(fc_engine *e, size_t bytes)
{
    void *p = e->work;
    bytes = aligned(bytes);
    assert(bytes <= e->left);
    e->work += bytes;
    e->left -= bytes;
    return p;
}

size_t fc_left_bytes(const fc_engine *e, int m, int k)
{
    /* tiles of AMX read whole */
    size_t rows = ((size_t)m + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS;
    return aligned(rows * row_length(e, k) * element_bytes(e));
}

size_t fc_right_bytes(const fc_engine *e, int n, int k)
{
    if (!e->isa->panel && !e->bf16)
        return 0; /* BLAS takes it as it is */
    size_t panels = ((size_t)n + FC_PANEL - 1) / FC_PANEL;
    return aligned(panels * FC_PANEL * (size_t)padded_depth(e, k) * element_bytes(e));
}

/* A copy of X (rows, cols) rounded to bf16, for BLAS. */
static fc_operand rounded_copy(fc_real *dst, const fc_engine *e, bool t, int k, int rows, int cols,
                               const fc_real *X, int ld)
{
    for (size_t i = 0; i < (size_t)rows; i++)
        e->isa->round_bf16(dst + i * (size_t)cols, X + i * (size_t)ld, (size_t)cols);
    return (fc_operand){.p = dst, .ld = (size_t)cols, .k = k, .t = t};
}

fc_operand fc_left(fc_engine *e, bool ta, int m, int k, const fc_real *A, int lda)
{
    const fc_isa *isa = e->isa;
    fc_operand plain = {.p = A, .ld = (size_t)lda, .k = k, .t = ta};
    if (!e->bf16 && (!isa->panel || !ta))
        return plain;
    size_t ld = row_length(e, k);
    void *dst = fc_engine_take(e, fc_left_bytes(e, m, k));
    if (!isa->panel)
        return rounded_copy(dst, e, ta, k, ta ? k : m, ta ? m : k, A, lda);
#ifndef FC_REAL_DOUBLE
    if (holds_bf16(e))
        isa->rows_bf16(dst, ld, ta, m, k, A, (size_t)lda);
    else
#endif
        if (ta)
        isa->transpose(dst, (size_t)k, A, (size_t)lda, m, k, e->bf16);
    else
        rounded_copy(dst, e, false, k, m, k, A, lda);
    return (fc_operand){.p = dst, .ld = ld, .k = padded_depth(e, k)};
}

fc_operand fc_right_into(void *dst, const fc_engine *e, bool tb, int n, int k, const fc_real *B,
                         int ldb)
{
    const fc_isa *isa = e->isa;
    if (!isa->panel && !e->bf16)
        return (fc_operand){.p = B, .ld = (size_t)ldb, .k = k, .t = tb};
    if (!isa->panel)
        return rounded_copy(dst, e, tb, k, tb ? n : k, tb ? k : n, B, ldb);
    int kp = padded_depth(e, k);
    fc_operand o = {
        .p = dst, .ld = FC_PANEL, .k = kp, .step = FC_PANEL * (size_t)kp * element_bytes(e)};
    for (int j = 0; j < n; j += FC_PANEL) {
        int cols = n - j < FC_PANEL ? n - j : FC_PANEL;
        char *panel = (char *)dst + (size_t)j / FC_PANEL * o.step;
        const fc_real *from = B + (size_t)j * (tb ? (size_t)ldb : 1);
#ifndef FC_REAL_DOUBLE
        if (holds_bf16(e)) {
            isa->pack_bf16((uint16_t *)(void *)panel, tb, cols, k, kp, from, (size_t)ldb);
            continue;
        }
#endif
        isa->pack((fc_real *)(void *)panel, tb, cols, k, from, (size_t)ldb, e->bf16);
    }
    return o;
}

fc_operand fc_right(fc_engine *e, bool tb, int n, int k, const fc_real *B, int ldb)
{
    return fc_right_into(fc_engine_take(e, fc_right_bytes(e, n, k)), e, tb, n, k, B, ldb);
}

fc_operand fc_right_direct(fc_engine *e, int n, int k, const fc_real *B, int ldb)
{
    if (e->bf16 || !e->isa->panel)
        return fc_right(e, false, n, k, B, ldb);
    return (fc_operand){.p = B, .ld = (size_t)ldb, .k = k, .step = FC_PANEL * sizeof(fc_real)};
}

bool fc_right_columns(fc_operand *view, const fc_engine *e, const fc_operand *o, int first)
{
    size_t at = (size_t)first;
    if (e->isa->panel && first % FC_PANEL != 0)
        return false;
    *view = *o;
    view->p = e->isa->panel ? (const char *)o->p + at / FC_PANEL * o->step
                            : (const char *)o->p + at * (o->t ? o->ld : 1) * sizeof(fc_real);
    return true;
}

bool fc_right_rows(fc_operand *view, const fc_engine *e, const fc_operand *o, int first, int k)
{
    size_t at = (size_t)first;
    if (first % padded_depth(e, 1) != 0 || k % padded_depth(e, 1) != 0)
        return false;
    *view = *o;
    view->k = k;
    view->p = (const char *)o->p + at * (o->t ? 1 : o->ld) * element_bytes(e);
    return true;
}

static void multiply_blas(const fc_product *p)
{
    for (size_t i = 0; i < (size_t)p->m; i++) {
        fc_real *c = p->C + i * (size_t)p->ldc;
        const fc_real *add = p->add ? p->add + i * (size_t)p->ldadd : NULL;
        for (size_t j = 0; j < (size_t)p->n; j++)
            c[j] = (add ? add[j] : 0) + (p->bias ? p->bias[j] : 0);
    }
    for (int s = 0; s < 2 && p->A[s]; s++) {
        const fc_operand *a = p->A[s], *b = p->B[s];
        fc_gemm(a->t, b->t, p->m, p->n, a->k, p->alpha, a->p, (int)a->ld, b->p, (int)b->ld, 1, p->C,
                p->ldc);
    }
}

/* Term s of a panel: rows `row` .. and numbers k .. k + n - 1 of its sum. */
static void set_term(fc_panel *panel, int s, const fc_engine *e, const fc_product *p, size_t row,
                     size_t col, int k, int n)
{
    const fc_operand *a = p->A[s], *b = p->B[s];
    size_t at = (size_t)k, size = element_bytes(e);
    panel->term[s].A = (const char *)a->p + (row * a->ld + at) * size;
    panel->term[s].lda = a->ld;
    panel->term[s].B = (const char *)b->p + col / FC_PANEL * b->step + at * b->ld * size;
    panel->term[s].ldb = b->ld;
    panel->term[s].k = n;
}

void fc_multiply(const fc_engine *e, const fc_product *p)
{
    if (!e->isa->panel) {
        multiply_blas(p);
        return;
    }
    void (*kernel)(const fc_panel *) = holds_bf16(e) ? e->isa->panel_bf16 : e->isa->panel;
    int depth = p->A[0]->k, block = depth < K_BLOCK ? depth : K_BLOCK;
    size_t m = (size_t)p->m, n = (size_t)p->n;
    size_t rows = BLOCK_BYTES / ((size_t)block * element_bytes(e) + 1) / TILE_ROWS * TILE_ROWS;
    rows = rows < TILE_ROWS ? TILE_ROWS : rows;
    for (size_t row = 0; row < m; row += rows)
        for (int k = 0; k < depth; k += block) {
            int count = depth - k < block ? depth - k : block;
            bool first = k == 0, last = k + count == depth;
            for (size_t col = 0; col < n; col += FC_PANEL) {
                fc_real *C = p->C + row * (size_t)p->ldc + col;
                fc_panel panel = {.C = C,
                                  .ldc = (size_t)p->ldc,
                                  .m = (int)(m - row < rows ? m - row : rows),
                                  .n = (int)(n - col < FC_PANEL ? n - col : FC_PANEL),
                                  .alpha = p->alpha,
                                  .bias = first && p->bias ? p->bias + col : NULL,
                                  .add = C,
                                  .ldadd = (size_t)p->ldc};
                if (first) {
                    panel.add = p->add ? p->add + row * (size_t)p->ldadd + col : NULL;
                    panel.ldadd = (size_t)p->ldadd;
                }
                set_term(&panel, 0, e, p, row, col, k, count);
                if (last && p->A[1])
                    set_term(&panel, 1, e, p, row, col, 0, p->A[1]->k);
                kernel(&panel);
            }
        }
}

size_t fc_matmul_bytes(const fc_engine *e, int m, int n, int k)
{
    return fc_left_bytes(e, m, k) + fc_right_bytes(e, n, k);
}

void fc_matmul(const fc_engine *e, bool ta, bool tb, int m, int n, int k, fc_real alpha,
               const fc_real *A, int lda, const fc_real *B, int ldb, bool add, fc_real *C, int ldc)
{
    enum { FEW = 5 * TILE_ROWS };
    fc_engine w = *e;
    fc_operand a = fc_left(&w, ta, m, k, A, lda);
    fc_operand b =
        !tb && m <= FEW ? fc_right_direct(&w, n, k, B, ldb) : fc_right(&w, tb, n, k, B, ldb);
    fc_product p = {.C = C,
                    .ldc = ldc,
                    .m = m,
                    .n = n,
                    .A = {&a},
                    .B = {&b},
                    .alpha = alpha,
                    .add = add ? C : NULL,
                    .ldadd = ldc};
    fc_multiply(&w, &p);
}
