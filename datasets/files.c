#include "datasets/files.h"

#include "core/base/file.h"

#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define ZLIB_CONST /* next_in points to const */
#include <zlib.h>

char *fc_path_join(const char *dir, const char *name, fc_arena *arena, fc_error *err)
{
    size_t n = strlen(dir) + strlen(name) + 2;
    char *p = fc_arena_alloc(arena, n, 1, err);
    if (p)
        snprintf(p, n, "%s%s%s", dir, *dir && *name && dir[strlen(dir) - 1] != '/' ? "/" : "",
                 name);
    return p;
}

bool fc_path_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

fc_status fc_data_find(const char **folder, int *marker, const fc_data_source *src,
                       const fc_data_request *q, const char *const *folders,
                       const char *const *markers, fc_arena *arena, fc_error *err)
{
    const char *base = *q->path ? q->path : q->root;
    if (*q->path && !fc_path_exists(q->path))
        return fc_fail(err, FC_EDATA, "%s: no such file or folder, expected the folder of %s: %s",
                       q->path, src->name, src->layout);
    for (int f = 0; folders[f]; f++) {
        char *dir = fc_path_join(base, folders[f], arena, err);
        for (int m = 0; dir && markers[m]; m++) {
            char *file = fc_path_join(dir, markers[m], arena, err);
            if (!file)
                return FC_EFAIL;
            if (fc_path_exists(file)) {
                *folder = dir;
                if (marker)
                    *marker = m;
                return FC_OK;
            }
        }
        if (!dir)
            return FC_EFAIL;
    }
    return fc_fail(err, FC_EDATA, "%s: no %s data in this folder, expected %s", *base ? base : ".",
                   src->name, src->layout);
}

fc_status fc_data_map(const unsigned char **p, size_t *n, fc_dataset *d, const char *path,
                      fc_error *err)
{
    assert(d->n_map < (int)(sizeof d->map / sizeof d->map[0]));
    void **map = &d->map[d->n_map];
    FC_TRY(fc_file_map(map, n, path, FC_EDATA, err));
    d->map_size[d->n_map++] = *n;
    *p = *map;
    if (*n == 0)
        return fc_fail(err, FC_EDATA, "%s: is empty, expected data", path);
    return FC_OK;
}

fc_status fc_split_alloc(fc_split *s, size_t n, fc_arena *arena, fc_error *err)
{
    s->image = fc_arena_alloc(arena, n, sizeof *s->image, err);
    s->label = fc_arena_alloc(arena, n, sizeof *s->label, err);
    s->n = n;
    return s->image && s->label ? FC_OK : FC_EFAIL;
}

/* Cuts text into lines in place; returns their number, blank lines at the end left out. */
static int cut_lines(char **line, int max, char *text)
{
    int n = 0, used = 0;
    for (char *p = text, *next; p && *p; p = next) {
        next = strchr(p, '\n');
        if (next)
            *next++ = '\0';
        p[strcspn(p, "\r")] = '\0';
        if (n < max)
            line[n] = p;
        n++;
        if (*p)
            used = n;
    }
    return used;
}

fc_status fc_data_class_names(fc_dataset *d, const char *path, fc_error *err)
{
    if (!fc_path_exists(path))
        return FC_OK;
    void *map;
    size_t n;
    FC_TRY(fc_file_map(&map, &n, path, FC_EDATA, err));
    char *text = fc_arena_alloc(&d->arena, n + 1, 1, err);
    if (text)
        memcpy(text, map, n);
    fc_file_unmap(map, n);
    char **line = fc_arena_alloc(&d->arena, (size_t)d->classes, sizeof *line, err);
    if (!text || !line)
        return FC_EFAIL;
    int names = cut_lines(line, d->classes, text);
    if (names != d->classes)
        return fc_fail(err, FC_EDATA, "%s: %d class names, expected %d", path, names, d->classes);
    d->class_name = (const char *const *)line;
    return FC_OK;
}

static uInt at_most_uint(size_t n)
{
    return n < UINT_MAX ? (uInt)n : UINT_MAX;
}

/* How a stream ended: zlib's last word, bytes not made, bytes not read. NULL: well. */
static const char *judge(int rc, size_t missing, size_t left_over)
{
    if (rc == Z_BUF_ERROR)
        return "truncated";
    if (rc != Z_OK && rc != Z_STREAM_END)
        return "corrupt";
    if (missing > 0)
        return "ends too early";
    return left_over > 0 ? "bytes after the end" : NULL;
}

const char *fc_inflate(unsigned char *out, size_t n_out, const unsigned char *in, size_t n_in,
                       fc_zip kind, bool whole)
{
    z_stream z = {0};
    unsigned char past; /* room to notice a stream that goes on */
    if (inflateInit2(&z, kind == FC_GZIP ? 16 + MAX_WBITS : -MAX_WBITS) != Z_OK)
        return "zlib is out of memory";
    const char *wrong = NULL;
    int rc = Z_OK;
    while (!wrong && rc == Z_OK && (n_out > 0 || whole)) {
        uInt give_in = at_most_uint(n_in), give_out = at_most_uint(n_out ? n_out : 1);
        z.next_in = in;
        z.avail_in = give_in;
        z.next_out = n_out ? out : &past;
        z.avail_out = give_out;
        rc = inflate(&z, Z_NO_FLUSH);
        size_t taken = give_in - z.avail_in, made = give_out - z.avail_out;
        in += taken;
        n_in -= taken;
        if (made > n_out) {
            wrong = "more data than expected";
        } else {
            out += made;
            n_out -= made;
        }
    }
    if (!wrong)
        wrong = judge(rc, n_out, whole && kind == FC_GZIP ? n_in : 0);
    inflateEnd(&z);
    return wrong;
}

size_t fc_inflate_bound(size_t n)
{
    return n > (SIZE_MAX - 1024) / 1032 ? SIZE_MAX : n * 1032 + 1024;
}
