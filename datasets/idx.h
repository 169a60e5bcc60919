/* IDX files of MNIST and its relatives, plain or gzip-compressed
 * (http://yann.lecun.com/exdb/mnist). Big-endian header: two zero bytes, type 0x08 (uint8), number
 * of dimensions, each dimension (32 bits); then data. */
#ifndef FC_IDX_H
#define FC_IDX_H

#include "core/base/arena.h"
#include "core/base/status.h"

#include <stdint.h>

typedef struct fc_idx {
    int ndim;
    uint32_t dim[3];
    const unsigned char *data; /* product of dim; in the file, or in arena if it was compressed */
} fc_idx;

/* Parse file bytes (n, must outlive *out). Errors FC_EDATA: not IDX of uint8 with `ndim`
 * dimensions; more or fewer bytes than the header says; corrupt gzip. */
fc_status fc_idx_parse(fc_idx *out, const unsigned char *file, size_t n, int ndim, const char *name,
                       fc_arena *arena, fc_error *err);

#endif
