/* AMX: products of bf16 in tiles of 16 x 16 sums, 32 in k at a time. Four tiles of sums share two
 * of A and two of B: 32 rows x 32 columns, a whole panel.
 *
 * Tests compile this file with the tile instructions replaced by plain C
 * (tests/support/amx_emulated.h). */
#include "core/linalg/isa_masks512.inc"

#include "core/linalg/isa_kernels.inc"

enum { SIDE = 16, TILE_K = 32 };

/* Palette 1: every tile has 16 rows of 64 bytes. */
typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;

static const tile_config whole = {.palette = 1,
                                  .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
                                  .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

/* Tiles 0..3: sums (rows 0-15 and 16-31) x (columns 0-15 and 16-31); 4, 5: A; 6, 7: B. */
INLINE void accumulate(const fc_panel *p, int s, size_t row, bool lower, bool right)
{
    size_t lda = p->term[s].lda, line = lda * sizeof(uint16_t);
    size_t ldb = p->term[s].ldb * 2 * sizeof(uint16_t);
    const uint16_t *a = (const uint16_t *)p->term[s].A + row * lda, *b = p->term[s].B;
    for (int k = 0; k < p->term[s].k; k += TILE_K) {
        const uint16_t *bk = b + (size_t)k * p->term[s].ldb;
        _tile_loadd(4, a + k, line);
        _tile_loadd(6, bk, ldb);
        _tile_dpbf16ps(0, 4, 6);
        if (lower) {
            _tile_loadd(5, a + SIDE * lda + k, line);
            _tile_dpbf16ps(2, 5, 6);
        }
        if (right) {
            _tile_loadd(7, bk + 2 * SIDE, ldb);
            _tile_dpbf16ps(1, 4, 7);
            if (lower)
                _tile_dpbf16ps(3, 5, 7);
        }
    }
}

/* Sums (SIDE, FC_PANEL) of rows row .. to C. */
static void finish_tiles(const fc_panel *p, const float *sum, size_t row)
{
    size_t rows = (size_t)p->m - row < SIDE ? (size_t)p->m - row : SIDE;
    for (size_t i = 0; i < rows; i++, sum += FC_PANEL) {
        float *c = p->C + (row + i) * p->ldc;
        const float *add = p->add ? p->add + (row + i) * p->ldadd : NULL;
        for (size_t j = 0; j < (size_t)p->n; j += LANES) {
            int left = p->n - (int)j;
            __mmask16 mask = (__mmask16)(left < LANES ? 0xffffu >> (LANES - left) : 0xffffu);
            __m512 v = _mm512_mul_ps(_mm512_loadu_ps(sum + j), _mm512_set1_ps(p->alpha));
            if (p->bias)
                v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, p->bias + j));
            if (add)
                v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, add + j));
            _mm512_mask_storeu_ps(c + j, mask, v);
        }
    }
}

/* Rows of A behind m are read (fc_left keeps room for them), their sums thrown away. */
static void panel_bf16(const fc_panel *p)
{
    _Alignas(64) float sum[2 * SIDE * FC_PANEL];
    const size_t line = FC_PANEL * sizeof(float);
    bool right = p->n > SIDE;
    _tile_loadconfig(&whole);
    for (size_t row = 0; row < (size_t)p->m; row += 2 * SIDE) {
        bool lower = row + SIDE < (size_t)p->m;
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (int s = 0; s < 2; s++)
            accumulate(p, s, row, lower, right);
        _tile_stored(0, sum, line);
        _tile_stored(1, sum + SIDE, line);
        _tile_stored(2, sum + SIDE * FC_PANEL, line);
        _tile_stored(3, sum + SIDE * FC_PANEL + SIDE, line);
        finish_tiles(p, sum, row);
        if (lower)
            finish_tiles(p, sum + SIDE * FC_PANEL, row + SIDE);
    }
    _tile_release();
}

const fc_isa fc_isa_amx = {.name = "amx",
                           .help = "AMX tiles for products of bf16, AVX-512 for the rest",
                           .panel = fc_panel_avx512,
                           .panel_bf16 = panel_bf16,
                           .bf16_k = TILE_K,
                           FC_ISA_PACKING,
                           FC_ISA_LAYERS};
