/* Portable C: the plain forms, oracle of all others, and the same layers beside BLAS. */
#include "core/linalg/isa_kernels.inc"

/* The definition in core/linalg/isa.h, term by term. */
static void panel(const fc_panel *p)
{
    for (size_t i = 0; i < (size_t)p->m; i++)
        for (size_t j = 0; j < (size_t)p->n; j++) {
            fc_real sum = 0;
            for (int s = 0; s < 2; s++) {
                const fc_real *a = p->term[s].A, *b = p->term[s].B;
                for (size_t k = 0; k < (size_t)p->term[s].k; k++)
                    sum += a[i * p->term[s].lda + k] * b[k * p->term[s].ldb + j];
            }
            fc_real c = p->alpha * sum;
            c += p->bias ? p->bias[j] : 0;
            p->C[i * p->ldc + j] = c + (p->add ? p->add[i * p->ldadd + j] : 0);
        }
}

#ifndef FC_REAL_DOUBLE
static float widen_bf16(uint16_t x)
{
    uint32_t u = (uint32_t)x << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static void panel_bf16(const fc_panel *p)
{
    for (size_t i = 0; i < (size_t)p->m; i++)
        for (size_t j = 0; j < (size_t)p->n; j++) {
            float sum = 0;
            for (int s = 0; s < 2; s++) {
                const uint16_t *a = p->term[s].A, *b = p->term[s].B;
                for (size_t k = 0; k < (size_t)p->term[s].k; k++)
                    sum += widen_bf16(a[i * p->term[s].lda + k]) *
                           widen_bf16(b[(k / 2 * p->term[s].ldb + j) * 2 + k % 2]);
            }
            float c = p->alpha * sum;
            c += p->bias ? p->bias[j] : 0;
            p->C[i * p->ldc + j] = c + (p->add ? p->add[i * p->ldadd + j] : 0);
        }
}
#endif

const fc_isa fc_isa_scalar = {.name = "scalar",
                              .help = "plain C throughout: slow, the oracle of the others",
                              .panel = panel,
#ifndef FC_REAL_DOUBLE
                              .panel_bf16 = panel_bf16,
                              .bf16_k = 2,
#endif
                              FC_ISA_PACKING,
                              FC_ISA_LAYERS};

const fc_isa fc_isa_blas = {.name = "blas",
                            .help = "portable C layers, OpenBLAS for matrix products",
                            FC_ISA_PACKING,
                            FC_ISA_LAYERS};
