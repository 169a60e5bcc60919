/* YAML files to settings: two levels, scalars and flat lists, over libyaml's events.
 *
 * What YAML offers beyond that (aliases, anchors, tags, several documents, nesting) is refused, so
 * that a config means what it shows. Values stay text: their type is the option table's business.
 */
#include "sim/config_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <yaml.h>

enum { BYTES_MAX = 1 << 20, KEYS_MAX = 1000, DEPTH_MAX = 16, FILES_MAX = 256 };

/* A file being read, and those that include it. */
typedef struct inclusion {
    const struct inclusion *from;
    const char *path;
    dev_t dev;
    ino_t ino;
    int depth;
} inclusion;

typedef struct reader {
    yaml_parser_t yaml;
    yaml_event_t event; /* the one in hand */
    const char *file, *bytes;
    fc_settings sections, settings, bases; /* of this file */
    fc_arena *arena;
    fc_error *err;
} reader;

fc_setting *fc_settings_add(fc_settings *s, fc_arena *arena, fc_error *err)
{
    fc_setting *one = fc_arena_alloc(arena, 1, sizeof *one, err);
    if (!one)
        return NULL;
    if (s->last)
        s->last->next = one;
    else
        s->first = one;
    s->last = one;
    s->n++;
    return one;
}

static void append(fc_settings *to, const fc_settings *more)
{
    if (!more->first)
        return;
    if (to->last)
        to->last->next = more->first;
    else
        to->first = more->first;
    to->last = more->last;
    to->n += more->n;
}

/* "file:line:col", both from 1 */
static const char *place(reader *r, yaml_mark_t mark)
{
    char buf[64];
    snprintf(buf, sizeof buf, ":%zu:%zu", mark.line + 1, mark.column + 1);
    size_t n = strlen(r->file);
    char *at = fc_arena_alloc(r->arena, n + sizeof buf, 1, r->err);
    if (!at)
        return NULL;
    memcpy(at, r->file, n);
    return strcpy(at + n, buf) - n;
}

static fc_status refuse(reader *r, yaml_mark_t mark, const char *what)
{
    return fc_fail(r->err, FC_EUSAGE, "%.300s:%zu:%zu: %s", r->file, mark.line + 1, mark.column + 1,
                   what);
}

static const char *scalar(const reader *r)
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
static fc_status next(reader *r)
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
        if (strlen(scalar(r)) != r->event.data.scalar.length)
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

/* A new entry of list s, named by the scalar in hand, unless this file has it already. */
static fc_status add_key(fc_setting **out, reader *r, fc_settings *s, const char *section)
{
    yaml_mark_t mark = r->event.start_mark;
    const char *dot = *section ? "." : "";
    for (const fc_setting *old = s->first; old; old = old->next)
        if (strcmp(old->section, section) == 0 && strcmp(old->key, scalar(r)) == 0)
            return fc_fail(r->err, FC_EUSAGE,
                           "%.300s:%zu:%zu: %.60s%s%.60s is set twice, first at %.300s", r->file,
                           mark.line + 1, mark.column + 1, section, dot, scalar(r), old->at_key);
    if (s->n == KEYS_MAX)
        return refuse(r, mark, "too many keys, expected at most 1000 in one file");
    fc_setting *one = fc_settings_add(s, r->arena, r->err);
    if (!one)
        return FC_EFAIL;
    one->section = section;
    one->key = fc_arena_strdup(r->arena, scalar(r), r->err);
    one->at_key = place(r, mark);
    *out = one;
    return one->key && one->at_key ? FC_OK : FC_EFAIL;
}

/* "[a, b]" from the elements that follow; *bases, if not NULL, receives each one as an entry. */
static fc_status read_list(fc_setting *s, reader *r, fc_settings *bases)
{
    char *text = NULL;
    size_t size;
    fc_status st = FC_EFAIL;
    FILE *f = open_memstream(&text, &size);
    if (!f)
        return fc_fail(r->err, FC_EFAIL, "%.300s: out of memory", r->file);
    for (int n = 0;; n++) {
        if ((st = next(r)) != FC_OK || r->event.type == YAML_SEQUENCE_END_EVENT)
            break;
        if (r->event.type != YAML_SCALAR_EVENT) {
            st = refuse(r, r->event.start_mark, "found nesting, expected a flat list");
            break;
        }
        fprintf(f, "%s%s", n ? ", " : "[", scalar(r));
        fc_setting *base;
        if (bases && (st = add_key(&base, r, bases, "")) != FC_OK)
            break;
    }
    fprintf(f, "%s]", ftell(f) ? "" : "[");
    bool full = ferror(f) != 0;
    if (fclose(f) != 0 || full)
        st = fc_fail(r->err, FC_EFAIL, "%.300s: out of memory", r->file);
    if (st == FC_OK && !(s->text = fc_arena_strdup(r->arena, text, r->err)))
        st = FC_EFAIL;
    free(text);
    s->list = true;
    return st;
}

/* The value in hand: a scalar or a list of scalars. */
static fc_status read_value(fc_setting *s, reader *r, fc_settings *bases)
{
    s->at = place(r, r->event.start_mark);
    if (!s->at)
        return FC_EFAIL;
    if (r->event.type == YAML_SEQUENCE_START_EVENT)
        return read_list(s, r, bases);
    if (r->event.type != YAML_SCALAR_EVENT)
        return refuse(r, r->event.start_mark, "found keys, expected a value or a flat list");
    fc_setting *base;
    if (bases)
        FC_TRY(add_key(&base, r, bases, ""));
    s->text = fc_arena_strdup(r->arena, scalar(r), r->err);
    return s->text ? FC_OK : FC_EFAIL;
}

static bool is_nothing(const reader *r)
{
    return r->event.type == YAML_SCALAR_EVENT && r->event.data.scalar.plain_implicit &&
           r->event.data.scalar.length == 0;
}

/* One key of the top level, in hand, and all below it. */
static fc_status read_section(reader *r)
{
    fc_setting *section, *one;
    if (r->event.type != YAML_SCALAR_EVENT)
        return refuse(r, r->event.start_mark, "expected the name of a section");
    FC_TRY(add_key(&section, r, &r->sections, ""));
    FC_TRY(next(r));
    if (is_nothing(r))
        return FC_OK; /* all its keys are commented out */
    if (strcmp(section->key, "base") == 0)
        return read_value(section, r, &r->bases);
    if (r->event.type != YAML_MAPPING_START_EVENT) {
        /* not a section: whoever knows the options says which key was meant */
        one = fc_settings_add(&r->settings, r->arena, r->err);
        if (!one)
            return FC_EFAIL;
        *one = (fc_setting){.section = "", .key = section->key, .at_key = section->at_key};
        return read_value(one, r, NULL);
    }
    for (;;) {
        FC_TRY(next(r));
        if (r->event.type == YAML_MAPPING_END_EVENT)
            return FC_OK;
        if (r->event.type != YAML_SCALAR_EVENT)
            return refuse(r, r->event.start_mark, "expected the name of a key");
        FC_TRY(add_key(&one, r, &r->settings, section->key));
        FC_TRY(next(r));
        FC_TRY(read_value(one, r, NULL));
    }
}

static fc_status read_document(reader *r)
{
    FC_TRY(next(r)); /* the start of the stream */
    FC_TRY(next(r));
    if (r->event.type == YAML_STREAM_END_EVENT)
        return refuse(r, r->event.start_mark, "the file is empty, expected sections of keys");
    FC_TRY(next(r));
    if (r->event.type != YAML_MAPPING_START_EVENT)
        return refuse(r, r->event.start_mark,
                      "expected `section:` with `key: value` indented below it");
    for (;;) {
        FC_TRY(next(r));
        if (r->event.type == YAML_MAPPING_END_EVENT)
            break;
        FC_TRY(read_section(r));
    }
    FC_TRY(next(r)); /* the end of the document */
    FC_TRY(next(r));
    if (r->event.type != YAML_STREAM_END_EVENT)
        return refuse(r, r->event.start_mark, "found a second document, expected one");
    return FC_OK;
}

/* The whole file, *out for the caller to free; head ("file:line:col: base: ", or "") begins each
 * message. */
static fc_status slurp(char **out, size_t *n, inclusion *self, const char *head, fc_error *err)
{
    struct stat info;
    fc_status st = FC_OK;
    FILE *f = fopen(self->path, "rb");
    if (!f || fstat(fileno(f), &info) != 0) {
        st = fc_fail(err, FC_EUSAGE, "%.300s%.300s: %s", head, self->path, strerror(errno));
        goto out;
    }
    if (!S_ISREG(info.st_mode) && !S_ISFIFO(info.st_mode)) {
        st = fc_fail(err, FC_EUSAGE, "%.300s%.300s: found a %s, expected a YAML file", head,
                     self->path, S_ISDIR(info.st_mode) ? "folder" : "device");
        goto out;
    }
    self->dev = info.st_dev;
    self->ino = info.st_ino;
    *out = malloc(BYTES_MAX + 1);
    if (!*out) {
        st = fc_fail(err, FC_EFAIL, "%.300s%.300s: out of memory", head, self->path);
        goto out;
    }
    *n = fread(*out, 1, BYTES_MAX + 1, f);
    if (ferror(f))
        st = fc_fail(err, FC_EFAIL, "%.300s%.300s: %s", head, self->path, strerror(errno));
    else if (*n > BYTES_MAX)
        st = fc_fail(err, FC_EUSAGE, "%.300s%.300s: expected a config of at most 1 MiB", head,
                     self->path);
out:
    if (f)
        fclose(f);
    return st;
}

/* An inclusion of a file that is still being read would never end. */
static fc_status check_loop(const inclusion *self, const char *head, fc_error *err)
{
    const inclusion *twin = self->from;
    while (twin && (twin->dev != self->dev || twin->ino != self->ino))
        twin = twin->from;
    if (twin == self->from && twin)
        return fc_fail(err, FC_EUSAGE, "%.300s%.300s includes itself", head, twin->path);
    if (twin)
        return fc_fail(err, FC_EUSAGE, "%.300s%.300s includes itself through %.300s", head,
                       twin->path, self->from->path);
    if (self->depth > DEPTH_MAX)
        return fc_fail(err, FC_EUSAGE, "%.300sfiles include each other more than %d deep", head,
                       DEPTH_MAX);
    return FC_OK;
}

/* base as seen from the folder of file */
static const char *beside(const char *file, const char *base, fc_arena *arena, fc_error *err)
{
    const char *slash = strrchr(file, '/');
    if (*base == '/' || !slash)
        return base;
    size_t n = (size_t)(slash - file) + 1;
    char *path = fc_arena_alloc(arena, n + strlen(base) + 1, 1, err);
    if (!path)
        return NULL;
    memcpy(path, file, n);
    return strcpy(path + n, base) - n;
}

static fc_status read_file(fc_settings *out, inclusion *self, const char *head, fc_arena *arena,
                           fc_error *err);

static fc_status read_base(fc_settings *out, const inclusion *self, const fc_setting *base,
                           fc_arena *arena, fc_error *err)
{
    static const fc_opt row = {.key = "base", .type = FC_OPT_PATH};
    char head[320];
    const char *path;
    snprintf(head, sizeof head, "%.280s: base: ", base->at_key);
    FC_TRY(fc_opt_set(&path, &row, base->key, base->at_key, arena, err));
    inclusion file = {
        .from = self, .path = beside(self->path, path, arena, err), .depth = self->depth + 1};
    return file.path ? read_file(out, &file, head, arena, err) : FC_EFAIL;
}

/* The settings and bases of one file's bytes. */
static fc_status parse(reader *r, const char *bytes, size_t n)
{
    if (!yaml_parser_initialize(&r->yaml))
        return fc_fail(r->err, FC_EFAIL, "%.300s: out of memory", r->file);
    r->bytes = bytes;
    yaml_parser_set_input_string(&r->yaml, (const unsigned char *)bytes, n);
    fc_status st = read_document(r);
    yaml_event_delete(&r->event);
    yaml_parser_delete(&r->yaml);
    return st;
}

static fc_status read_file(fc_settings *out, inclusion *self, const char *head, fc_arena *arena,
                           fc_error *err)
{
    char *bytes = NULL;
    size_t n = 0;
    reader r = {.file = self->path, .arena = arena, .err = err};
    fc_status st = slurp(&bytes, &n, self, head, err);
    if (st == FC_OK)
        st = check_loop(self, head, err);
    if (st == FC_OK && out->levels >= FILES_MAX)
        st = fc_fail(err, FC_EUSAGE, "%.300smore than %d files, expected fewer bases", head,
                     FILES_MAX);
    if (st == FC_OK)
        st = parse(&r, bytes, n);
    free(bytes);
    for (const fc_setting *b = r.bases.first; st == FC_OK && b; b = b->next)
        st = read_base(out, self, b, arena, err);
    for (fc_setting *s = r.settings.first; s; s = s->next)
        s->level = out->levels;
    out->levels++;
    append(out, &r.settings);
    return st;
}

fc_status fc_settings_read(fc_settings *s, const char *path, fc_arena *arena, fc_error *err)
{
    inclusion file = {.path = path};
    return read_file(s, &file, "", arena, err);
}
