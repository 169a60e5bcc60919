/* fcil config: what a config resolves to, what each option means, whether files are right. */
#include "core/merge/merge.h"
#include "sim/cli/args.h"
#include "sim/cli/cmd.h"
#include "sim/config/config.h"
#include "sim/config/config_parts.h"
#include "sim/io/text.h"
#include "sim/methods/method.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static fc_status show_config(const fc_args *a, fc_error *err)
{
    fc_config c;
    if (a->n_extra > 0)
        return fc_fail(err, FC_EUSAGE,
                       "config show: found '%.60s' behind the config, expected key=value",
                       a->extra[0]);
    FC_TRY(fc_config_load(&c, a->config, a->override, a->n_override, err));
    const char *text = fc_config_dump(&c, a->verbose, err);
    if (text)
        fputs(text, stdout);
    fc_config_free(&c);
    return text ? FC_OK : FC_EFAIL;
}

/* One file; its verdict goes to stdout. */
static bool check_config(const fc_args *a, const char *path)
{
    fc_config c;
    fc_error why = {0};
    if (fc_config_load(&c, path, a->override, a->n_override, &why) != FC_OK) {
        fc_make_printable(why.msg);
        printf("wrong  %s\n", why.msg);
        return false;
    }
    fc_config_free(&c);
    printf("ok     %s\n", path);
    return true;
}

static fc_status check_configs(const fc_args *a, fc_error *err)
{
    if (!a->config)
        return fc_fail(err, FC_EUSAGE,
                       "config check: no file given; usage: fcil config check CONFIG ...");
    int wrong = !check_config(a, a->config);
    for (int i = 0; i < a->n_extra; i++)
        wrong += !check_config(a, a->extra[i]);
    if (wrong)
        return fc_fail(err, FC_EUSAGE, "config check: %d of %d files wrong", wrong, a->n_extra + 1);
    return FC_OK;
}

/* Does the word name this option: "train.lr", "lr", "train", or nothing (all)? */
static bool named(const char *word, const char *section, const char *key)
{
    if (!word)
        return true;
    size_t n = strlen(section);
    if (strncmp(word, section, n) == 0 && word[n] == '.')
        return strcmp(word + n + 1, key) == 0;
    return strcmp(word, section) == 0 || strcmp(word, key) == 0;
}

/* Print the rows that a word names; their number. by, of: the option that asks for them and its
 * value, or NULL. */
static int explain_rows(const char *word, const char *section, const fc_opt *rows, int n,
                        const char *by, const char *of)
{
    int found = 0;
    for (int i = 0; i < n; i++) {
        if (!named(word, section, rows[i].key))
            continue;
        fc_print_option(stdout, "", section, &rows[i]);
        if (of)
            printf("    only with %s %s\n", by, of);
        found++;
    }
    return found;
}

static int explain(const char *word)
{
    static const struct {
        const char *section, *by;
    } rules[] = {{"merge", "merge.rule"}, {"task_merge", "tasks.merge"}};
    int found = 0;
    for (int i = 0; i < fc_config_n_opts; i++)
        found += explain_rows(word, fc_config_sections[i], &fc_config_opts[i], 1, NULL, NULL);
    found += explain_rows(word, "method", &fc_config_method_row, 1, NULL, NULL);
    for (int i = 0; i < fc_method_count; i++) {
        const fc_method *m = fc_method_table[i];
        found += explain_rows(word, "method", m->options, m->n_options, "method.name", m->name);
    }
    for (int i = 0; i < fc_piece_count; i++) {
        const fc_piece *p = fc_piece_table[i];
        found += explain_rows(word, p->section, p->options, p->n_options, NULL, NULL);
    }
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < fc_merge_count; i++) {
            const fc_merge_method *m = fc_merge_table[i];
            found += explain_rows(word, rules[k].section, m->options, m->n_options, rules[k].by,
                                  m->name);
        }
    return found;
}

static fc_status explain_one(const char *word, fc_error *err)
{
    if (explain(word) > 0)
        return FC_OK;
    /* the config reader knows which key was meant */
    char setting[128];
    char *override[] = {setting};
    fc_config c;
    fc_error why = {0};
    snprintf(setting, sizeof setting, "%.120s=", word);
    if (fc_config_load(&c, NULL, override, 1, &why) == FC_OK)
        fc_config_free(&c);
    const char *message = strstr(why.msg, "unknown");
    return fc_fail(err, FC_EUSAGE, "config explain: %s", message ? message : "unknown key");
}

static fc_status explain_all(const fc_args *a, fc_error *err)
{
    if (!a->config) {
        explain(NULL);
        return FC_OK;
    }
    FC_TRY(explain_one(a->config, err));
    for (int i = 0; i < a->n_extra; i++)
        FC_TRY(explain_one(a->extra[i], err));
    return FC_OK;
}

enum { VERBOSE, N_FLAGS };
static const fc_flag flags[N_FLAGS] = {
    [VERBOSE] = FC_FLAG_BOOL("--verbose", fc_args, verbose, "the meaning of each option above it")};

#define PART(name_, run_, rows)                                                                    \
    {                                                                                              \
        .name = "config " name_, .run = run_, .flag = flags, .n_flags = N_FLAGS, .takes = rows     \
    }
static const fc_verb parts[] = {PART("show", show_config, UINT64_C(1) << VERBOSE),
                                PART("explain", explain_all, 0), PART("check", check_configs, 0)};
enum { N_PARTS = sizeof parts / sizeof *parts };

static void print_config_help(void)
{
    fc_verbs_help(parts, N_PARTS,
                  "fcil config show [CONFIG] [key=value ...]      every value, as one YAML file\n"
                  "fcil config explain [KEY ...]                  what options mean and accept\n"
                  "fcil config check CONFIG ... [key=value ...]   validate files, run nothing\n"
                  "\n",
                  "\nKEY is an option (train.lr), a section (train) or a key (lr).\n");
}

fc_status fc_cmd_config(int argc, char **argv, fc_error *err)
{
    fc_args a = {0};
    return fc_verbs_run(parts, N_PARTS, print_config_help, &a, argc, argv, err);
}
