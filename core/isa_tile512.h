/* The AVX-512 panel, for operands in 32-bit words: a float, or two bf16 that follow each other in
 * k. The file that includes this defines multiply_add(sum, a, b) and WORD, the numbers in a word.
 *
 * Tiles of up to 14 rows x 32 columns: 28 of the 32 registers are sums, two hold a row of B, one an
 * element of A. */
#include "core/isa_masks512.h"

#include "core/isa_kernels.h"

enum { ROWS = 14 };

INLINE __m512 scaled(__m512 sum, const fc_panel *p, size_t i, size_t j, __mmask16 mask)
{
    sum = _mm512_mul_ps(sum, _mm512_set1_ps(p->alpha));
    if (p->bias)
        sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, p->bias + j));
    if (p->add)
        sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, p->add + i * p->ldadd + j));
    return sum;
}

/* Rows row .. row + rows - 1; the sizes are constants where this is expanded. mask: of the last 16
 * columns. */
INLINE void tile(int rows, int columns, const fc_panel *p, size_t row, __mmask16 mask)
{
    __m512 sum[ROWS][2];
    _Pragma("GCC unroll 16") for (int i = 0; i < rows; i++)
    {
        sum[i][0] = sum[i][1] = _mm512_setzero_ps();
        /* what the end of the tile reads and writes comes while it is computed */
        const float *c = p->C + (row + (size_t)i) * p->ldc;
        __builtin_prefetch(c, 1);
        __builtin_prefetch(c + columns - 1, 1);
        if (p->add && p->add != p->C) {
            const float *add = p->add + (row + (size_t)i) * p->ldadd;
            __builtin_prefetch(add);
            __builtin_prefetch(add + columns - 1);
        }
    }
    for (int s = 0; s < 2; s++) {
        size_t lda = p->term[s].lda / WORD, ldb = p->term[s].ldb;
        const float *a = (const float *)p->term[s].A + row * lda, *b = p->term[s].B;
        int depth = p->term[s].k / WORD;
        for (int k = 0; k < depth; k++, b += ldb) {
            __m512 b0, b1 = _mm512_setzero_ps();
            b0 = columns > LANES ? _mm512_loadu_ps(b) : _mm512_maskz_loadu_ps(mask, b);
            if (columns > LANES)
                b1 = _mm512_maskz_loadu_ps(mask, b + LANES);
            _Pragma("GCC unroll 16") for (int i = 0; i < rows; i++)
            {
                __m512 x = _mm512_set1_ps(a[(size_t)i * lda + (size_t)k]);
                __asm__("" : "+v"(x)); /* one broadcast for two products */
                sum[i][0] = multiply_add(sum[i][0], x, b0);
                if (columns > LANES)
                    sum[i][1] = multiply_add(sum[i][1], x, b1);
            }
        }
    }
    _Pragma("GCC unroll 16") for (int i = 0; i < rows; i++)
    {
        size_t r = row + (size_t)i;
        float *c = p->C + r * p->ldc;
        if (columns == LANES) {
            _mm512_mask_storeu_ps(c, mask, scaled(sum[i][0], p, r, 0, mask));
        } else {
            _mm512_storeu_ps(c, scaled(sum[i][0], p, r, 0, 0xffff));
            _mm512_mask_storeu_ps(c + LANES, mask, scaled(sum[i][1], p, r, LANES, mask));
        }
    }
}

#define TILES(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
#define DEFINE_TILE(n)                                                                             \
    static void wide_##n(const fc_panel *p, size_t row, __mmask16 mask)                            \
    {                                                                                              \
        tile(n, 2 * LANES, p, row, mask);                                                          \
    }                                                                                              \
    static void narrow_##n(const fc_panel *p, size_t row, __mmask16 mask)                          \
    {                                                                                              \
        tile(n, LANES, p, row, mask);                                                              \
    }
TILES(DEFINE_TILE)

/* Rows are dealt evenly to as few tiles as possible. */
static void panel_of_words(const fc_panel *p)
{
    typedef void tile_function(const fc_panel *p, size_t row, __mmask16 mask);
#define WIDE_TILE(n) wide_##n,
#define NARROW_TILE(n) narrow_##n,
    static tile_function *const wide[] = {TILES(WIDE_TILE)}, *const narrow[] = {TILES(NARROW_TILE)};
    tile_function *const *of_rows = p->n > LANES ? wide : narrow;
    int last = p->n > LANES ? p->n - LANES : p->n;
    __mmask16 mask = (__mmask16)(0xffffu >> (LANES - last));
    int tiles = (p->m + ROWS - 1) / ROWS;
    size_t row = 0;
    for (int t = 0; t < tiles; t++) {
        int rows = (p->m - (int)row + (tiles - t) - 1) / (tiles - t);
        of_rows[rows - 1](p, row, mask);
        row += (size_t)rows;
    }
}
