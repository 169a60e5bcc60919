/* Config files to settings: a tree of two levels, scalars and flat lists, after those of its bases.
 */
#include "sim/config/config.h"
#include "sim/config/config_parts.h"
#include "sim/io/yaml.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { DEPTH_MAX = 16, FILES_MAX = 256 };

/* A file being read, and those that include it. */
typedef struct inclusion {
    const struct inclusion *from;
    const char *path;
    dev_t dev;
    ino_t ino;
    int depth;
} inclusion;

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

static void append_settings(fc_settings *to, const fc_settings *more)
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

const char *fc_beside(const char *file, const char *base, fc_arena *arena, fc_error *err)
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

/* A setting of this key and value. */
static fc_status add_setting(fc_settings *s, const char *section, const fc_yaml *y, fc_arena *arena,
                             fc_error *err)
{
    if (y->kind == FC_YAML_MAP)
        return fc_yaml_fail(err, y, "found keys, expected a value or a flat list");
    fc_setting *one = fc_settings_add(s, arena, err);
    if (!one)
        return FC_EFAIL;
    *one = (fc_setting){.section = section,
                        .key = y->key,
                        .text = y->text,
                        .list = y->kind == FC_YAML_LIST,
                        .at_key = fc_yaml_key_at(y, arena, err),
                        .at = fc_yaml_at(y, arena, err)};
    if (!one->at_key || !one->at)
        return FC_EFAIL;
    return one->list ? fc_yaml_list_text(&one->text, y, arena, err) : FC_OK;
}

/* The settings of one file, without its bases. */
static fc_status add_file(fc_settings *s, const fc_yaml *root, fc_arena *arena, fc_error *err)
{
    if (root->kind != FC_YAML_MAP)
        return fc_yaml_fail(err, root, "expected `section:` with `key: value` indented below it");
    for (const fc_yaml *y = root->first; y; y = y->next) {
        if (y->nothing || strcmp(y->key, "base") == 0)
            continue;               /* a section whose keys are all commented out */
        if (y->kind != FC_YAML_MAP) /* whoever knows the options says which key was meant */
            FC_TRY(add_setting(s, "", y, arena, err));
        for (const fc_yaml *k = y->first; y->kind == FC_YAML_MAP && k; k = k->next)
            FC_TRY(add_setting(s, y->key, k, arena, err));
    }
    return FC_OK;
}

static fc_status read_config_file(fc_settings *out, inclusion *self, const char *head,
                                  fc_arena *arena, fc_error *err);

static fc_status read_base(fc_settings *out, const inclusion *self, const fc_yaml *base,
                           fc_arena *arena, fc_error *err)
{
    static const fc_opt row = {.key = "base", .type = FC_OPT_PATH};
    char head[320];
    const char *path, *at = fc_yaml_at(base, arena, err);
    if (!at)
        return FC_EFAIL;
    snprintf(head, sizeof head, "%.280s: base: ", at);
    FC_TRY(fc_opt_set(&path, &row, base->text, at, arena, err));
    inclusion file = {
        .from = self, .path = fc_beside(self->path, path, arena, err), .depth = self->depth + 1};
    return file.path ? read_config_file(out, &file, head, arena, err) : FC_EFAIL;
}

/* The files that `base:` names: one, or a list. */
static fc_status read_bases(fc_settings *out, const inclusion *self, const fc_yaml *base,
                            fc_arena *arena, fc_error *err)
{
    if (base->kind == FC_YAML_MAP)
        return fc_yaml_fail(err, base, "found keys, expected a value or a flat list");
    if (base->kind == FC_YAML_TEXT)
        return base->nothing ? FC_OK : read_base(out, self, base, arena, err);
    for (const fc_yaml *y = base->first; y; y = y->next) {
        if (y->kind != FC_YAML_TEXT)
            return fc_yaml_fail(err, y, "found nesting, expected a flat list");
        for (const fc_yaml *old = base->first; old != y; old = old->next)
            if (strcmp(old->text, y->text) == 0)
                return fc_yaml_fail(err, y, "%.60s is set twice, first at %.300s:%d:%d", y->text,
                                    y->file, old->line, old->column);
        FC_TRY(read_base(out, self, y, arena, err));
    }
    return FC_OK;
}

static fc_status read_config_file(fc_settings *out, inclusion *self, const char *head,
                                  fc_arena *arena, fc_error *err)
{
    struct stat info;
    fc_yaml *root;
    fc_settings own = {0};
    if (stat(self->path, &info) != 0)
        return fc_fail(err, FC_EUSAGE, "%.300s%.300s: %s", head, self->path, strerror(errno));
    self->dev = info.st_dev;
    self->ino = info.st_ino;
    FC_TRY(check_loop(self, head, err));
    if (out->levels >= FILES_MAX)
        return fc_fail(err, FC_EUSAGE, "%.300smore than %d files, expected fewer bases", head,
                       FILES_MAX);
    FC_TRY(fc_yaml_read(&root, self->path, head, arena, err));
    FC_TRY(add_file(&own, root, arena, err));
    const fc_yaml *base = fc_yaml_get(root, "base");
    if (base)
        FC_TRY(read_bases(out, self, base, arena, err));
    for (fc_setting *s = own.first; s; s = s->next)
        s->level = out->levels;
    out->levels++;
    append_settings(out, &own);
    return FC_OK;
}

fc_status fc_settings_read(fc_settings *s, const char *path, fc_arena *arena, fc_error *err)
{
    inclusion file = {.path = path};
    return read_config_file(s, &file, "", arena, err);
}
