/* Settings to fc_config: who wins, what belongs to the method and merge rule in force, which key
 * was meant. */
#include "sim/config/config.h"

#include "core/base/file.h"
#include "core/merge/merge.h"
#include "core/vit/fisher.h"
#include "core/vit/optim.h"
#include "datasets/dataset.h"
#include "datasets/partition.h"
#include "sim/config/config_parts.h"
#include "sim/methods/method.h"

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
#include "sim/config/config_table.def"
};
#undef ROW_AS

#define ROW_AS(s, ...) #s,
const char *const fc_config_sections[] = {
#include "sim/config/config_table.def"
};
/* clang-format on */

const int fc_config_n_opts = sizeof fc_config_opts / sizeof *fc_config_opts;

const fc_opt fc_config_method_row = {
    .key = "name",
    .type = FC_OPT_TEXT,
    .offset = offsetof(fc_config, method_name),
    .def = "lorm",
    .help = "what is trained, merged and evaluated: fcil list methods",
};

static bool is(const fc_setting *s, const char *section, const char *key)
{
    return strcmp(s->section, section) == 0 && strcmp(s->key, key) == 0;
}

/* Sections whose options are those of a registry's row, beside what the table has for them. */
enum { OWN_METHOD, OWN_RULE, OWN_TASK_RULE, OWN_N };

typedef struct own_section {
    const char *section;
    const char *what; /* for messages */
} own_section;

static const own_section owns[OWN_N] = {
    {"method", "method"}, {"merge", "merge rule"}, {"task_merge", "rule of tasks.merge"}};

/* A row of a registry. */
typedef struct own_rows {
    const char *name;
    const fc_opt *options;
    int n;
    size_t size;
    void *base;
} own_rows;

static own_rows rows_of_rule(const fc_merge_method *r, void *base)
{
    return r ? (own_rows){r->name, r->options, r->n_options, r->options_size, base}
             : (own_rows){.name = "none"};
}

static own_rows rows_of_method(const fc_method *m, void *base)
{
    return (own_rows){m->name, m->options, m->n_options, m->options_size, base};
}

/* The row in force. */
static own_rows own_now(const fc_config *c, int which)
{
    return which == OWN_METHOD ? rows_of_method(c->method, c->method_options)
           : which == OWN_RULE ? rows_of_rule(c->rule, c->rule_options)
                               : rows_of_rule(c->task_rule, c->task_rule_options);
}

/* Which one a section belongs to, or -1. */
static int own_of(const char *section)
{
    for (int i = 0; i < OWN_N; i++)
        if (strcmp(section, owns[i].section) == 0)
            return i;
    return -1;
}

/* The struct of an option table, filled with the defaults. */
static fc_status own_options(void **out, own_rows o, fc_arena *arena, fc_error *err)
{
    *out = NULL;
    if (o.n == 0)
        return FC_OK;
    *out = fc_arena_alloc(arena, 1, o.size, err);
    return *out ? fc_opt_defaults(*out, o.options, o.n, arena, err) : FC_EFAIL;
}

/* The options of the pieces, filled with the defaults. */
static fc_status piece_options(fc_config *c, fc_error *err)
{
    c->piece_options =
        fc_arena_alloc(&c->arena, (size_t)fc_piece_count, sizeof *c->piece_options, err);
    if (!c->piece_options)
        return FC_EFAIL;
    for (int i = 0; i < fc_piece_count; i++) {
        const fc_piece *p = fc_piece_table[i];
        const own_rows rows = {p->name, p->options, p->n_options, p->options_size, NULL};
        FC_TRY(own_options(&c->piece_options[i], rows, &c->arena, err));
    }
    return FC_OK;
}

/* The rows of all pieces of a section, to f; returns how many. */
static int piece_fields(fc_config_field *f, const fc_config *c, const char *section)
{
    int n = 0;
    for (int i = 0; i < fc_piece_count; i++) {
        const fc_piece *p = fc_piece_table[i];
        for (int j = 0; strcmp(p->section, section) == 0 && j < p->n_options; j++)
            f[n++] = (fc_config_field){section, &p->options[j], c->piece_options[i], p};
    }
    return n;
}

static bool table_has(const char *section)
{
    for (int i = 0; i < fc_config_n_opts; i++)
        if (strcmp(fc_config_sections[i], section) == 0)
            return true;
    return false;
}

/* Those of sections that the table has not, each once. */
static int piece_sections(fc_config_field *f, const fc_config *c)
{
    int n = 0;
    for (int i = 0; i < fc_piece_count; i++) {
        const char *section = fc_piece_table[i]->section;
        bool there = table_has(section);
        for (int j = 0; j < i; j++)
            there = there || strcmp(fc_piece_table[j]->section, section) == 0;
        n += there ? 0 : piece_fields(f + n, c, section);
    }
    return n;
}

const fc_config_field *fc_config_fields(fc_config *c, int *n, fc_error *err)
{
    size_t most = (size_t)fc_config_n_opts + 1;
    for (int i = 0; i < OWN_N; i++)
        most += (size_t)own_now(c, i).n;
    for (int i = 0; i < fc_piece_count; i++)
        most += (size_t)fc_piece_table[i]->n_options;
    fc_config_field *f = fc_arena_alloc(&c->arena, most, sizeof *f, err);
    if (!f)
        return NULL;
    int k = 0;
    for (int i = 0; i < fc_config_n_opts; i++) {
        const char *section = fc_config_sections[i];
        bool first = i == 0 || strcmp(fc_config_sections[i - 1], section) != 0;
        bool last = i + 1 == fc_config_n_opts || strcmp(fc_config_sections[i + 1], section) != 0;
        int which = own_of(section);
        if (which == OWN_RULE && first) { /* the table has no section `method` */
            own_rows m = own_now(c, OWN_METHOD);
            f[k++] = (fc_config_field){"method", &fc_config_method_row, c, NULL};
            for (int j = 0; j < m.n; j++)
                f[k++] = (fc_config_field){"method", &m.options[j], m.base, NULL};
        }
        f[k++] = (fc_config_field){section, &fc_config_opts[i], c, NULL};
        if (last)
            k += piece_fields(f + k, c, section);
        if (which < 0 || !last)
            continue;
        own_rows o = own_now(c, which);
        for (int j = 0; j < o.n; j++)
            f[k++] = (fc_config_field){section, &o.options[j], o.base, NULL};
    }
    *n = k + piece_sections(f + k, c);
    return f;
}

enum { NAMES_MAX = 256 };

/* The names that an option of this name may take, 0 if it is not the name of a registry's row. */
static int registry(const char *names[NAMES_MAX], const fc_setting *s)
{
    int n = 0;
    if (is(s, "method", "name"))
        for (; n < fc_method_count && n < NAMES_MAX; n++)
            names[n] = fc_method_table[n]->name;
    else if (is(s, "merge", "rule") || is(s, "tasks", "merge"))
        for (; n < fc_merge_count && n < NAMES_MAX; n++)
            names[n] = fc_merge_table[n]->name;
    else if (is(s, "data", "name"))
        for (; n < fc_data_count && n < NAMES_MAX; n++)
            names[n] = fc_data_table[n]->name;
    else if (is(s, "fed", "partition"))
        for (; n < fc_partition_count && n < NAMES_MAX; n++)
            names[n] = fc_partition_table[n]->name;
    return n;
}

/* "a, b, c" */
static void join(char *buf, size_t size, const char *const *names, int n)
{
    size_t used = 0;
    *buf = '\0';
    for (int i = 0; i < n && used < size; i++)
        used += (size_t)snprintf(buf + used, size - used, "%s%s", i ? ", " : "", names[i]);
}

static fc_status check_name(const fc_setting *s, fc_error *err)
{
    const char *names[NAMES_MAX];
    int n = registry(names, s);
    if (n > 0 && s->list)
        return fc_fail(err, FC_EUSAGE, "%s: %s.%s: found a list, expected a name", s->at,
                       s->section, s->key);
    bool may_be_empty = is(s, "merge", "rule") || is(s, "tasks", "merge");
    if (n == 0 || (may_be_empty && *s->text == '\0'))
        return FC_OK;
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], s->text) == 0)
            return FC_OK;
    char all[400];
    join(all, sizeof all, names, n);
    const char *near = fc_nearest(s->text, names, n);
    return fc_fail(err, FC_EUSAGE, "%s: %s.%s: found '%.60s', expected one of %s%s%s%s", s->at,
                   s->section, s->key, s->text, all, near ? "; did you mean " : "",
                   near ? near : "", near ? "?" : "");
}

/* The level at which each row was last changed: own options of another one below it are left
 * behind. */
typedef struct choice {
    int level[OWN_N];
} choice;

/* Find c->method, c->rule and c->task_rule. */
static fc_status find_method_and_rules(choice *out, fc_config *c, const fc_settings *all,
                                       fc_error *err)
{
    const fc_merge_method *named = NULL; /* by merge.rule */
    c->method = fc_method_find(fc_config_method_row.def);
    c->rule = c->method->rule ? fc_merge_find(c->method->rule) : NULL;
    for (int i = 0; i < OWN_N; i++)
        out->level[i] = -1;
    for (const fc_setting *s = all->first; s; s = s->next) {
        const char *before[OWN_N];
        for (int i = 0; i < OWN_N; i++)
            before[i] = own_now(c, i).name;
        FC_TRY(check_name(s, err));
        if (is(s, "method", "name"))
            c->method = fc_method_find(s->text);
        else if (is(s, "merge", "rule"))
            named = *s->text ? fc_merge_find(s->text) : NULL;
        else if (is(s, "tasks", "merge"))
            c->task_rule = *s->text ? fc_merge_find(s->text) : NULL;
        c->rule = named ? named : c->method->rule ? fc_merge_find(c->method->rule) : NULL;
        for (int i = 0; i < OWN_N; i++)
            if (strcmp(before[i], own_now(c, i).name) != 0)
                out->level[i] = s->level;
    }
    return FC_OK;
}

static const fc_opt *row_of(const fc_opt *rows, int n, const char *key)
{
    for (int i = 0; i < n; i++)
        if (strcmp(rows[i].key, key) == 0)
            return &rows[i];
    return NULL;
}

/* The row of an own option and the method or merge rule that has it; NULL if none has. */
static const fc_opt *own_row(const char **owner, const fc_setting *s)
{
    const fc_opt *row = NULL;
    int which = own_of(s->section);
    int n = which < 0 ? 0 : which == OWN_METHOD ? fc_method_count : fc_merge_count;
    for (int i = 0; i < n && !row; i++) {
        own_rows o = which == OWN_METHOD ? rows_of_method(fc_method_table[i], NULL)
                                         : rows_of_rule(fc_merge_table[i], NULL);
        row = row_of(o.options, o.n, s->key);
        *owner = o.name;
    }
    return row;
}

const char *fc_setting_owner(const fc_setting *s)
{
    const char *owner;
    return own_row(&owner, s) ? owner : NULL;
}

const fc_opt *fc_setting_option(const fc_setting *s)
{
    const char *owner;
    if (is(s, "method", fc_config_method_row.key))
        return &fc_config_method_row;
    for (int i = 0; i < fc_config_n_opts; i++)
        if (is(s, fc_config_sections[i], fc_config_opts[i].key))
            return &fc_config_opts[i];
    for (int i = 0; i < fc_piece_count; i++) {
        const fc_piece *p = fc_piece_table[i];
        const fc_opt *row =
            strcmp(p->section, s->section) == 0 ? row_of(p->options, p->n_options, s->key) : NULL;
        if (row)
            return row;
    }
    return own_row(&owner, s);
}

/* section NULL: any. */
const fc_config_field *fc_config_find(const fc_config_field *f, int n, const char *section,
                                      const char *key)
{
    for (int i = 0; i < n; i++)
        if ((!section || strcmp(f[i].section, section) == 0) && strcmp(f[i].opt->key, key) == 0)
            return &f[i];
    return NULL;
}

/* The keys of a section (of all sections if that is NULL): their number. */
static int keys_of(const char *names[NAMES_MAX], const fc_config_field *f, int n,
                   const char *section)
{
    int found = 0;
    for (int i = 0; i < n && found < NAMES_MAX; i++)
        if (!section || strcmp(f[i].section, section) == 0)
            names[found++] = f[i].opt->key;
    return found;
}

static int sections_of(const char *names[NAMES_MAX], const fc_config_field *f, int n)
{
    int found = 0;
    for (int i = 0; i < n && found < NAMES_MAX; i++)
        if (i == 0 || strcmp(f[i].section, f[i - 1].section) != 0)
            names[found++] = f[i].section;
    return found;
}

/* The section of that name, or the nearest; NULL if none is near. */
static const char *near_section(const fc_config_field *f, int n, const char *section)
{
    const char *names[NAMES_MAX];
    return fc_nearest(section, names, sections_of(names, f, n));
}

/* The option that was probably meant: the key itself, in the nearest section or elsewhere; a
 * similar key there. NULL: no idea. */
static const fc_config_field *meant_by(const fc_config_field *f, int n, const fc_setting *s)
{
    const char *names[NAMES_MAX], *section = near_section(f, n, s->section);
    const fc_config_field *hit = section ? fc_config_find(f, n, section, s->key) : NULL;
    if (!hit)
        hit = fc_config_find(f, n, NULL, s->key);
    if (!hit && section) {
        const char *near = fc_nearest(s->key, names, keys_of(names, f, n, section));
        hit = near ? fc_config_find(f, n, section, near) : NULL;
    }
    if (!hit) {
        const char *near = fc_nearest(s->key, names, keys_of(names, f, n, NULL));
        hit = near ? fc_config_find(f, n, NULL, near) : NULL;
    }
    return hit;
}

static fc_status unknown_key(const fc_config *c, const fc_config_field *f, int n,
                             const fc_setting *s, fc_error *err)
{
    const char *names[NAMES_MAX], *of = fc_setting_owner(s), *dot = *s->section ? "." : "";
    int n_keys = keys_of(names, f, n, *s->section ? s->section : s->key);
    if (!*s->section && n_keys > 0)
        return fc_fail(err, FC_EUSAGE, "%s: '%s' is a section, expected keys in it", s->at_key,
                       s->key);
    if (!*s->section && strchr(s->key, '.'))
        return fc_fail(err, FC_EUSAGE,
                       "%s: found '%.120s', expected `section:` and `key:` indented below it",
                       s->at_key, s->key);
    if (of) {
        int which = own_of(s->section);
        return fc_fail(err, FC_EUSAGE, "%s: %s.%s is an option of %s, but the %s is %s", s->at_key,
                       s->section, s->key, of, owns[which].what, own_now(c, which).name);
    }
    const fc_config_field *meant = meant_by(f, n, s);
    if (meant)
        return fc_fail(err, FC_EUSAGE, "%s: unknown key '%.60s%s%.60s', did you mean %s.%s?",
                       s->at_key, s->section, dot, s->key, meant->section, meant->opt->key);
    char valid[500];
    if (n_keys == 0)
        n_keys = sections_of(names, f, n);
    join(valid, sizeof valid, names, n_keys);
    return fc_fail(err, FC_EUSAGE, "%s: unknown key '%.60s%s%.60s', expected one of %s", s->at_key,
                   s->section, dot, s->key, valid);
}

/* A relative path that a config file names is relative to that file, if it exists there. */
static fc_status from_file(const char **path, const fc_setting *s, fc_arena *arena, fc_error *err)
{
    const char *slash = strrchr(s->at, '/'); /* "folder/file.yaml:line:col", or "argument N" */
    if (!slash || **path == '/' || **path == '\0')
        return FC_OK;
    size_t folder = (size_t)(slash - s->at) + 1;
    char *beside = fc_arena_alloc(arena, folder + strlen(*path) + 1, 1, err);
    if (!beside)
        return FC_EFAIL;
    memcpy(beside, s->at, folder);
    strcpy(beside + folder, *path);
    if (access(beside, F_OK) == 0)
        *path = beside;
    return FC_OK;
}

/* Set every field, in order, so that later settings win and each one is checked. */
static fc_status apply(fc_config *c, const fc_settings *all, const choice *chosen, fc_error *err)
{
    int n;
    const fc_config_field *f = fc_config_fields(c, &n, err);
    if (!f)
        return FC_EFAIL;
    for (const fc_setting *s = all->first; s; s = s->next) {
        const fc_config_field *to = fc_config_find(f, n, s->section, s->key);
        if (!to) {
            int of = own_of(s->section);
            if (fc_setting_owner(s) && (s->level < chosen->level[of] || s->used))
                continue; /* with a row that was replaced, or meant for another one */
            return unknown_key(c, f, n, s, err);
        }
        int which = own_of(s->section);
        if (to->base != c && !to->piece && which > OWN_METHOD && s->level < chosen->level[which])
            continue; /* the same word of a rule that was replaced */
        if (s->used)
            *s->used = true;
        char where[512], want[400];
        snprintf(where, sizeof where, "%.350s: %s.%s", s->at, s->section, s->key);
        if (s->list && to->opt->type != FC_OPT_INTS)
            return fc_fail(err, FC_EUSAGE, "%s: found a list, expected %s", where,
                           fc_opt_expected(to->opt, want, sizeof want));
        FC_TRY(fc_opt_set(to->base, to->opt, s->text, where, &c->arena, err));
        if (to->opt->type == FC_OPT_INPUT)
            FC_TRY(
                from_file((const char **)((char *)to->base + to->opt->offset), s, &c->arena, err));
    }
    /* a rule that is the method's own anyway is not pinned: configs derived from the dump may
     * change the method */
    const char *own = c->method->rule;
    if (own && strcmp(c->merge.rule, own) == 0)
        c->merge.rule = "";
    return FC_OK;
}

fc_status fc_setting_unknown(fc_config *c, const fc_setting *s, fc_error *err)
{
    int n;
    const fc_config_field *f = fc_config_fields(c, &n, err);
    return f ? unknown_key(c, f, n, s, err) : FC_EFAIL;
}

fc_status fc_setting_canonical(const char **text, const fc_setting *s, fc_arena *arena,
                               fc_error *err)
{
    union {
        int64_t whole;
        double real;
        const char *text;
        fc_ints list;
    } value;
    char where[512];
    const fc_opt *row = fc_setting_option(s);
    if (!row) {
        fc_config c;
        FC_TRY(fc_config_load(&c, NULL, NULL, 0, err));
        fc_status st = fc_setting_unknown(&c, s, err);
        fc_config_free(&c);
        return st;
    }
    FC_TRY(check_name(s, err));
    fc_opt alone = *row;
    alone.offset = 0;
    snprintf(where, sizeof where, "%.350s: %s.%s", s->at, s->section, s->key);
    FC_TRY(fc_opt_set(&value, &alone, s->text, where, arena, err));
    *text = fc_opt_print(&value, &alone, arena, err);
    return *text ? FC_OK : FC_EFAIL;
}

fc_status fc_setting_parse(fc_setting *s, const char *text, const char *at, fc_arena *arena,
                           fc_error *err)
{
    char *copy = fc_arena_strdup(arena, text, err);
    if (!copy)
        return FC_EFAIL;
    char *equals = strchr(copy, '=');
    if (!equals)
        return fc_fail(err, FC_EUSAGE, "%s: found '%.60s', expected section.key=value", at, text);
    *equals = '\0';
    char *dot = strchr(copy, '.');
    if (dot)
        *dot = '\0';
    *s = (fc_setting){.section = dot ? copy : "",
                      .key = dot ? dot + 1 : copy,
                      .text = equals + 1,
                      .at_key = at,
                      .at = at};
    return FC_OK;
}

static fc_status load_config(fc_config *c, const char *path, const fc_setting *more, int n,
                             fc_error *err)
{
    fc_settings all = {0};
    choice chosen;
    if (path)
        FC_TRY(fc_settings_read(&all, path, &c->arena, err));
    for (int i = 0; i < n; i++) {
        fc_setting *s = fc_settings_add(&all, &c->arena, err);
        if (!s)
            return FC_EFAIL;
        *s = more[i];
        s->next = NULL;
        s->level += all.levels;
    }
    FC_TRY(find_method_and_rules(&chosen, c, &all, err));

    FC_TRY(fc_opt_defaults(c, fc_config_opts, fc_config_n_opts, &c->arena, err));
    FC_TRY(fc_opt_defaults(c, &fc_config_method_row, 1, &c->arena, err));
    void **options[OWN_N] = {&c->method_options, &c->rule_options, &c->task_rule_options};
    for (int i = 0; i < OWN_N; i++)
        FC_TRY(own_options(options[i], own_now(c, i), &c->arena, err));
    FC_TRY(piece_options(c, err));
    return apply(c, &all, &chosen, err);
}

fc_status fc_config_load_settings(fc_config *c, const char *path, const fc_setting *more, int n,
                                  fc_error *err)
{
    *c = (fc_config){0};
    fc_status st = load_config(c, path, more, n, err);
    if (st != FC_OK)
        fc_config_free(c);
    return st;
}

fc_status fc_config_load(fc_config *c, const char *path, char *const *override, int n,
                         fc_error *err)
{
    fc_arena arena = {0};
    *c = (fc_config){0};
    fc_setting *s = fc_arena_alloc(&arena, (size_t)n, sizeof *s, err);
    fc_status st = s ? FC_OK : FC_EFAIL;
    for (int i = 0; i < n && st == FC_OK; i++) {
        char at[32];
        snprintf(at, sizeof at, "argument %d", i + 1);
        const char *place = fc_arena_strdup(&arena, at, err);
        st = place ? fc_setting_parse(&s[i], override[i], place, &arena, err) : FC_EFAIL;
    }
    if (st == FC_OK)
        st = fc_config_load_settings(c, path, s, n, err);
    fc_arena_free(&arena);
    return st;
}

void fc_config_free(fc_config *c)
{
    fc_arena_free(&c->arena);
    *c = (fc_config){0};
}

int fc_config_tasks(const fc_config *c)
{
    return c->method->single_task ? 1 : c->tasks.sizes.n ? c->tasks.sizes.n : c->tasks.count;
}

uint64_t fc_seed(const fc_config *c, int64_t own)
{
    return (uint64_t)(own < 0 ? c->run.seed : own);
}
