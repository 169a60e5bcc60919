/* AVX-512 (F, BW, DQ, VL): float products; bf16 is emulated. */
#include <immintrin.h>

enum { WORD = 1 };

static inline __m512 multiply_add(__m512 sum, __m512 a, __m512 b)
{
    return _mm512_fmadd_ps(a, b, sum);
}

#include "core/linalg/isa_tile512.inc"

void fc_panel_avx512(const fc_panel *p)
{
    panel_of_words(p);
}

const fc_isa fc_isa_avx512 = {.name = "avx512",
                              .help = "AVX-512; bf16 products are emulated",
                              .panel = fc_panel_avx512,
                              FC_ISA_PACKING,
                              FC_ISA_LAYERS};
