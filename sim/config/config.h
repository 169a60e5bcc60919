/* The configuration of one run: YAML file(s) + command line -> const fc_config.
 *
 * sim/config/config_table.def is the one list of options: this struct, the parser, range checks,
 * `config explain` and the resolved dump are made from it. Methods and merges bring rows of their
 * own (fc_method.options, fc_merge_method.options), which live in the sections `method`, `merge`
 * and `task_merge`; pieces (fc_piece.options) in the section that they name. */
#ifndef FC_CONFIG_H
#define FC_CONFIG_H

#include "core/base/arena.h"
#include "core/base/opt.h"
#include "core/base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct fc_method fc_method;
typedef struct fc_merge_method fc_merge_method;

#define FC_CTYPE_INT int
#define FC_CTYPE_SEED int64_t
#define FC_CTYPE_REAL double
#define FC_CTYPE_BOOL bool
#define FC_CTYPE_TEXT const char *
#define FC_CTYPE_PATH const char *
#define FC_CTYPE_INPUT const char *
#define FC_CTYPE_CHOICE int
#define FC_CTYPE_INTS fc_ints

/* clang-format off */
typedef struct fc_config {
#define SECTION(s) struct {
#define ROW(s, key, type, ...) FC_CTYPE_##type key;
#define ROW_OPEN ROW
#define END(s) } s;
#include "sim/config/config_table.def"
#undef SECTION
#undef ROW
#undef ROW_OPEN
#undef END
    /* clang-format on */
    const char *method_name; /* method.name, default lorm */
    const fc_method *method;
    void *method_options;        /* its own struct */
    const fc_merge_method *rule; /* merge.rule, else the method's own; NULL: nothing is merged */
    void *rule_options;
    const fc_merge_method *task_rule; /* tasks.merge; NULL: the method's own way */
    void *task_rule_options;
    void **piece_options; /* (fc_piece_count) own structs of sim/methods/piece_table.def */
    fc_arena arena;
} fc_config;

/* Read `path` (NULL: defaults only) with its `base:` files (depth first, later wins; inclusion
 * loops and missing files refused), then n overrides "section.key=value". Unknown, repeated,
 * mistyped or out-of-range key: FC_EUSAGE with file:line:col (or "argument N") and the nearest
 * valid key. On error *c is {0}. */
fc_status fc_config_load(fc_config *c, const char *path, char *const *override, int n,
                         fc_error *err);
void fc_config_free(fc_config *c); /* accepts {0} */

/* Fully resolved YAML, every key in table order, method's and merge's own rows included: reading it
 * back gives the same config. Memory from c->arena. explain: each key is preceded by its help as a
 * comment. */
const char *fc_config_dump(fc_config *c, bool explain, fc_error *err);

/* 8 hex digits of SHA-256 over the dump without what cannot change the results (run.name, run.out,
 * run.threads, run.checkpoint_s, log.*, pretrain.out) and without the places of inputs: their
 * content counts, which the caller knows. */
fc_status fc_config_hash(char hash[9], fc_config *c, fc_error *err);

/* Number of tasks. */
int fc_config_tasks(const fc_config *c);

/* Effective seeds. */
uint64_t fc_seed(const fc_config *c, int64_t own);

#endif
