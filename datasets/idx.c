#include "datasets/idx.h"

#include "datasets/files.h"

enum { HEADER_MAX = 4 + 4 * 3 };

static uint32_t big_endian(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* h has 4 + 4 * ndim bytes; *count gets the bytes of data that follow them. */
static fc_status parse_header(fc_idx *x, size_t *count, const unsigned char *h, int ndim,
                              const char *name, fc_error *err)
{
    if (h[0] != 0 || h[1] != 0 || h[2] != 0x08 || h[3] != ndim)
        return fc_fail(err, FC_EDATA,
                       "%s: starts with bytes %d %d %d %d, expected 0 0 8 %d: IDX of uint8 with %d "
                       "dimensions",
                       name, h[0], h[1], h[2], h[3], ndim, ndim);
    x->ndim = ndim;
    *count = 1;
    for (int i = 0; i < ndim; i++) {
        x->dim[i] = big_endian(h + 4 + 4 * i);
        if (__builtin_mul_overflow(*count, x->dim[i], count))
            return fc_fail(err, FC_EDATA, "%s: product of the dimensions overflows", name);
    }
    return FC_OK;
}

static fc_status parse_gzip(fc_idx *x, const unsigned char *file, size_t n, int ndim,
                            const char *name, fc_arena *arena, fc_error *err)
{
    unsigned char h[HEADER_MAX];
    size_t header = 4 + 4 * (size_t)ndim, count = 0;
    const char *wrong = fc_inflate(h, header, file, n, FC_GZIP, false);
    if (wrong)
        return fc_fail(err, FC_EDATA, "%s: gzip: %s, expected an IDX header", name, wrong);
    FC_TRY(parse_header(x, &count, h, ndim, name, err));
    if (count > fc_inflate_bound(n))
        return fc_fail(err, FC_EDATA, "%s: %zu bytes cannot hold the %zu that its header promises",
                       name, n, count);
    unsigned char *all = fc_arena_alloc(arena, header + count, 1, err);
    if (!all)
        return FC_EFAIL;
    wrong = fc_inflate(all, header + count, file, n, FC_GZIP, true);
    if (wrong)
        return fc_fail(err, FC_EDATA, "%s: gzip: %s, expected %zu bytes of data", name, wrong,
                       count);
    x->data = all + header;
    return FC_OK;
}

fc_status fc_idx_parse(fc_idx *out, const unsigned char *file, size_t n, int ndim, const char *name,
                       fc_arena *arena, fc_error *err)
{
    fc_idx x = {0};
    size_t header = 4 + 4 * (size_t)ndim, count = 0;
    if (n >= 2 && file[0] == 0x1f && file[1] == 0x8b) {
        FC_TRY(parse_gzip(&x, file, n, ndim, name, arena, err));
    } else {
        if (n < header)
            return fc_fail(err, FC_EDATA, "%s: %zu bytes, expected an IDX header of %zu", name, n,
                           header);
        FC_TRY(parse_header(&x, &count, file, ndim, name, err));
        if (count != n - header)
            return fc_fail(err, FC_EDATA, "%s: %zu bytes of data, expected %zu from its header",
                           name, n - header, count);
        x.data = file + header;
    }
    *out = x;
    return FC_OK;
}
