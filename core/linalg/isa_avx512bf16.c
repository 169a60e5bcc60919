/* AVX-512 with vdpbf16ps: two bf16 products per 32-bit lane and instruction. */
#include <immintrin.h>

enum { WORD = 2 };

static inline __m512 multiply_add(__m512 sum, __m512 a, __m512 b)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}

#include "core/linalg/isa_tile512.inc"

const fc_isa fc_isa_avx512bf16 = {.name = "avx512bf16",
                                  .help = "AVX-512 with products of bf16 (vdpbf16ps)",
                                  .panel = fc_panel_avx512,
                                  .panel_bf16 = panel_of_words,
                                  .bf16_k = 2,
                                  FC_ISA_PACKING,
                                  FC_ISA_LAYERS};
