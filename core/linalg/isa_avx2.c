/* AVX2 and FMA: tiles of up to 6 rows x 16 columns: 12 of the 16 registers are sums, two hold a row
 * of B, one an element of A. A panel is two such columns of tiles. */
#include "core/linalg/isa_kernels.inc"

#include <immintrin.h>

enum { ROWS = 6, WIDTH = 8, COLUMNS = 2 * WIDTH };

/* All ones in the first n (<= 8, may be negative) lanes. */
INLINE __m256i first_lanes(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* Half v of the columns j .. j + 15 of row i. */
INLINE void finish(const fc_panel *p, __m256 sum, size_t i, size_t j, __m256i mask)
{
    sum = _mm256_mul_ps(sum, _mm256_set1_ps(p->alpha));
    if (p->bias)
        sum = _mm256_add_ps(sum, _mm256_maskload_ps(p->bias + j, mask));
    if (p->add)
        sum = _mm256_add_ps(sum, _mm256_maskload_ps(p->add + i * p->ldadd + j, mask));
    _mm256_maskstore_ps(p->C + i * p->ldc + j, mask, sum);
}

INLINE void tile(int rows, const fc_panel *p, size_t row, size_t col)
{
    int n = p->n - (int)col;
    __m256i mask0 = first_lanes(n), mask1 = first_lanes(n - WIDTH);
    __m256 sum[ROWS][2];
    _Pragma("GCC unroll 8") for (int i = 0; i < rows; i++)
    {
        sum[i][0] = sum[i][1] = _mm256_setzero_ps();
    }
    for (int s = 0; s < 2; s++) {
        size_t lda = p->term[s].lda, ldb = p->term[s].ldb;
        const float *a = (const float *)p->term[s].A + row * lda;
        const float *b = (const float *)p->term[s].B + col;
        bool whole = n >= COLUMNS;
        for (int k = 0; k < p->term[s].k; k++, b += ldb) {
            __m256 b0 = whole ? _mm256_loadu_ps(b) : _mm256_maskload_ps(b, mask0);
            __m256 b1 = whole ? _mm256_loadu_ps(b + WIDTH) : _mm256_maskload_ps(b + WIDTH, mask1);
            _Pragma("GCC unroll 8") for (int i = 0; i < rows; i++)
            {
                __m256 x = _mm256_broadcast_ss(a + (size_t)i * lda + (size_t)k);
                sum[i][0] = _mm256_fmadd_ps(x, b0, sum[i][0]);
                sum[i][1] = _mm256_fmadd_ps(x, b1, sum[i][1]);
            }
        }
    }
    _Pragma("GCC unroll 8") for (int i = 0; i < rows; i++)
    {
        finish(p, sum[i][0], row + (size_t)i, col, mask0);
        finish(p, sum[i][1], row + (size_t)i, col + WIDTH, mask1);
    }
}

#define TILES(X) X(1) X(2) X(3) X(4) X(5) X(6)
#define DEFINE_TILE(n)                                                                             \
    static void tile_##n(const fc_panel *p, size_t row, size_t col)                                \
    {                                                                                              \
        tile(n, p, row, col);                                                                      \
    }
TILES(DEFINE_TILE)

/* Rows are dealt evenly to as few tiles as possible. */
static void panel(const fc_panel *p)
{
#define NAME_TILE(n) tile_##n,
    static void (*const of_rows[])(const fc_panel *, size_t, size_t) = {TILES(NAME_TILE)};
    int tiles = (p->m + ROWS - 1) / ROWS;
    for (size_t col = 0; col < (size_t)p->n; col += COLUMNS) {
        size_t row = 0;
        for (int t = 0; t < tiles; t++) {
            int rows = (p->m - (int)row + (tiles - t) - 1) / (tiles - t);
            of_rows[rows - 1](p, row, col);
            row += (size_t)rows;
        }
    }
}

const fc_isa fc_isa_avx2 = {.name = "avx2",
                            .help = "AVX2 and FMA; bf16 products are emulated",
                            .panel = panel,
                            FC_ISA_PACKING,
                            FC_ISA_LAYERS};
