/* What isa_kernels.h can use of AVX-512 beyond plain vectors; included before it. */
#include <immintrin.h>

/* n in 0 .. 15 */
#define FC_MASKED_LOAD(x, n) ((lanes)_mm512_maskz_loadu_ps((__mmask16)((1u << (n)) - 1), x))
#ifdef __AVX512BF16__
/* Denormals count as zero. */
#define FC_CONVERT_BF16(x) ((halves)_mm512_cvtneps_pbh((__m512)(x)))
#endif
