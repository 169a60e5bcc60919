#include "sim/cli/args.h"

#include "sim/io/text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLAGS_MAX = 64, NAME_MAX_BYTES = 63 };

/* --- reading ------------------------------------------------------------------------------------
 */

/* key=value: only letters, digits, '_' and '.' before the '='. A file of such a name is written
 * ./key=value. */
static bool is_setting(const char *word)
{
    size_t n = 0;
    while (isalnum((unsigned char)word[n]) || word[n] == '_' || word[n] == '.')
        n++;
    return n > 0 && word[n] == '=';
}

static bool has_flag(const fc_verb *v, int i)
{
    return v->takes >> i & 1;
}

/* What parsing holds beside the result. */
typedef struct parser {
    fc_args *a;
    const fc_verb *v;
    char **spelled; /* (n_spelled) settings made from --out and the like */
    int n_spelled;
    char *room;         /* for their text */
    const char **words; /* room for the values of options that are repeated, argc each */
} parser;

/* The row of an option, NULL for --help; *row stays -1 if the verb has no such option. */
static const fc_flag *find_flag(int *row, const fc_verb *v, const char *name)
{
    *row = -1;
    for (int i = 0; i < v->n_flags; i++)
        if (has_flag(v, i) && strcmp(v->flag[i].opt.key, name) == 0) {
            *row = i;
            return &v->flag[i];
        }
    return NULL;
}

static fc_status unknown_flag(const fc_verb *v, const char *name, fc_error *err)
{
    const char *names[FLAGS_MAX + 1];
    int n = 0;
    for (int i = 0; i < v->n_flags; i++)
        if (has_flag(v, i))
            names[n++] = v->flag[i].opt.key;
    names[n++] = "--help";
    const char *near = name[1] == '-' ? fc_nearest(name, names, n) : NULL;
    return fc_fail(err, FC_EUSAGE, "%s: unknown option '%.60s'%s%s%s (fcil %s --help lists them)",
                   v->name, name, near ? ", did you mean " : "", near ? near : "", near ? "?" : "",
                   v->name);
}

/* Its value into the field of the row, or among the settings. */
static fc_status set_flag(parser *p, const fc_flag *f, const char *value, fc_error *err)
{
    char where[128];
    void *field = (char *)p->a + f->opt.offset;
    if (f->sets) {
        p->spelled[p->n_spelled++] = p->room;
        p->room += sprintf(p->room, "%s=%s", f->sets, value) + 1;
        return FC_OK;
    }
    if (f->repeats) {
        fc_words *list = field;
        if (!list->v) {
            list->v = p->words;
            p->words += p->a->argc;
        }
        list->v[list->n++] = value;
        return FC_OK;
    }
    if (f->opt.type == FC_OPT_TEXT) { /* a path, say: any bytes */
        *(const char **)field = value;
        return FC_OK;
    }
    snprintf(where, sizeof where, "%s: %s", p->v->name, f->opt.key);
    return fc_opt_set(p->a, &f->opt, value, where, NULL, err);
}

/* One option; value is what follows its '=', or NULL; next the word behind it, or NULL. *used: next
 * was taken. */
static fc_status read_flag(parser *p, const char *name, const char *value, const char *next,
                           bool *used, fc_error *err)
{
    int row;
    const fc_flag *f = find_flag(&row, p->v, name);
    bool help = strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0;
    if (!f && !help)
        return unknown_flag(p->v, name, err);
    if (help || f->opt.type == FC_OPT_BOOL) {
        bool said = value && (strcmp(value, "true") == 0 || strcmp(value, "false") == 0);
        if (value && (help || !said))
            return fc_fail(err, FC_EUSAGE, "%s: %s takes no value, found '%.60s'", p->v->name, name,
                           value);
        value = value ? value : "true";
    } else if (!value) {
        value = next;
        *used = true;
    }
    if (!value || *value == '\0')
        return fc_fail(err, FC_EUSAGE, "%s: %s needs a value", p->v->name, name);
    if (help) {
        p->a->help = true;
        return FC_OK;
    }
    p->a->given |= UINT64_C(1) << row;
    return set_flag(p, f, value, err);
}

static void add_word(parser *p, char *word)
{
    fc_args *a = p->a;
    if (!p->v->words && is_setting(word))
        a->override[a->n_override++] = word;
    else if (!a->config)
        a->config = word;
    else
        a->extra[a->n_extra++] = word;
}

static fc_status read_words(parser *p, int argc, char **argv, fc_error *err)
{
    bool flags_end = false;
    for (int i = 1; i < argc; i++) {
        bool flag = argv[i][0] == '-' && argv[i][1] != '\0' && !flags_end;
        if (!flag) {
            add_word(p, argv[i]);
        } else if (strcmp(argv[i], "--") == 0) {
            flags_end = true;
        } else {
            char name[NAME_MAX_BYTES + 1];
            size_t n = strcspn(argv[i], "=");
            snprintf(name, sizeof name, "%.*s", (int)(n < NAME_MAX_BYTES ? n : NAME_MAX_BYTES),
                     argv[i]);
            bool used = false;
            FC_TRY(read_flag(p, name, argv[i][n] ? argv[i] + n + 1 : NULL,
                             i + 1 < argc ? argv[i + 1] : NULL, &used, err));
            i += used;
        }
    }
    for (int i = 0; i < p->n_spelled; i++)
        p->a->override[p->a->n_override++] = p->spelled[i];
    return FC_OK;
}

static fc_status set_defaults(parser *p, fc_error *err)
{
    for (int i = 0; i < p->v->n_flags; i++) /* also of those that only other verbs take */
        if (p->v->flag[i].opt.def)
            FC_TRY(set_flag(p, &p->v->flag[i], p->v->flag[i].opt.def, err));
    return FC_OK;
}

fc_status fc_args_parse(fc_args *a, const fc_verb *v, int argc, char **argv, fc_error *err)
{
    const char *data = v->words ? NULL : getenv("FCIL_DATA");
    size_t words = (size_t)argc + 1, repeated = 0, text = 16 + (data ? strlen(data) : 0);
    *a = (fc_args){.verb = v, .argc = argc, .argv = argv};
    for (int i = 0; i < v->n_flags; i++)
        repeated += v->flag[i].repeats;
    for (int i = 0; i < argc; i++)
        text += strlen(argv[i]) + 16; /* "data.root=" is shorter */
    /* one block: the settings, a list of the spelled ones, further words, the values of repeated
     * options, and the text of spelled settings */
    a->override = malloc((3 + repeated) * words * sizeof *a->override + text);
    if (!a->override)
        return fc_fail(err, FC_EFAIL, "out of memory");
    parser p = {.a = a, .v = v, .spelled = a->override + words};
    a->extra = p.spelled + words;
    p.words = (void *)(a->extra + words);
    p.room = (char *)(p.words + repeated * words);
    if (data && *data) { /* first, so that --data and data.root=... win over it */
        a->override[a->n_override++] = p.room;
        p.room += sprintf(p.room, "data.root=%s", data) + 1;
    }
    fc_status st = set_defaults(&p, err);
    if (st == FC_OK)
        st = read_words(&p, argc, argv, err);
    if (st != FC_OK)
        fc_args_free(a);
    return st;
}

void fc_args_free(fc_args *a)
{
    free(a->override);
    *a = (fc_args){0};
}

bool fc_args_given(const fc_args *a, int i)
{
    return a->given >> i & 1;
}

fc_console fc_args_console(const fc_args *a, fc_verbosity normal)
{
    return (fc_console){a->quiet     ? FC_QUIET
                        : a->verbose ? FC_VERBOSE
                                     : normal,
                        (fc_colour)a->colour};
}

/* --- help ---------------------------------------------------------------------------------------
 */

/* "--out DIR" */
static int print_name(char *buf, size_t size, const fc_flag *f)
{
    return snprintf(buf, size, "%s%s%s", f->opt.key, f->value ? " " : "", f->value ? f->value : "");
}

/* "of run, print: " where only some of n verbs take row i. */
static void describe_takers(char *buf, size_t size, const fc_verb *v, int n, int i)
{
    size_t used = 0;
    int takers = 0;
    *buf = '\0';
    for (int k = 0; k < n; k++)
        takers += has_flag(&v[k], i);
    for (int k = 0; k < n && takers < n; k++)
        if (has_flag(&v[k], i))
            used += (size_t)snprintf(buf + used, size - used, "%s%s", used ? ", " : "of ",
                                     strrchr(v[k].name, ' ') + 1);
    if (used)
        snprintf(buf + used, size - used, ": ");
}

/* What it does, the words of a choice and the default. */
static void describe_flag(char *buf, size_t size, const fc_flag *f)
{
    char words[256] = "";
    if (f->opt.type == FC_OPT_CHOICE)
        fc_opt_expected(&f->opt, words, sizeof words);
    bool with_default = f->opt.def && *f->opt.def;
    snprintf(buf, size, "%s%s%s%s%s%s%s", f->opt.help, *words || with_default ? " (" : "", words,
             *words && with_default ? "; " : "", with_default ? "default " : "",
             with_default ? f->opt.def : "", *words || with_default ? ")" : "");
}

/* The rows that any of n verbs takes, one below the other; texts begin in one column. */
static void print_flags(const fc_verb *v, int n)
{
    char name[64], text[1024], prefix[64];
    int width = 0;
    for (int i = 0; i < v->n_flags; i++) {
        int length = print_name(name, sizeof name, &v->flag[i]);
        width = length > width ? length : width;
    }
    snprintf(prefix, sizeof prefix, "%*s", width + 5, "");
    for (int i = 0; i < v->n_flags; i++) {
        bool taken = false;
        for (int k = 0; k < n; k++)
            taken = taken || has_flag(&v[k], i);
        if (!taken)
            continue;
        describe_takers(text, sizeof text, v, n, i);
        size_t used = strlen(text);
        describe_flag(text + used, sizeof text - used, &v->flag[i]);
        print_name(name, sizeof name, &v->flag[i]);
        printf("  %-*s", width + 3, name);
        fc_print_hanging(stdout, prefix, text);
    }
}

void fc_verb_help(const fc_verb *v)
{
    fputs(v->usage, stdout);
    print_flags(v, 1);
    fputs(v->notes ? v->notes : "", stdout);
}

void fc_verbs_help(const fc_verb *v, int n, const char *usage, const char *notes)
{
    fputs(usage, stdout);
    print_flags(v, n);
    fputs(notes, stdout);
}

/* --- running ------------------------------------------------------------------------------------
 */

static fc_status run_verb(const fc_verb *v, void (*help)(void), fc_args *a, int argc, char **argv,
                          fc_error *err)
{
    FC_TRY(fc_args_parse(a, v, argc, argv, err));
    fc_status s = FC_OK;
    if (!a->help)
        s = v->run(a, err);
    else if (help)
        help();
    else
        fc_verb_help(v);
    fc_args_free(a);
    return s;
}

fc_status fc_verb_run(const fc_verb *v, fc_args *a, int argc, char **argv, fc_error *err)
{
    return run_verb(v, NULL, a, argc, argv, err);
}

fc_status fc_verbs_run(const fc_verb *v, int n, void (*help)(void), fc_args *a, int argc,
                       char **argv, fc_error *err)
{
    const char *names[FLAGS_MAX] = {0}, *word = argc > 1 ? argv[1] : "";
    char all[256] = "", found[80] = "";
    size_t used = 0;
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        help();
        return FC_OK;
    }
    for (int i = 0; i < n; i++) {
        names[i] = strrchr(v[i].name, ' ') + 1;
        if (strcmp(word, names[i]) == 0)
            return run_verb(&v[i], help, a, argc - 1, argv + 1, err);
        used += (size_t)snprintf(all + used, sizeof all - used, "%s%s",
                                 i == 0       ? ""
                                 : i == n - 1 ? " or "
                                              : ", ",
                                 names[i]);
    }
    const char *near = fc_nearest(word, names, n);
    if (*word)
        snprintf(found, sizeof found, "found '%.60s', ", word);
    return fc_fail(err, FC_EUSAGE, "%s: %sexpected %s%s%s%s", argv[0], found, all,
                   near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}
