/* The AMX instructions that core/linalg/isa_amx.c uses, in plain C: Intel's manual, volume 2,
 * LDTILECFG, TILELOADD, TILEZERO, TDPBF16PS, TILESTORED, TILERELEASE. What would be a fault of the
 * processor (a bad configuration, a tile outside of it, shapes that do not fit) ends the test. */
#ifndef FC_TESTS_AMX_EMULATED_H
#define FC_TESTS_AMX_EMULATED_H

#include <immintrin.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AMX_TILES = 8, AMX_ROWS = 16, AMX_ROW_BYTES = 64 };

typedef struct amx_tile {
    size_t rows, row_bytes; /* as configured */
    uint8_t byte[AMX_ROWS][AMX_ROW_BYTES];
} amx_tile;

static _Thread_local struct {
    bool configured;
    amx_tile tile[AMX_TILES];
} amx;

static inline void amx_check(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "emulated AMX: %s\n", what);
    abort();
}

static inline amx_tile *amx_at(int i)
{
    amx_check(amx.configured, "no configuration is loaded");
    amx_check(i >= 0 && i < AMX_TILES, "no such tile");
    amx_check(amx.tile[i].rows > 0 && amx.tile[i].row_bytes > 0, "the tile is not configured");
    return &amx.tile[i];
}

/* 64 bytes: palette, first row, 14 reserved, 16 x 2 of bytes in a row, 16 x 1 of rows. */
static inline void amx_loadconfig(const void *config)
{
    const uint8_t *byte = config;
    amx_check(byte[0] == 1 && byte[1] == 0, "palette 1 and first row 0 expected");
    for (int i = 2; i < 16; i++)
        amx_check(byte[i] == 0, "a reserved byte of the configuration is not zero");
    memset(&amx, 0, sizeof amx);
    for (int i = 0; i < 16; i++) {
        size_t row_bytes = byte[16 + 2 * i] + 256u * byte[17 + 2 * i], rows = byte[48 + i];
        if (i >= AMX_TILES) {
            amx_check(row_bytes == 0 && rows == 0, "more tiles are configured than there are");
            continue;
        }
        amx_check(row_bytes <= AMX_ROW_BYTES && rows <= AMX_ROWS, "a tile is too large");
        amx_check((row_bytes == 0) == (rows == 0), "a tile has rows without columns, or columns "
                                                   "without rows");
        amx.tile[i].rows = rows;
        amx.tile[i].row_bytes = row_bytes;
    }
    amx.configured = true;
}

static inline void amx_release(void)
{
    memset(&amx, 0, sizeof amx);
}

static inline void amx_zero(int dst)
{
    amx_tile *t = amx_at(dst);
    memset(t->byte, 0, sizeof t->byte);
}

static inline void amx_load(int dst, const void *base, size_t stride)
{
    amx_tile *t = amx_at(dst);
    memset(t->byte, 0, sizeof t->byte);
    for (size_t i = 0; i < t->rows; i++)
        memcpy(t->byte[i], (const char *)base + i * stride, t->row_bytes);
}

static inline void amx_store(int src, void *base, size_t stride)
{
    const amx_tile *t = amx_at(src);
    for (size_t i = 0; i < t->rows; i++)
        memcpy((char *)base + i * stride, t->byte[i], t->row_bytes);
}

static inline float amx_float(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Sums of the even and of the odd numbers of the pairs, each by fma over k in order; the two are
 * added, then their sum to dst. Not inline: all of it is to run with denormals off. */
static __attribute__((noinline)) void amx_dpbf16_rows(amx_tile *dst, const amx_tile *a,
                                                      const amx_tile *b)
{
    for (size_t i = 0; i < dst->rows; i++) {
        float even[AMX_ROW_BYTES / 4] = {0}, odd[AMX_ROW_BYTES / 4] = {0}, sum[AMX_ROW_BYTES / 4];
        for (size_t k = 0; k < a->row_bytes / 4; k++) {
            uint32_t x, y[AMX_ROW_BYTES / 4];
            memcpy(&x, a->byte[i] + 4 * k, sizeof x);
            memcpy(y, b->byte[k], sizeof y);
            for (size_t j = 0; j < AMX_ROW_BYTES / 4; j++) {
                even[j] = fmaf(amx_float(x << 16), amx_float(y[j] << 16), even[j]);
                odd[j] = fmaf(amx_float(x & 0xffff0000u), amx_float(y[j] & 0xffff0000u), odd[j]);
            }
        }
        memcpy(sum, dst->byte[i], sizeof sum);
        for (size_t j = 0; j < AMX_ROW_BYTES / 4; j++)
            sum[j] += even[j] + odd[j];
        memcpy(dst->byte[i], sum, dst->row_bytes);
    }
}

static inline void amx_dpbf16ps(int dst, int src1, int src2)
{
    enum { ROUNDING = 0x6000, MASK_ALL = 0x1f80, DENORMALS_OFF = 0x8040 };
    amx_tile *c = amx_at(dst);
    const amx_tile *a = amx_at(src1), *b = amx_at(src2);
    amx_check(dst != src1 && dst != src2 && src1 != src2, "a tile is used twice");
    amx_check(c->rows == a->rows, "rows of the sum and of the left operand differ");
    amx_check(c->row_bytes == b->row_bytes, "columns of the sum and of the right operand differ");
    amx_check(a->row_bytes == 4 * b->rows, "columns of the left, rows of the right operand differ");
    unsigned mode = _mm_getcsr();
    _mm_setcsr((mode & ~(unsigned)ROUNDING) | MASK_ALL | DENORMALS_OFF);
    amx_dpbf16_rows(c, a, b);
    _mm_setcsr(mode);
}

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig amx_loadconfig
#define _tile_release amx_release
#define _tile_zero amx_zero
#define _tile_loadd amx_load
#define _tile_stored amx_store
#define _tile_dpbf16ps amx_dpbf16ps

#endif
