/* fc_config to text: the resolved file, and the hash that names a run's folder. */
#include "core/base/file.h"
#include "sim/config/config.h"
#include "sim/config/config_parts.h"
#include "sim/io/text.h"
#include "sim/methods/method.h"

#include <stdio.h>
#include <string.h>

typedef enum dump_kind { DUMP_ALL, DUMP_EXPLAINED, DUMP_RESULTS } dump_kind;

bool fc_config_changes_results(const fc_config_field *f)
{
    /* what cannot; a key "*" is the whole section */
    static const char *const without[][2] = {
        {"run", "name"},         {"run", "out"}, {"run", "threads"},
        {"run", "checkpoint_s"}, {"log", "*"},   {"pretrain", "out"},
    };
    if (f->opt->type == FC_OPT_INPUT)
        return false; /* the content counts, not the place: fc_setup_name */
    if (f->piece && !f->piece->on(f->base))
        return false; /* a piece that is off does nothing */
    for (size_t i = 0; i < sizeof without / sizeof *without; i++)
        if (strcmp(f->section, without[i][0]) == 0 &&
            (*without[i][1] == '*' || strcmp(f->opt->key, without[i][1]) == 0))
            return false;
    return true;
}

/* Text that needs no quotes in YAML, wherever it stands behind "key: ". */
static bool is_plain(const char *text)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    size_t n = strlen(text), words = strspn(text, letters);
    if (words == n)
        return n > 0;
    for (const char *p = text; *p; p++)
        if (!strchr(letters, *p) && !strchr("_./:+~$-", *p))
            return false;
    return (words > 0 || strchr("_./~$", *text)) && text[n - 1] != ':';
}

static void write_value(FILE *f, const fc_opt *o, const char *text)
{
    bool free_text = o->type == FC_OPT_TEXT || o->type == FC_OPT_PATH || o->type == FC_OPT_INPUT;
    if (!free_text || is_plain(text)) {
        fputs(text, f);
        return;
    }
    fputc('"', f);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', f);
        fputc(*text, f);
    }
    fputc('"', f);
}

static void write_help(FILE *f, const fc_opt *o)
{
    char want[512], line[1024];
    snprintf(line, sizeof line, "%s (%s; default %s)", o->help,
             fc_opt_expected(o, want, sizeof want), *o->def ? o->def : "empty");
    fc_print_wrapped(f, "  # ", line);
}

static const char *dump(fc_config *c, dump_kind kind, fc_error *err)
{
    int n;
    const fc_config_field *field = fc_config_fields(c, &n, err);
    const char *section = "", *out = NULL;
    fc_draft d;
    if (!field || fc_draft_begin(&d, err) != FC_OK)
        return NULL;
    FILE *f = d.f;
    for (int i = 0; i < n; i++) {
        const fc_config_field *o = &field[i];
        if (kind == DUMP_RESULTS && !fc_config_changes_results(o))
            continue;
        if (strcmp(section, o->section) != 0) {
            fprintf(f, "%s%s:\n", *section ? "\n" : "", o->section);
            section = o->section;
        }
        if (kind == DUMP_EXPLAINED)
            write_help(f, o->opt);
        const char *value = fc_opt_print(o->base, o->opt, &c->arena, err);
        if (!value)
            goto out;
        fprintf(f, "  %s: ", o->opt->key);
        write_value(f, o->opt, value);
        bool own_rule = strcmp(section, "merge") == 0 && strcmp(o->opt->key, "rule") == 0;
        if (own_rule && *c->merge.rule == '\0' && c->method->rule)
            fprintf(f, " # the method's own: %s", c->method->rule);
        fputc('\n', f);
    }
    if (fc_draft_end(&d, err) == FC_OK)
        out = fc_arena_strdup(&c->arena, d.text, err);
out:
    fc_draft_free(&d);
    return out;
}

const char *fc_config_dump(fc_config *c, bool explain, fc_error *err)
{
    return dump(c, explain ? DUMP_EXPLAINED : DUMP_ALL, err);
}

fc_status fc_config_hash(char hash[9], fc_config *c, fc_error *err)
{
    char hex[65];
    const char *text = dump(c, DUMP_RESULTS, err);
    if (!text)
        return FC_EFAIL;
    fc_sha256(hex, text, strlen(text));
    snprintf(hash, 9, "%.8s", hex);
    return FC_OK;
}
