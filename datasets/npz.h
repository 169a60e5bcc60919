/* NumPy's .npz: a zip archive of .npy files, stored or deflated.
 * Formats: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html and PKWARE's
 * APPNOTE.TXT 4.3. */
#ifndef FC_NPZ_H
#define FC_NPZ_H

#include "core/base/arena.h"
#include "core/base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct fc_npy {
    char kind; /* 'u' or 'i' (other types are refused) */
    int size;  /* bytes of one element: 1, 2, 4, 8; little-endian */
    int ndim;
    size_t dim[4];
    size_t count;              /* product of dim */
    const unsigned char *data; /* C order, maybe unaligned; in the file, or in arena if deflated */
} fc_npy;

/* Array `key` of the archive. Absent: *found false, FC_OK. Errors FC_EDATA: not a zip; zip64,
 * encrypted or an unknown compression; wrong checksum; not little-endian integers in C order; size
 * that does not match the shape. */
fc_status fc_npz_find(fc_npy *out, bool *found, const unsigned char *file, size_t n,
                      const char *key, const char *name, fc_arena *arena, fc_error *err);

/* Element i. Above INT64_MAX: INT64_MAX. */
int64_t fc_npy_int(const fc_npy *a, size_t i);

#endif
