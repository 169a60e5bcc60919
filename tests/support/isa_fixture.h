/* For tests of kernels: all tables that run here, fenced memory, numbers, rounding to bf16. */
#ifndef FC_TESTS_ISA_FIXTURE_H
#define FC_TESTS_ISA_FIXTURE_H

#include "core/base/rng.h"
#include "core/linalg/isa.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef FC_AMX_EMULATED
/* core/linalg/isa_amx.c on top of tests/support/amx_emulated.h; its layers and float products need
 * AVX-512. */
extern const fc_isa fc_isa_amx_emulated;
#endif

enum { TABLES_MAX = 16 };

/* Every table that this machine can run, the emulated AMX among them; says what is left out. */
static inline int usable_tables(const fc_isa *out[TABLES_MAX])
{
    int n = 0;
    const char *why;
    for (int i = 0; i < fc_isa_count; i++) {
        if (fc_isa_usable(fc_isa_table[i], &why))
            out[n++] = fc_isa_table[i];
        else
            printf("left out: %s: %s\n", fc_isa_table[i]->name, why);
    }
#ifdef FC_AMX_EMULATED
    if (fc_isa_usable(&fc_isa_avx512, &why))
        out[n++] = &fc_isa_amx_emulated;
    else
        printf("left out: emulated AMX: %s\n", why);
#endif
    return n;
}

static inline const char *table_name(const fc_isa *isa)
{
#ifdef FC_AMX_EMULATED
    if (isa == &fc_isa_amx_emulated)
        return "amx (emulated)";
#endif
    return isa->name;
}

/* ---- fences --------------------------------------------------------------------------------- */

/* Memory with a page behind it that may not be touched. */
typedef struct fence {
    char *end;
    size_t capacity;
} fence;

static inline fence fence_new(size_t capacity)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    capacity = (capacity + page - 1) / page * page;
    char *p =
        mmap(NULL, capacity + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p + capacity, page, PROT_NONE) != 0)
        abort();
    return (fence){p + capacity, capacity};
}

enum { FENCE_MARGIN = 256 };

/* The last bytes before the page: reading or writing behind them is a fault. They and the margin
 * before them are NaN, in float and in bf16. */
static inline void *fence_last(const fence *f, size_t bytes)
{
    if (bytes + FENCE_MARGIN > f->capacity)
        abort();
    memset(f->end - bytes - FENCE_MARGIN, 0xff, bytes + FENCE_MARGIN);
    return f->end - bytes;
}

/* Is the margin before the last bytes as it was? */
static inline bool fence_kept(const fence *f, size_t bytes)
{
    for (const char *p = f->end - bytes - FENCE_MARGIN; p < f->end - bytes; p++)
        if (*p != (char)0xff)
            return false;
    return true;
}

/* ---- numbers -------------------------------------------------------------------------------- */

/* Rounded to bf16 (8 bits of precision, exponents of float), nearest, ties to even; by arithmetic,
 * not by bits as the kernels do. */
static inline double to_bf16(double x)
{
    if (!isfinite(x) || x == 0)
        return x;
    int e;
    frexp(x, &e); /* |x| in [2^(e-1), 2^e) */
    int last = e - 8 > -133 ? e - 8 : -133;
    double y = ldexp(nearbyint(ldexp(x, -last)), last);
    return fabs(y) >= 0x1p128 ? copysign(INFINITY, y) : y;
}

typedef enum numbers {
    NORMAL,  /* N(0, 1) */
    INTEGER, /* -8 .. 8: sums of their products are exact */
    HARD     /* normal; one in five infinite, NaN, denormal, a tie, near the overflow, -0 */
} numbers;

static inline float not_finite(fc_rng *g)
{
    static const float x[] = {INFINITY, -INFINITY, NAN};
    return x[fc_rng_below(g, 3)];
}

static inline float denormal(fc_rng *g)
{
    return (float)(fc_rng_normal(g) * 0x1p-130);
}

static inline float hard_number(fc_rng *g)
{
    static const uint32_t bits[] = {0x3f808000, 0x3f818000, 0x3f807fff, 0x3f808001, 0x3f818001,
                                    0x7f7fffff, 0x7f7f7fff, 0x7f7f8000, 0x80000000, 0x00008000,
                                    0x00018000, 0x80007fff, 0x7f800001, 0xffbfffff, 0x007fffff};
    float f;
    memcpy(&f, &bits[fc_rng_below(g, sizeof bits / sizeof *bits)], sizeof f);
    return f;
}

enum { POOL = 1 << 16 };

/* n numbers of a kind, from a random place in a pool: drawing each one would cost more than the
 * kernels do. */
static inline void draw(float *x, size_t n, numbers kind, fc_rng *g)
{
    static float pool[2][POOL];
    static bool filled;
    for (size_t i = 0; !filled && i < POOL; i++) {
        pool[0][i] = (float)fc_rng_normal(g);
        pool[1][i] = (float)fc_rng_below(g, 17) - 8;
    }
    filled = true;
    size_t from = fc_rng_below(g, POOL);
    for (size_t i = 0; i < n; i++)
        x[i] = pool[kind == INTEGER][(from + i) % POOL];
    for (size_t i = fc_rng_below(g, 5); kind == HARD && i < n; i += 1 + fc_rng_below(g, 9))
        x[i] = i % 5 == 0 ? not_finite(g) : i % 5 == 1 ? denormal(g) : hard_number(g);
}

#endif
