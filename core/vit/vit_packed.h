/* The weights of a network as right operands of its products. */
#ifndef FC_VIT_PACKED_H
#define FC_VIT_PACKED_H

#include "core/linalg/gemm.h"
#include "core/vit/vit_layout.h"

/* Weights prepared as right operands: frozen ones once for all threads and clients, trained ones
 * once a step for all slices of the batch. */
typedef struct fc_packed {
    fc_engine engine;               /* isa and bf16 they are for */
    fc_operand patch;               /* W^T of the patch embedding */
    fc_operand *forward, *backward; /* (slots) W^T and W; backward may be NULL */
    void *block;
} fc_packed;
/* Room for them. backward: also for training. */
fc_status fc_packed_new(fc_packed *out, const fc_vit_shape *s, bool backward, const fc_engine *e,
                        fc_error *err);
/* Prepare backbone w. It must outlive the use: BLAS reads it in place. Serial. */
void fc_packed_fill(fc_packed *p, const fc_vit_shape *s, const fc_real *w);
void fc_packed_free(fc_packed *p); /* accepts {0} */
size_t fc_packed_bytes(const fc_vit_shape *s, bool backward, const fc_engine *e);

#endif
