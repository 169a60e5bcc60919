#include "datasets/npz.h"

#include "datasets/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ZLIB_CONST
#include <zlib.h>

static uint32_t u16(const unsigned char *p)
{
    return (uint32_t)(p[0] | p[1] << 8);
}

static uint32_t u32(const unsigned char *p)
{
    return u16(p) | u16(p + 2) << 16;
}

/* --- zip -------------------------------------------------------------------------------------- */

enum { END_SIZE = 22, CENTRAL_SIZE = 46, LOCAL_SIZE = 30, COMMENT_MAX = 65535 };
static const uint32_t end_mark = 0x06054b50, central_mark = 0x02014b50, local_mark = 0x04034b50;

typedef struct member {
    uint32_t flags, method, crc, packed, size, offset; /* offset of the local header */
} member;

/* The end record is the last thing in the file, but for a comment whose length it tells. */
static const unsigned char *find_end(const unsigned char *file, size_t n)
{
    for (size_t comment = 0; comment <= COMMENT_MAX && comment + END_SIZE <= n; comment++) {
        const unsigned char *p = file + n - END_SIZE - comment;
        if (u32(p) == end_mark && u16(p + 20) == comment)
            return p;
    }
    return NULL;
}

/* Looks for key.npy in the central directory. */
static fc_status find_member(member *out, bool *found, const unsigned char *file, size_t n,
                             const char *key, const char *name, fc_error *err)
{
    const unsigned char *end = find_end(file, n);
    if (!end)
        return fc_fail(err, FC_EDATA, "%s: no end record: truncated, or not a zip archive", name);
    size_t entries = u16(end + 10), size = u32(end + 12), offset = u32(end + 16);
    if (entries == UINT16_MAX || size == UINT32_MAX || offset == UINT32_MAX)
        return fc_fail(err, FC_EDATA, "%s: zip64 archive, expected less than 4 GiB", name);
    if (offset > (size_t)(end - file) || size > (size_t)(end - file) - offset)
        return fc_fail(err, FC_EDATA, "%s: zip directory lies outside of the file", name);
    const unsigned char *p = file + offset, *stop = p + size;
    *found = false;
    for (size_t i = 0; i < entries && !*found; i++) {
        if (stop - p < CENTRAL_SIZE || u32(p) != central_mark)
            return fc_fail(err, FC_EDATA, "%s: zip directory is damaged at entry %zu", name, i);
        size_t n_name = u16(p + 28), n_rest = u16(p + 30) + u16(p + 32);
        if ((size_t)(stop - p) - CENTRAL_SIZE < n_name + n_rest)
            return fc_fail(err, FC_EDATA, "%s: zip directory is cut off at entry %zu", name, i);
        const char *text = (const char *)p + CENTRAL_SIZE;
        size_t n_key = strlen(key);
        *found = n_name == n_key + 4 && memcmp(text, key, n_key) == 0 &&
                 memcmp(text + n_key, ".npy", 4) == 0;
        *out = (member){.flags = u16(p + 8),
                        .method = u16(p + 10),
                        .crc = u32(p + 16),
                        .packed = u32(p + 20),
                        .size = u32(p + 24),
                        .offset = u32(p + 42)};
        p += CENTRAL_SIZE + n_name + n_rest;
    }
    return FC_OK;
}

/* zlib's counter has 32 bits, and so has m->size. */
static bool checksum_holds(const unsigned char *p, const member *m)
{
    return crc32(crc32(0, NULL, 0), p, m->size) == m->crc;
}

static fc_status read_member(const unsigned char **data, const member *m, const unsigned char *file,
                             size_t n, const char *key, const char *name, fc_arena *arena,
                             fc_error *err)
{
    const unsigned char *p = file + m->offset;
    if (m->flags & 1)
        return fc_fail(err, FC_EDATA, "%s: %s.npy is encrypted", name, key);
    if (m->packed == UINT32_MAX || m->size == UINT32_MAX || m->offset == UINT32_MAX)
        return fc_fail(err, FC_EDATA, "%s: %s.npy is zip64, expected less than 4 GiB", name, key);
    if (m->offset > n || n - m->offset < LOCAL_SIZE || u32(p) != local_mark)
        return fc_fail(err, FC_EDATA, "%s: %s.npy: its header lies outside of the file", name, key);
    size_t header = LOCAL_SIZE + u16(p + 26) + u16(p + 28), left = n - m->offset;
    if (header > left || m->packed > left - header)
        return fc_fail(err, FC_EDATA, "%s: %s.npy: %u bytes lie outside of the file", name, key,
                       m->packed);
    p += header;
    if (m->method == 0) {
        if (m->packed != m->size)
            return fc_fail(err, FC_EDATA, "%s: %s.npy: %u bytes stored, expected %u", name, key,
                           m->packed, m->size);
        *data = p;
    } else if (m->method == 8) {
        if (m->size > fc_inflate_bound(m->packed))
            return fc_fail(err, FC_EDATA, "%s: %s.npy: %u bytes cannot inflate to %u", name, key,
                           m->packed, m->size);
        unsigned char *out = fc_arena_alloc(arena, m->size, 1, err);
        if (!out)
            return FC_EFAIL;
        const char *wrong = fc_inflate(out, m->size, p, m->packed, FC_DEFLATE, true);
        if (wrong)
            return fc_fail(err, FC_EDATA, "%s: %s.npy: deflate: %s", name, key, wrong);
        *data = out;
    } else {
        return fc_fail(err, FC_EDATA, "%s: %s.npy: compression %u, expected 0 or 8 (deflate)", name,
                       key, m->method);
    }
    if (!checksum_holds(*data, m))
        return fc_fail(err, FC_EDATA, "%s: %s.npy: wrong checksum, the file is damaged", name, key);
    return FC_OK;
}

/* --- npy -------------------------------------------------------------------------------------- */

/* The header is a Python dict literal: {'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }.
 * The value of a key starts behind "'key':"; text ends with a zero byte. */
static const char *value_of(const char *text, const char *key)
{
    size_t n = strlen(key);
    for (const char *p = strchr(text, '\''); p; p = strchr(p + 1, '\'')) {
        if (strncmp(p + 1, key, n) != 0 || p[1 + n] != '\'')
            continue;
        p += n + 2;
        p += strspn(p, " ");
        return *p == ':' ? p + 1 + strspn(p + 1, " ") : NULL;
    }
    return NULL;
}

/* "(2, 3)", "(5,)", "()". */
static bool parse_shape(fc_npy *a, const char *p)
{
    if (*p++ != '(')
        return false;
    a->count = 1;
    for (a->ndim = 0;; a->ndim++) {
        p += strspn(p, " ");
        if (*p == ')')
            return true;
        size_t digits = strspn(p, "0123456789");
        if (digits == 0 || digits > 18 || a->ndim == 4)
            return false;
        a->dim[a->ndim] = (size_t)strtoull(p, NULL, 10);
        if (__builtin_mul_overflow(a->count, a->dim[a->ndim], &a->count))
            return false;
        p += digits;
        p += strspn(p, " ");
        if (*p == ',')
            p++;
        else if (*p != ')')
            return false;
    }
}

static fc_status parse_dict(fc_npy *a, const char *text, const char *where, fc_error *err)
{
    const char *descr = value_of(text, "descr"), *order = value_of(text, "fortran_order"),
               *shape = value_of(text, "shape");
    if (!descr || !order || !shape)
        return fc_fail(err, FC_EDATA, "%s: header without descr, fortran_order and shape", where);
    /* '|u1', '<i8' */
    bool known = descr[0] == '\'' && descr[1] && descr[2] && descr[3] && descr[4] == '\'' &&
                 (descr[2] == 'u' || descr[2] == 'i') && strchr("1248", descr[3]) &&
                 (descr[1] == '<' || (descr[1] == '|' && descr[3] == '1'));
    if (!known)
        return fc_fail(err, FC_EDATA, "%s: type %.*s, expected little-endian integers", where,
                       (int)strcspn(descr, ",}"), descr);
    a->kind = descr[2];
    a->size = descr[3] - '0';
    if (strncmp(order, "False", 5) != 0)
        return fc_fail(err, FC_EDATA, "%s: Fortran order, expected C order", where);
    if (!parse_shape(a, shape))
        return fc_fail(err, FC_EDATA, "%s: shape %.*s, expected (...) of at most 4 numbers", where,
                       (int)strcspn(shape, ")}") + 1, shape);
    return FC_OK;
}

static fc_status parse_npy(fc_npy *a, const unsigned char *p, size_t n, const char *key,
                           const char *name, fc_arena *arena, fc_error *err)
{
    size_t n_where = strlen(name) + strlen(key) + 8;
    char *where = fc_arena_alloc(arena, n_where, 1, err);
    if (!where)
        return FC_EFAIL;
    snprintf(where, n_where, "%s: %s.npy", name, key);
    if (n < 12 || memcmp(p, "\x93NUMPY", 6) != 0 || p[6] < 1 || p[6] > 3)
        return fc_fail(err, FC_EDATA, "%s: not an npy file of version 1 to 3", where);
    size_t start = p[6] == 1 ? 10 : 12;
    size_t header = p[6] == 1 ? u16(p + 8) : u32(p + 8);
    if (header > n - start)
        return fc_fail(err, FC_EDATA, "%s: header of %zu bytes in %zu", where, header, n);
    char *text = fc_arena_alloc(arena, header + 1, 1, err);
    if (!text)
        return FC_EFAIL;
    memcpy(text, p + start, header);
    FC_TRY(parse_dict(a, text, where, err));
    size_t want, have = n - start - header;
    if (__builtin_mul_overflow(a->count, (size_t)a->size, &want) || want != have)
        return fc_fail(err, FC_EDATA, "%s: %zu bytes of data, expected %zu elements of %d bytes",
                       where, have, a->count, a->size);
    a->data = p + start + header;
    return FC_OK;
}

fc_status fc_npz_find(fc_npy *out, bool *found, const unsigned char *file, size_t n,
                      const char *key, const char *name, fc_arena *arena, fc_error *err)
{
    member m = {0};
    const unsigned char *data = NULL;
    fc_npy a = {0};
    FC_TRY(find_member(&m, found, file, n, key, name, err));
    if (!*found)
        return FC_OK;
    FC_TRY(read_member(&data, &m, file, n, key, name, arena, err));
    FC_TRY(parse_npy(&a, data, m.size, key, name, arena, err));
    *out = a;
    return FC_OK;
}

int64_t fc_npy_int(const fc_npy *a, size_t i)
{
    const unsigned char *p = a->data + i * (size_t)a->size;
    uint64_t v = 0;
    for (int b = 0; b < a->size; b++)
        v |= (uint64_t)p[b] << (8 * b);
    if (a->kind == 'u')
        return v > INT64_MAX ? INT64_MAX : (int64_t)v;
    if (a->size < 8 && v >> (8 * a->size - 1))
        v |= UINT64_MAX << (8 * a->size); /* sign */
    return (int64_t)v;
}
