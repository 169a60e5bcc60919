/* safetensors files: read (F32, F16, BF16, F64, I64, U8; bounds-checked) and write.
 * Format: 8-byte little-endian header length, JSON header, data
 * (https://huggingface.co/docs/safetensors). */
#ifndef FC_SAFETENSORS_H
#define FC_SAFETENSORS_H

#include "core/base/arena.h"
#include "core/base/params.h"
#include "core/base/status.h"

#include <stdint.h>

typedef enum fc_dtype { FC_F32, FC_F16, FC_BF16, FC_F64, FC_I64, FC_U8 } fc_dtype;

typedef struct fc_tensor {
    const char *name;
    fc_dtype dtype;
    int ndim;
    int64_t dim[8];
    size_t count;              /* product of dim */
    const unsigned char *data; /* into the mapped file, little-endian, maybe unaligned */
} fc_tensor;

/* A file held open by mapping it read-only. */
typedef struct fc_st {
    const char *path;
    fc_tensor *tensor;
    int n;
    const char *(*metadata)[2]; /* __metadata__: n_metadata pairs {key, value}, sorted by key */
    int n_metadata;
    void *map;
    size_t map_size;
    fc_arena arena;
} fc_st;

/* Every offset is checked: inside the file, matching shape * dtype, not overlapping, no holes.
 * Errors FC_EDATA (FC_EFAIL for memory), *f then {0}. */
fc_status fc_st_open(fc_st *f, const char *path, fc_error *err);
/* The same on n bytes in memory, which must outlive *f; name stands for the path in messages. */
fc_status fc_st_parse(fc_st *f, const void *data, size_t n, const char *name, fc_error *err);
void fc_st_close(fc_st *f); /* accepts {0} */

const fc_tensor *fc_st_find(const fc_st *f, const char *name); /* NULL if absent */
const char *fc_st_metadata(const fc_st *f, const char *key);   /* NULL if absent */

/* buf = "(2, 3)", cut to its size. Returns buf. */
const char *fc_st_shape(char *buf, size_t size, int ndim, const int64_t *dim);

/* out (count) = the tensor converted to fc_real / double. Not finite: FC_EDATA names tensor and
 * index. */
fc_status fc_st_read(fc_real *out, const fc_st *f, const fc_tensor *t, fc_error *err);
fc_status fc_st_read_double(double *out, const fc_st *f, const fc_tensor *t, fc_error *err);
/* The file's pages of a tensor need not stay in memory; it can be read again. */
void fc_st_forget(const fc_st *f, const fc_tensor *t);

/* What to write: one entry per tensor, data in host memory. */
typedef struct fc_st_entry {
    const char *name;
    fc_dtype dtype;
    int ndim;
    int64_t dim[8];
    const void *data;
} fc_st_entry;

/* Write path atomically: temporary name in the same folder, fsync, rename, fsync of the folder.
 * metadata: n_metadata pairs {key, value} or NULL. Deterministic bytes. Errors FC_EFAIL (disk full
 * names path and reason); no partial file stays. */
fc_status fc_st_write(const char *path, const fc_st_entry *entry, int n,
                      const char *const (*metadata)[2], int n_metadata, fc_error *err);

/* The same bytes into memory: *out is malloc'ed (caller frees), *n_out its size. Used to count and
 * keep messages. */
fc_status fc_st_serialize(unsigned char **out, size_t *n_out, const fc_st_entry *entry, int n,
                          const char *const (*metadata)[2], int n_metadata, fc_error *err);

/* How many bytes that would be, without making them. */
fc_status fc_st_size(size_t *size, const fc_st_entry *entry, int n,
                     const char *const (*metadata)[2], int n_metadata, fc_error *err);

/* Entry for tensor s of p (dtype of fc_real). */
fc_st_entry fc_st_entry_of(const fc_params *p, const fc_spec *s);

#endif
