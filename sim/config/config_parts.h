/* Parts of the config module that its files share: settings as they were written, and the list of
 * options. */
#ifndef FC_CONFIG_PARTS_H
#define FC_CONFIG_PARTS_H

#include "core/base/arena.h"
#include "core/base/opt.h"

#include <stdbool.h>

typedef struct fc_config fc_config;
typedef struct fc_piece fc_piece;

/* One setting as it was written. */
typedef struct fc_setting {
    struct fc_setting *next;
    const char *section; /* "" at the top level of a file, or without a dot on the command line */
    const char *key;
    const char *text; /* a list as "[a, b]" */
    bool list;
    const char *at_key, *at; /* "file:line:col" of key and value, or "argument N" */
    int level;  /* order of application: a file comes after its bases, the command line last */
    bool *used; /* if not NULL: left out where neither method nor merge rule has this option but
                   another one has; where they have it, set to true */
} fc_setting;

/* In the order in which they apply; later wins. {0} is an empty list. */
typedef struct fc_settings {
    fc_setting *first, *last;
    int n, levels;
} fc_settings;

/* NULL with err set when memory is out. */
fc_setting *fc_settings_add(fc_settings *s, fc_arena *arena, fc_error *err);

/* Append the settings of a YAML file after those of its bases. Errors FC_EUSAGE: file:line:col and
 * what is wrong there. */
fc_status fc_settings_read(fc_settings *s, const char *path, fc_arena *arena, fc_error *err);

/* "section.key=value" as a setting; at: its place. Errors FC_EUSAGE if there is no '='. */
fc_status fc_setting_parse(fc_setting *s, const char *text, const char *at, fc_arena *arena,
                           fc_error *err);

/* As fc_config_load, with n more settings after those of the file; their levels count from there.
 */
fc_status fc_config_load_settings(fc_config *c, const char *path, const fc_setting *more, int n,
                                  fc_error *err);

/* The row of its option, of any method or merge rule; NULL if there is none. */
const fc_opt *fc_setting_option(const fc_setting *s);

/* Its value as the dump of a config has it. Errors FC_EUSAGE: no such option, or not for it. */
fc_status fc_setting_canonical(const char **text, const fc_setting *s, fc_arena *arena,
                               fc_error *err);

/* FC_EUSAGE: the option of that setting is unknown in c; says which was meant. */
fc_status fc_setting_unknown(fc_config *c, const fc_setting *s, fc_error *err);

/* The method or merge rule that has this setting as an option of its own; NULL if none has. */
const char *fc_setting_owner(const fc_setting *s);

/* path as seen from the folder of file. NULL with err set when memory is out. */
const char *fc_beside(const char *file, const char *path, fc_arena *arena, fc_error *err);

/* One option of a config: where it is written and where it is kept. */
typedef struct fc_config_field {
    const char *section;
    const fc_opt *opt;
    void *base;            /* the struct that opt->offset counts from */
    const fc_piece *piece; /* whose option it is; NULL: another's */
} fc_config_field;

/* The rows of the table, and method.name beside them: fields of fc_config. */
extern const fc_opt fc_config_opts[];
extern const char *const fc_config_sections[]; /* of each row */
extern const int fc_config_n_opts;
extern const fc_opt fc_config_method_row;

/* All options of c in the order of the dump: the table's, with section `method` before `merge`, and
 * the own rows of c->method and c->rule at the end of theirs. NULL with err set when memory is out.
 */
const fc_config_field *fc_config_fields(fc_config *c, int *n, fc_error *err);

/* The option of that section and key among n; NULL if there is none. */
const fc_config_field *fc_config_find(const fc_config_field *f, int n, const char *section,
                                      const char *key);

/* Can this option change what a run computes? */
bool fc_config_changes_results(const fc_config_field *f);

#endif
