/* Settings to fc_config: who wins, what belongs to the method and merge rule in force, which key was meant. */
#include "sim/config.h"

#include "core/file.h"
#include "core/merge/merge.h"
#include "datasets/dataset.h"
#include "datasets/partition.h"
#include "sim/config_parts.h"
#include "sim/methods/method.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* clang-format off */
#define SECTION(s)
#define END(s)
#define ROW(s, k, t, ...) ROW_AS(s, k, t, false, __VA_ARGS__)
#define ROW_OPEN(s, k, t, ...) ROW_AS(s, k, t, true, __VA_ARGS__)

#define ROW_AS(s, k, t, open, default_, low_, high_, choices_, help_) \
    {.key = #k, .type = FC_OPT_##t, .offset = offsetof(fc_config, s.k), .def = default_, .low = low_, \
     .high = high_, .open_low = open, .choices = choices_, .help = help_},
const fc_opt fc_config_opts[] = {
#include "sim/config_table.def"
};
#undef ROW_AS

#define ROW_AS(s, ...) #s,
const char *const fc_config_sections[] = {
#include "sim/config_table.def"
};
/* clang-format on */

const int fc_config_n_opts = sizeof fc_config_opts / sizeof *fc_config_opts;

const fc_opt fc_config_method_row = {
    .key = "name",
    .type = FC_OPT_TEXT,
    .offset = offsetof(fc_method, name),
    .def = "lorm",
    .help = "what is trained, merged and evaluated: fcil list methods",
};

static bool is(const fc_setting *s, const char *section, const char *key)
{
    return strcmp(s->section, section) == 0 && strcmp(s->key, key) == 0;
}

/* The struct of an option table, filled with the defaults. */
static fc_status own_options(void **out, const fc_opt *rows, int n, size_t size, fc_arena *arena,
                             fc_error *err)
{
    *out = fc_arena_alloc(arena, 1, size, err);
    return *out ? fc_opt_defaults(*out, rows, n, arena, err) : FC_EFAIL;
}

const fc_config_field *fc_config_fields(fc_config *c, int *n, fc_error *err)
{
    const fc_method *m = c->method;
    const fc_merge_method *r = c->rule;
    int n_rule = r ? r->n_options : 0;
    size_t most = (size_t)(fc_config_n_opts + 1 + m->n_options + n_rule);
    fc_config_field *f = fc_arena_alloc(&c->arena, most, sizeof *f, err);
    if (!f)
        return NULL;
    int k = 0;
    for (int i = 0; i < fc_config_n_opts; i++) {
        bool merge = strcmp(fc_config_sections[i], "merge") == 0;
        if (merge && strcmp(fc_config_sections[i - 1], "merge") != 0) {
            /* never written through: dump reads the name, apply() skips it */
            f[k++] = (fc_config_field){"method", &fc_config_method_row, NULL};
            for (int j = 0; j < m->n_options; j++)
                f[k++] = (fc_config_field){"method", &m->options[j], c->method_options};
        }
        f[k++] = (fc_config_field){fc_config_sections[i], &fc_config_opts[i], c};
        if (merge && strcmp(fc_config_sections[i + 1], "merge") != 0)
            for (int j = 0; j < n_rule; j++)
                f[k++] = (fc_config_field){"merge", &r->options[j], c->rule_options};
    }
    *n = k;
    return f;
}
