#include "core/linalg/isa.h"

#include <string.h>
#include <time.h>

#if defined(__x86_64__) && !defined(FC_REAL_DOUBLE)
#define FC_X86
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

const fc_isa *const fc_isa_table[] = {&fc_isa_scalar, &fc_isa_blas,
#ifdef FC_X86
                                      &fc_isa_avx2,   &fc_isa_avx512, &fc_isa_avx512bf16,
                                      &fc_isa_amx
#endif
};
const int fc_isa_count = sizeof fc_isa_table / sizeof *fc_isa_table;

#ifdef FC_X86
/* The kernel gives the 8 KiB of tile state only to processes that ask (Linux 5.16). */
static bool amx_permission(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

static bool has_amx_bf16(void)
{
    enum { AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24 };
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & AMX_BF16) && (d & AMX_TILE);
}

static const char *missing(const fc_isa *isa)
{
    __builtin_cpu_init();
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (isa == &fc_isa_avx2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
                   ? NULL
                   : "this processor has no AVX2 with FMA";
    if (isa == &fc_isa_avx512)
        return avx512 ? NULL : "this processor has no AVX-512 (F, BW, DQ, VL)";
    if (isa == &fc_isa_avx512bf16)
        return avx512 && __builtin_cpu_supports("avx512bf16")
                   ? NULL
                   : "this processor has no AVX-512 BF16";
    if (isa == &fc_isa_amx) {
        if (!avx512 || !has_amx_bf16())
            return "this processor has no AMX BF16";
        return amx_permission() ? NULL : "the system refuses the permission to use AMX";
    }
    return NULL;
}
#else
static const char *missing(const fc_isa *isa)
{
    (void)isa;
    return NULL;
}
#endif

bool fc_isa_usable(const fc_isa *isa, const char **why)
{
    const char *lacks = missing(isa);
    if (why)
        *why = lacks;
    return !lacks;
}

#ifndef FC_REAL_DOUBLE
static double clock_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Best time of one panel over a few tries. Zeros: no operand is slower than another. */
static double time_of(void (*panel)(const fc_panel *), const void *A, const void *B, fc_real *C,
                      int k)
{
    double best = 1;
    fc_panel p = {.C = C, .ldc = FC_PANEL, .m = 16, .n = FC_PANEL, .alpha = 1};
    p.term[0].A = A;
    p.term[0].lda = (size_t)k;
    p.term[0].B = B;
    p.term[0].ldb = FC_PANEL;
    p.term[0].k = k;
    for (int try = 0; try < 20; try++) {
        double begin = clock_seconds();
        panel(&p);
        double t = clock_seconds() - begin;
        best = t < best ? t : best;
    }
    return best;
}

/* Some processors have vdpbf16ps at half the rate of float products, others at twice. */
static bool bf16_pays(const fc_isa *isa)
{
    enum { K = 512 };
    static const float zero[K * FC_PANEL];
    fc_real C[16 * FC_PANEL];
    return time_of(isa->panel_bf16, zero, zero, C, K) < time_of(isa->panel, zero, zero, C, K);
}
#else
static bool bf16_pays(const fc_isa *isa)
{
    (void)isa;
    return false;
}
#endif

static const fc_isa *widest(bool bf16)
{
    for (int i = fc_isa_count - 1; i > 0; i--) {
        const fc_isa *isa = fc_isa_table[i];
        /* a table whose only gain is its bf16 kernel */
        bool for_bf16 = isa->panel_bf16 && isa->panel == fc_isa_table[i - 1]->panel;
        if (for_bf16 && !bf16)
            continue;
        if (fc_isa_usable(isa, NULL) && (!for_bf16 || bf16_pays(isa)))
            return isa;
    }
    return &fc_isa_blas;
}

fc_status fc_isa_find(const fc_isa **out, const char *name, bool bf16, fc_error *err)
{
    *out = NULL;
    if (strcmp(name, "auto") == 0) {
        *out = widest(bf16);
        return FC_OK;
    }
    for (int i = 0; i < fc_isa_count; i++) {
        const char *why;
        if (strcmp(fc_isa_table[i]->name, name) != 0)
            continue;
        if (!fc_isa_usable(fc_isa_table[i], &why))
            return fc_fail(err, FC_EUSAGE, "instruction set '%s': %s", name, why);
        *out = fc_isa_table[i];
        return FC_OK;
    }
    return fc_fail(err, FC_EUSAGE, "instruction set '%s': not in this build of the program", name);
}
