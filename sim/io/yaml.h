/* A YAML file as a tree of maps, lists and texts, each with its place.
 *
 * What YAML offers beyond that (aliases, anchors, tags, several documents) is refused, so that a
 * file means what it shows. Values stay text: their type is the reader's business. */
#ifndef FC_YAML_H
#define FC_YAML_H

#include "core/base/arena.h"
#include "core/base/opt.h"
#include "core/base/status.h"

#include <stdbool.h>

typedef enum fc_yaml_kind { FC_YAML_TEXT, FC_YAML_LIST, FC_YAML_MAP } fc_yaml_kind;

/* One value; in a map, with its key. */
typedef struct fc_yaml {
    fc_yaml_kind kind;
    const char *text;                       /* of a TEXT */
    bool nothing;                           /* a TEXT that is not there: "key:" and no more */
    const char *key;                        /* NULL in a list and at the root */
    int line, column, key_line, key_column; /* from 1 */
    int n;                                  /* values in a LIST or MAP */
    struct fc_yaml *first, *next;
    const char *file;
} fc_yaml;

/* Reads a file of at most 1 MiB, or a pipe; head begins each message about the file itself ("" or
 * "config.yaml:1:7: base: "). Everything is kept in the arena. Errors: FC_EUSAGE, file:line:col and
 * what is wrong there: no valid YAML, empty, what is refused, a key that is set twice. */
fc_status fc_yaml_read(fc_yaml **root, const char *path, const char *head, fc_arena *arena,
                       fc_error *err);

/* The value of a key of a map; NULL if it has none of that name. */
fc_yaml *fc_yaml_get(const fc_yaml *map, const char *key);

/* Refuses what is no map, or has other keys than these n; what: how messages call it. Errors:
 * FC_EUSAGE with the place. */
fc_status fc_yaml_check_keys(const fc_yaml *map, const char *what, const char *const *keys, int n,
                             fc_error *err);

/* The number or choice that row describes from y, as fc_opt_set with base *v. Errors: FC_EUSAGE
 * with the place, what was found and what the row accepts. */
fc_status fc_yaml_value(void *v, const fc_opt *row, const fc_yaml *y, const char *what,
                        fc_error *err);

/* "file:line:col" of a value, or of its key. NULL with err set when memory is out. */
const char *fc_yaml_at(const fc_yaml *y, fc_arena *arena, fc_error *err);
const char *fc_yaml_key_at(const fc_yaml *y, fc_arena *arena, fc_error *err);

/* A list of texts as "[a, b]". Errors: FC_EUSAGE if one is no text; FC_EFAIL. */
fc_status fc_yaml_list_text(const char **text, const fc_yaml *list, fc_arena *arena, fc_error *err);

/* FC_EUSAGE: "file:line:col: " of a value, or of its key, and the formatted text. */
fc_status fc_yaml_fail(fc_error *err, const fc_yaml *y, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
fc_status fc_yaml_key_fail(fc_error *err, const fc_yaml *y, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
