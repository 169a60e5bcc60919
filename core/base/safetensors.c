#include "core/base/safetensors.h"

#include "core/base/file.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are stored little-endian");

enum { LENGTH_SIZE = 8, DIMS_MAX = 8 };
static const size_t header_max = 100000000; /* the limit of the reference implementation */

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [FC_F32] = {"F32", 4}, [FC_F16] = {"F16", 2}, [FC_BF16] = {"BF16", 2},
    [FC_F64] = {"F64", 8}, [FC_I64] = {"I64", 8}, [FC_U8] = {"U8", 1},
};
enum { NDTYPE = sizeof dtypes / sizeof dtypes[0] };

/* --- reading ---------------------------------------------------------------------------------- */

static size_t bytes_of(const fc_tensor *t)
{
    return t->count * dtypes[t->dtype].size;
}

static fc_status parse_dtype(fc_tensor *t, const json_t *v, const char *path, fc_error *err)
{
    const char *word = json_string_value(v);
    for (int i = 0; word && i < NDTYPE; i++)
        if (strcmp(word, dtypes[i].name) == 0) {
            t->dtype = (fc_dtype)i;
            return FC_OK;
        }
    return fc_fail(err, FC_EDATA,
                   "%s: tensor %s: dtype is %s, expected F32, F16, BF16, F64, I64 or U8", path,
                   t->name, word ? word : "not a string");
}

static fc_status parse_st_shape(fc_tensor *t, const json_t *v, const char *path, fc_error *err)
{
    size_t n = json_array_size(v);
    if (!json_is_array(v))
        return fc_fail(err, FC_EDATA, "%s: tensor %s: shape is no array", path, t->name);
    if (n > DIMS_MAX)
        return fc_fail(err, FC_EDATA, "%s: tensor %s: shape of %zu numbers, expected 0 to %d", path,
                       t->name, n, DIMS_MAX);
    t->ndim = (int)n;
    t->count = 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *d = json_array_get(v, i);
        t->dim[i] = json_integer_value(d);
        if (!json_is_integer(d) || t->dim[i] < 0)
            return fc_fail(err, FC_EDATA,
                           "%s: tensor %s: dimension %zu of the shape is not an integer >= 0", path,
                           t->name, i);
        if (__builtin_mul_overflow(t->count, (size_t)t->dim[i], &t->count))
            return fc_fail(err, FC_EDATA, "%s: tensor %s: number of elements overflows", path,
                           t->name);
    }
    return FC_OK;
}

/* data (size) is what follows the header. */
static fc_status parse_extent(fc_tensor *t, const json_t *v, const unsigned char *data, size_t size,
                              const char *path, fc_error *err)
{
    const json_t *b = json_array_get(v, 0), *e = json_array_get(v, 1);
    if (json_array_size(v) != 2 || !json_is_integer(b) || !json_is_integer(e))
        return fc_fail(err, FC_EDATA, "%s: tensor %s: data_offsets are not two integers", path,
                       t->name);
    json_int_t begin = json_integer_value(b), end = json_integer_value(e);
    if (!(0 <= begin && begin <= end && (size_t)end <= size))
        return fc_fail(
            err, FC_EDATA,
            "%s: tensor %s: data_offsets [%lld, %lld] do not lie in the %zu bytes of data "
            "of the file",
            path, t->name, (long long)begin, (long long)end, size);
    size_t want;
    if (__builtin_mul_overflow(t->count, dtypes[t->dtype].size, &want) ||
        want != (size_t)(end - begin))
        return fc_fail(err, FC_EDATA,
                       "%s: tensor %s: %lld bytes of data, expected %zu elements of %s", path,
                       t->name, (long long)(end - begin), t->count, dtypes[t->dtype].name);
    t->data = data + begin;
    return FC_OK;
}

static int by_offset(const void *a, const void *b)
{
    const fc_tensor *x = a, *y = b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    if (x->count != y->count) /* an empty tensor goes before what starts at the same place */
        return x->count < y->count ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* The tensors must tile the data: no overlap, no hole, nothing behind the last one. */
static fc_status check_tiling(const fc_st *f, const unsigned char *data, size_t size, fc_error *err)
{
    const unsigned char *pos = data;
    for (int i = 0; i < f->n; i++) {
        const fc_tensor *t = &f->tensor[i];
        if (t->data < pos)
            return fc_fail(err, FC_EDATA, "%s: tensor %s: its data overlaps tensor %s", f->path,
                           t->name, f->tensor[i - 1].name);
        if (t->data > pos)
            return fc_fail(err, FC_EDATA, "%s: tensor %s: %td bytes before it belong to no tensor",
                           f->path, t->name, t->data - pos);
        pos += bytes_of(t);
    }
    if (pos != data + size)
        return fc_fail(err, FC_EDATA, "%s: %td bytes after the last tensor, expected none", f->path,
                       data + size - pos);
    return FC_OK;
}

static int compare_keys(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;
    return strcmp(x[0], y[0]);
}

static fc_status parse_metadata(fc_st *f, json_t *v, fc_error *err)
{
    if (!json_is_object(v))
        return fc_fail(err, FC_EDATA, "%s: __metadata__ is not an object of strings", f->path);
    f->metadata = fc_arena_alloc(&f->arena, json_object_size(v), sizeof *f->metadata, err);
    if (!f->metadata)
        return FC_EFAIL;
    const char *key;
    json_t *text;
    json_object_foreach(v, key, text)
    {
        if (!json_is_string(text))
            return fc_fail(err, FC_EDATA, "%s: __metadata__: the value of %s is not a string",
                           f->path, key);
        const char **pair = f->metadata[f->n_metadata++];
        pair[0] = fc_arena_strdup(&f->arena, key, err);
        pair[1] = fc_arena_strdup(&f->arena, json_string_value(text), err);
        if (!pair[0] || !pair[1])
            return FC_EFAIL;
    }
    qsort(f->metadata, (size_t)f->n_metadata, sizeof *f->metadata, compare_keys);
    return FC_OK;
}

static fc_status parse_st_header(fc_st *f, json_t *header, const unsigned char *data, size_t size,
                                 fc_error *err)
{
    f->tensor = fc_arena_alloc(&f->arena, json_object_size(header), sizeof *f->tensor, err);
    if (!f->tensor)
        return FC_EFAIL;
    const char *name;
    json_t *v;
    json_object_foreach(header, name, v)
    {
        if (strcmp(name, "__metadata__") == 0) {
            FC_TRY(parse_metadata(f, v, err));
            continue;
        }
        fc_tensor *t = &f->tensor[f->n++];
        t->name = fc_arena_strdup(&f->arena, name, err);
        if (!t->name)
            return FC_EFAIL;
        FC_TRY(parse_dtype(t, json_object_get(v, "dtype"), f->path, err));
        FC_TRY(parse_st_shape(t, json_object_get(v, "shape"), f->path, err));
        FC_TRY(parse_extent(t, json_object_get(v, "data_offsets"), data, size, f->path, err));
    }
    qsort(f->tensor, (size_t)f->n, sizeof *f->tensor, by_offset);
    return check_tiling(f, data, size, err);
}

static fc_status parse_file(fc_st *f, const unsigned char *p, size_t size, fc_error *err)
{
    uint64_t length = 0;
    if (size < LENGTH_SIZE)
        return fc_fail(err, FC_EDATA, "%s: %zu bytes, expected a safetensors file of at least %d",
                       f->path, size, LENGTH_SIZE);
    memcpy(&length, p, LENGTH_SIZE);
    if (length > header_max || length > size - LENGTH_SIZE)
        return fc_fail(err, FC_EDATA,
                       "%s: header of %llu bytes in a file of %zu: truncated, or not a safetensors "
                       "file",
                       f->path, (unsigned long long)length, size);
    const char *text = (const char *)p + LENGTH_SIZE;
    if (length == 0 || text[0] != '{')
        return fc_fail(err, FC_EDATA, "%s: header does not start with '{': not a safetensors file",
                       f->path);
    json_error_t why;
    json_t *header = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, &why);
    if (!header)
        return fc_fail(err, FC_EDATA, "%s: header is not valid JSON: byte %d: %s", f->path,
                       why.position, why.text);
    fc_status s = parse_st_header(f, header, p + LENGTH_SIZE + length,
                                  size - LENGTH_SIZE - (size_t)length, err);
    json_decref(header);
    return s;
}

fc_status fc_st_parse(fc_st *f, const void *data, size_t n, const char *name, fc_error *err)
{
    *f = (fc_st){0};
    f->path = fc_arena_strdup(&f->arena, name, err);
    fc_status s = f->path ? parse_file(f, data, n, err) : FC_EFAIL;
    if (s != FC_OK)
        fc_st_close(f);
    return s;
}

fc_status fc_st_open(fc_st *f, const char *path, fc_error *err)
{
    void *map;
    size_t size;
    *f = (fc_st){0};
    FC_TRY(fc_file_map(&map, &size, path, FC_EDATA, err));
    fc_status s = fc_st_parse(f, map, size, path, err);
    if (s != FC_OK) {
        fc_file_unmap(map, size);
        return s;
    }
    f->map = map;
    f->map_size = size;
    return FC_OK;
}

void fc_st_close(fc_st *f)
{
    if (f->map)
        fc_file_unmap(f->map, f->map_size);
    fc_arena_free(&f->arena);
    *f = (fc_st){0};
}

const fc_tensor *fc_st_find(const fc_st *f, const char *name)
{
    for (int i = 0; i < f->n; i++)
        if (strcmp(f->tensor[i].name, name) == 0)
            return &f->tensor[i];
    return NULL;
}

const char *fc_st_metadata(const fc_st *f, const char *key)
{
    for (int i = 0; i < f->n_metadata; i++)
        if (strcmp(f->metadata[i][0], key) == 0)
            return f->metadata[i][1];
    return NULL;
}

const char *fc_st_shape(char *buf, size_t size, int ndim, const int64_t *dim)
{
    size_t used = (size_t)snprintf(buf, size, "(");
    for (int i = 0; i < ndim && used < size; i++)
        used +=
            (size_t)snprintf(buf + used, size - used, "%s%lld", i ? ", " : "", (long long)dim[i]);
    if (used < size)
        snprintf(buf + used, size - used, ")");
    return buf;
}

/* IEEE binary16: 1 sign, 5 exponent (bias 15), 10 fraction bits. */
static double from_f16(uint16_t h)
{
    int exponent = h >> 10 & 31, fraction = h & 1023;
    double v = exponent == 31  ? (fraction ? NAN : INFINITY)
               : exponent == 0 ? ldexp(fraction, -24)
                               : ldexp(1024 + fraction, exponent - 25);
    return h >> 15 ? -v : v;
}

/* bfloat16 is the upper half of a binary32. */
static double from_bf16(uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float v;
    memcpy(&v, &bits, sizeof v);
    return (double)v;
}

static double element_value(const fc_tensor *t, size_t i)
{
    const unsigned char *p = t->data + i * dtypes[t->dtype].size;
    union {
        float f32;
        double f64;
        uint16_t u16;
        int64_t i64;
    } v = {.i64 = 0};
    memcpy(&v, p, dtypes[t->dtype].size);
    switch (t->dtype) {
    case FC_F32:
        return (double)v.f32;
    case FC_F16:
        return from_f16(v.u16);
    case FC_BF16:
        return from_bf16(v.u16);
    case FC_F64:
        return v.f64;
    case FC_I64:
        return (double)v.i64;
    case FC_U8:
        return (double)*p;
    }
    return NAN;
}

static fc_status fail_not_finite(const fc_st *f, const fc_tensor *t, size_t i, double v,
                                 fc_error *err)
{
    return fc_fail(err, FC_EDATA, "%s: tensor %s: element %zu is %g, expected a finite number",
                   f->path, t->name, i, v);
}

fc_status fc_st_read(fc_real *out, const fc_st *f, const fc_tensor *t, fc_error *err)
{
    for (size_t i = 0; i < t->count; i++) {
        out[i] = (fc_real)element_value(t, i);
        if (!isfinite(out[i])) /* also a double beyond the range of float */
            return fail_not_finite(f, t, i, element_value(t, i), err);
    }
    return FC_OK;
}

fc_status fc_st_read_double(double *out, const fc_st *f, const fc_tensor *t, fc_error *err)
{
    for (size_t i = 0; i < t->count; i++) {
        out[i] = element_value(t, i);
        if (!isfinite(out[i]))
            return fail_not_finite(f, t, i, out[i], err);
    }
    return FC_OK;
}

void fc_st_forget(const fc_st *f, const fc_tensor *t)
{
    if (f->map)
        fc_file_forget(t->data, t->count * dtypes[t->dtype].size);
}

/* --- writing ---------------------------------------------------------------------------------- */

static size_t entry_bytes(const fc_st_entry *e)
{
    size_t n = dtypes[e->dtype].size;
    for (int i = 0; i < e->ndim; i++)
        n *= (size_t)e->dim[i];
    return n;
}

/* Takes over v. False: memory is out, the key is not UTF-8 or is there already. */
static bool put_new(json_t *object, const char *key, json_t *v)
{
    if (v && !json_object_get(object, key))
        return json_object_set_new(object, key, v) == 0;
    json_decref(v);
    return false;
}

/* The JSON text, to be freed; NULL if a name or value cannot be written. */
static char *header_text(const fc_st_entry *entry, int n, const char *const (*metadata)[2],
                         int n_metadata)
{
    json_t *header = json_object();
    bool ok = header;
    if (n_metadata > 0) {
        json_t *meta = json_object();
        for (int i = 0; ok && i < n_metadata; i++)
            ok = put_new(meta, metadata[i][0], json_string(metadata[i][1]));
        ok = put_new(header, "__metadata__", meta) && ok;
    }
    size_t offset = 0;
    for (int i = 0; ok && i < n; i++) {
        json_t *shape = json_array();
        for (int d = 0; d < entry[i].ndim; d++)
            json_array_append_new(shape, json_integer(entry[i].dim[d]));
        size_t end = offset + entry_bytes(&entry[i]);
        ok =
            put_new(header, entry[i].name,
                    json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtypes[entry[i].dtype].name, "shape",
                              shape, "data_offsets", (json_int_t)offset, (json_int_t)end));
        offset = end;
    }
    char *text = ok ? json_dumps(header, JSON_COMPACT) : NULL;
    json_decref(header);
    return text;
}

/* Data starts behind the length and the header, which is padded with spaces to keep it aligned. */
static size_t data_start(const char *header)
{
    return LENGTH_SIZE + (strlen(header) + 7) / 8 * 8;
}

static fc_status make_header(char **text, const fc_st_entry *entry, int n,
                             const char *const (*metadata)[2], int n_metadata, fc_error *err)
{
    *text = header_text(entry, n, metadata, n_metadata);
    if (!*text)
        return fc_fail(
            err, FC_EFAIL,
            "safetensors header: out of memory, or a name that is repeated or not UTF-8");
    return FC_OK;
}

fc_status fc_st_size(size_t *size, const fc_st_entry *entry, int n,
                     const char *const (*metadata)[2], int n_metadata, fc_error *err)
{
    char *text;
    FC_TRY(make_header(&text, entry, n, metadata, n_metadata, err));
    *size = data_start(text);
    free(text);
    for (int i = 0; i < n; i++)
        *size += entry_bytes(&entry[i]);
    return FC_OK;
}

fc_status fc_st_serialize(unsigned char **out, size_t *n_out, const fc_st_entry *entry, int n,
                          const char *const (*metadata)[2], int n_metadata, fc_error *err)
{
    char *text;
    FC_TRY(make_header(&text, entry, n, metadata, n_metadata, err));
    size_t start = data_start(text), size = start;
    uint64_t length = start - LENGTH_SIZE;
    for (int i = 0; i < n; i++)
        size += entry_bytes(&entry[i]);
    unsigned char *p = malloc(size);
    if (!p) {
        free(text);
        return fc_fail(err, FC_EFAIL, "out of memory: %zu bytes for safetensors", size);
    }
    memcpy(p, &length, LENGTH_SIZE);
    memset(p + LENGTH_SIZE, ' ', (size_t)length);
    memcpy(p + LENGTH_SIZE, text, strlen(text));
    free(text);
    unsigned char *pos = p + start;
    for (int i = 0; i < n; i++) {
        size_t bytes = entry_bytes(&entry[i]);
        if (bytes)
            memcpy(pos, entry[i].data, bytes);
        pos += bytes;
    }
    *out = p;
    *n_out = size;
    return FC_OK;
}

fc_status fc_st_write(const char *path, const fc_st_entry *entry, int n,
                      const char *const (*metadata)[2], int n_metadata, fc_error *err)
{
    unsigned char *p;
    size_t size;
    FC_TRY(fc_st_serialize(&p, &size, entry, n, metadata, n_metadata, err));
    fc_status s = fc_file_write_atomic(path, p, size, err);
    free(p);
    return s;
}

fc_st_entry fc_st_entry_of(const fc_params *p, const fc_spec *s)
{
    fc_st_entry e = {.name = s->name,
                     .dtype = sizeof(fc_real) == sizeof(double) ? FC_F64 : FC_F32,
                     .ndim = s->ndim,
                     .data = p->p + s->offset};
    for (int i = 0; i < s->ndim; i++)
        e.dim[i] = s->dim[i];
    return e;
}
