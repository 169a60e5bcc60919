#include "sim/io/yaml.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <yaml.h>

enum { BYTES_MAX = 1 << 20, KEYS_MAX = 1000, VALUES_MAX = 200000, NESTING_MAX = 16 };

typedef struct reader {
    yaml_parser_t yaml;
    yaml_event_t event; /* the one in hand */
    const char *file, *bytes;
    int keys, values;
    fc_arena *arena;
    fc_error *err;
} reader;

static fc_status refuse(reader *r, yaml_mark_t mark, const char *what)
{
    return fc_fail(r->err, FC_EUSAGE, "%.300s:%zu:%zu: %s", r->file, mark.line + 1, mark.column + 1,
                   what);
}

static const char *scalar_text(const reader *r)
{
    return (const char *)r->event.data.scalar.value;
}

/* libyaml's own complaint. Bytes that are no characters have an offset but no mark. */
static fc_status refuse_syntax(reader *r)
{
    const yaml_parser_t *y = &r->yaml;
    char what[240];
    if (y->error == YAML_MEMORY_ERROR)
        return fc_fail(r->err, FC_EFAIL, "%.300s: out of memory", r->file);
    yaml_mark_t mark = y->problem_mark;
    if (y->error == YAML_READER_ERROR) {
        mark = (yaml_mark_t){0};
        for (size_t i = 0; i < y->problem_offset; i++) {
            mark.line += r->bytes[i] == '\n';
            mark.column = r->bytes[i] == '\n' ? 0 : mark.column + 1;
        }
    }
    const char *tab =
        strstr(y->problem, "cannot start any token") ? " (indent with spaces, not tabs)" : "";
    snprintf(what, sizeof what, "not valid YAML: %s%s%s%s", y->problem, y->context ? " " : "",
             y->context ? y->context : "", tab);
    return refuse(r, mark, what);
}

/* The next event; aliases, anchors and tags go no further than here. */
static fc_status next_event(reader *r)
{
    yaml_event_delete(&r->event);
    if (!yaml_parser_parse(&r->yaml, &r->event))
        return refuse_syntax(r);
    const yaml_char_t *anchor = NULL, *tag = NULL;
    switch (r->event.type) {
    case YAML_ALIAS_EVENT:
        return refuse(r, r->event.start_mark, "found an alias (*), expected the value written out");
    case YAML_SCALAR_EVENT:
        anchor = r->event.data.scalar.anchor;
        tag = r->event.data.scalar.tag;
        if (strlen(scalar_text(r)) != r->event.data.scalar.length)
            return refuse(r, r->event.start_mark, "found a zero character, expected text");
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = r->event.data.sequence_start.anchor;
        tag = r->event.data.sequence_start.tag;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = r->event.data.mapping_start.anchor;
        tag = r->event.data.mapping_start.tag;
        break;
    default:
        break;
    }
    if (anchor)
        return refuse(r, r->event.start_mark, "found an anchor (&), expected a plain value");
    if (tag)
        return refuse(r, r->event.start_mark, "found a tag (!), expected a plain value");
    return FC_OK;
}

/* A new value at the end of `parent`. */
static fc_yaml *add_value(reader *r, fc_yaml *parent, fc_yaml **last)
{
    if (r->values++ >= VALUES_MAX) {
        refuse(r, r->event.start_mark, "too many values, expected at most 200000 in one file");
        return NULL;
    }
    fc_yaml *y = fc_arena_alloc(r->arena, 1, sizeof *y, r->err);
    if (!y)
        return NULL;
    y->file = r->file;
    *(*last ? &(*last)->next : &parent->first) = y;
    *last = y;
    parent->n++;
    return y;
}

/* The key in hand, as that of y, which is the last one of map. */
static fc_status read_key(reader *r, fc_yaml *y, const fc_yaml *map)
{
    yaml_mark_t mark = r->event.start_mark;
    if (r->event.type != YAML_SCALAR_EVENT)
        return refuse(r, mark, "expected the name of a key");
    if (r->keys++ >= KEYS_MAX)
        return refuse(r, mark, "too many keys, expected at most 1000 in one file");
    const char *key = scalar_text(r);
    const fc_yaml *twin = fc_yaml_get(map, key);
    if (twin)
        return fc_fail(r->err, FC_EUSAGE,
                       "%.300s:%zu:%zu: %.60s%s%.60s is set twice, first at %.300s:%d:%d", r->file,
                       mark.line + 1, mark.column + 1, map->key ? map->key : "",
                       map->key ? "." : "", key, r->file, twin->key_line, twin->key_column);
    y->key_line = (int)mark.line + 1;
    y->key_column = (int)mark.column + 1;
    y->key = fc_arena_strdup(r->arena, key, r->err);
    return y->key ? FC_OK : FC_EFAIL;
}

/* The value in hand and all that is in it. */
static fc_status read_value(reader *r, fc_yaml *y, int depth)
{
    y->line = (int)r->event.start_mark.line + 1;
    y->column = (int)r->event.start_mark.column + 1;
    if (r->event.type == YAML_SCALAR_EVENT) {
        y->nothing = r->event.data.scalar.plain_implicit && r->event.data.scalar.length == 0;
        y->text = fc_arena_strdup(r->arena, scalar_text(r), r->err);
        return y->text ? FC_OK : FC_EFAIL;
    }
    if (depth >= NESTING_MAX)
        return refuse(r, r->event.start_mark, "nested more than 16 deep");
    bool map = r->event.type == YAML_MAPPING_START_EVENT;
    y->kind = map ? FC_YAML_MAP : FC_YAML_LIST;
    for (fc_yaml *last = NULL;;) {
        FC_TRY(next_event(r));
        if (r->event.type == (map ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT))
            return FC_OK;
        fc_yaml *child = add_value(r, y, &last);
        if (!child)
            return r->err->code;
        if (map) {
            FC_TRY(read_key(r, child, y));
            FC_TRY(next_event(r));
        }
        FC_TRY(read_value(r, child, depth + 1));
    }
}

static fc_status read_document(reader *r, fc_yaml *root)
{
    FC_TRY(next_event(r)); /* the start of the stream */
    FC_TRY(next_event(r));
    if (r->event.type == YAML_STREAM_END_EVENT)
        return refuse(r, r->event.start_mark, "the file is empty, expected keys with values");
    FC_TRY(next_event(r));
    FC_TRY(read_value(r, root, 0));
    FC_TRY(next_event(r)); /* the end of the document */
    FC_TRY(next_event(r));
    if (r->event.type != YAML_STREAM_END_EVENT)
        return refuse(r, r->event.start_mark, "found a second document, expected one");
    return FC_OK;
}

/* The whole file, *out for the caller to free. */
static fc_status slurp(char **out, size_t *n, const char *path, const char *head, fc_error *err)
{
    struct stat info;
    fc_status st = FC_OK;
    FILE *f = fopen(path, "rb");
    if (!f || fstat(fileno(f), &info) != 0) {
        st = fc_fail(err, FC_EUSAGE, "%.300s%.300s: %s", head, path, strerror(errno));
        goto out;
    }
    if (!S_ISREG(info.st_mode) && !S_ISFIFO(info.st_mode)) {
        st = fc_fail(err, FC_EUSAGE, "%.300s%.300s: found a %s, expected a YAML file", head, path,
                     S_ISDIR(info.st_mode) ? "folder" : "device");
        goto out;
    }
    *out = malloc(BYTES_MAX + 1);
    if (!*out) {
        st = fc_fail(err, FC_EFAIL, "%.300s%.300s: out of memory", head, path);
        goto out;
    }
    *n = fread(*out, 1, BYTES_MAX + 1, f);
    if (ferror(f))
        st = fc_fail(err, FC_EFAIL, "%.300s%.300s: %s", head, path, strerror(errno));
    else if (*n > BYTES_MAX)
        st = fc_fail(err, FC_EUSAGE, "%.300s%.300s: expected a file of at most 1 MiB", head, path);
out:
    if (f)
        fclose(f);
    return st;
}

fc_status fc_yaml_read(fc_yaml **root, const char *path, const char *head, fc_arena *arena,
                       fc_error *err)
{
    fc_error own = {0}; /* add_value() and its callers read its code */
    reader r = {.arena = arena, .err = err ? err : &own};
    char *bytes = NULL;
    size_t n = 0;
    fc_status st = slurp(&bytes, &n, path, head, r.err);
    if (st != FC_OK)
        goto out;
    st = FC_EFAIL;
    fc_yaml *y = fc_arena_alloc(arena, 1, sizeof *y, r.err);
    if (!y || !(r.file = y->file = fc_arena_strdup(arena, path, r.err)))
        goto out;
    if (!yaml_parser_initialize(&r.yaml)) {
        st = fc_fail(r.err, FC_EFAIL, "%.300s: out of memory", path);
        goto out;
    }
    r.bytes = bytes;
    yaml_parser_set_input_string(&r.yaml, (const unsigned char *)bytes, n);
    st = read_document(&r, y);
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.yaml);
    if (st == FC_OK)
        *root = y;
out:
    free(bytes);
    return st;
}

fc_yaml *fc_yaml_get(const fc_yaml *map, const char *key)
{
    fc_yaml *y = map->kind == FC_YAML_MAP ? map->first : NULL;
    while (y && !(y->key && strcmp(y->key, key) == 0))
        y = y->next;
    return y;
}

fc_status fc_yaml_check_keys(const fc_yaml *map, const char *what, const char *const *keys, int n,
                             fc_error *err)
{
    char all[300] = "";
    size_t used = 0;
    if (map->kind != FC_YAML_MAP)
        return fc_yaml_fail(err, map, "%s: expected `key: value` below it", what);
    for (int i = 0; i < n && used < sizeof all; i++)
        used += (size_t)snprintf(all + used, sizeof all - used, "%s%s", i ? ", " : "", keys[i]);
    for (const fc_yaml *y = map->first; y; y = y->next) {
        int k = 0;
        while (k < n && strcmp(keys[k], y->key) != 0)
            k++;
        const char *near = k < n ? NULL : fc_nearest(y->key, keys, n);
        if (k == n)
            return fc_yaml_key_fail(err, y, "unknown key '%.60s' of %s, %s%s%s", y->key, what,
                                    near ? "did you mean " : "expected one of ", near ? near : all,
                                    near ? "?" : "");
    }
    return FC_OK;
}

fc_status fc_yaml_value(void *v, const fc_opt *row, const fc_yaml *y, const char *what,
                        fc_error *err)
{
    char where[512];
    if (y->kind != FC_YAML_TEXT)
        return fc_yaml_fail(err, y, "%s: found %s, expected one value", what,
                            y->kind == FC_YAML_LIST ? "a list" : "keys");
    snprintf(where, sizeof where, "%.300s:%d:%d: %.100s", y->file, y->line, y->column, what);
    return fc_opt_set(v, row, y->text, where, NULL, err);
}

static const char *place_text(const char *file, int line, int column, fc_arena *arena,
                              fc_error *err)
{
    size_t size = strlen(file) + 32;
    char *at = fc_arena_alloc(arena, size, 1, err);
    if (at)
        snprintf(at, size, "%s:%d:%d", file, line, column);
    return at;
}

const char *fc_yaml_at(const fc_yaml *y, fc_arena *arena, fc_error *err)
{
    return place_text(y->file, y->line, y->column, arena, err);
}

const char *fc_yaml_key_at(const fc_yaml *y, fc_arena *arena, fc_error *err)
{
    return place_text(y->file, y->key_line, y->key_column, arena, err);
}

fc_status fc_yaml_list_text(const char **text, const fc_yaml *list, fc_arena *arena, fc_error *err)
{
    size_t size = 3, used = 0;
    for (const fc_yaml *y = list->first; y; y = y->next) {
        if (y->kind != FC_YAML_TEXT)
            return fc_yaml_fail(err, y, "found nesting, expected a flat list");
        size += strlen(y->text) + 2;
    }
    char *buf = fc_arena_alloc(arena, size, 1, err);
    if (!buf)
        return FC_EFAIL;
    buf[used++] = '[';
    for (const fc_yaml *y = list->first; y; y = y->next)
        used += (size_t)sprintf(buf + used, "%s%s", y->text, y->next ? ", " : "");
    strcpy(buf + used, "]");
    *text = buf;
    return FC_OK;
}

static fc_status fail_at(fc_error *err, const char *file, int line, int column, const char *fmt,
                         va_list ap)
{
    char what[800];
    vsnprintf(what, sizeof what, fmt, ap);
    return fc_fail(err, FC_EUSAGE, "%.300s:%d:%d: %s", file, line, column, what);
}

fc_status fc_yaml_fail(fc_error *err, const fc_yaml *y, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fc_status st = fail_at(err, y->file, y->line, y->column, fmt, ap);
    va_end(ap);
    return st;
}

fc_status fc_yaml_key_fail(fc_error *err, const fc_yaml *y, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fc_status st = fail_at(err, y->file, y->key_line, y->key_column, fmt, ap);
    va_end(ap);
    return st;
}
