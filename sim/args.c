/* The words of the command line behind the verb. */
#include "core/opt.h"
#include "sim/cmd.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLAGS_MAX = 16 };

/* Flags that set an option. */
static const struct {
    const char *flag, *key;
} spelled[] = {{"--out", "run.out"}, {"--data", "data.root"}, {"--threads", "run.threads"}};

static const char *option_of(const char *flag)
{
    for (size_t i = 0; i < sizeof spelled / sizeof *spelled; i++)
        if (strcmp(spelled[i].flag, flag) == 0)
            return spelled[i].key;
    return NULL;
}

/* The place of a flag's own value; NULL if there is none. */
static const char **value_of(fc_args *a, const char *flag)
{
    const struct {
        const char *flag, **to;
    } values[] = {{"-o", &a->output},
                  {"--dir", &a->dir},
                  {"--jobs", &a->jobs},
                  {"--shard", &a->shard},
                  {"--only", &a->only},
                  {"--stale", &a->stale},
                  {"--shards", &a->shards},
                  {"--time", &a->time},
                  {"--mem", &a->mem},
                  {"--partition", &a->partition},
                  {"--x", &a->x},
                  {"--bars", &a->bars},
                  {"--metric", &a->metric},
                  {"--baseline", &a->baseline},
                  {"--to", &a->to},
                  {"--base", &a->base},
                  {"--samples", &a->samples},
                  {"--fisher", &a->fisher},
                  {"--rule", &a->rule},
                  {"--rank", &a->rank}};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        if (strcmp(values[i].flag, flag) == 0)
            return values[i].to;
    return NULL;
}

/* The place that a flag without value sets; NULL if there is none. */
static int *toggle_of(fc_args *a, const char *flag)
{
    struct {
        const char *flag;
        int *to;
    } toggles[] = {{"--resume", &a->resume}, {"--dry-run", &a->dry_run},
                   {"--quiet", &a->quiet},   {"--verbose", &a->verbose},
                   {"--json", &a->json},     {"--help", &a->help},
                   {"-h", &a->help},         {"--retry-failed", &a->retry_failed},
                   {"--watch", &a->watch},   {"--recorded", &a->recorded}};
    for (size_t i = 0; i < sizeof toggles / sizeof *toggles; i++)
        if (strcmp(toggles[i].flag, flag) == 0)
            return toggles[i].to;
    return NULL;
}

/* key=value: only letters, digits, '_' and '.' before the '='. A file of such a name is written
 * ./key=value. */
static bool is_override(const char *word)
{
    size_t n = 0;
    while (isalnum((unsigned char)word[n]) || word[n] == '_' || word[n] == '.')
        n++;
    return n > 0 && word[n] == '=';
}

/* The flags of this verb: `allowed` split at blanks in buf. */
static int split_flags(const char *flags[FLAGS_MAX], char *buf)
{
    int n = 0;
    char *save = NULL;
    for (char *f = strtok_r(buf, " ", &save); f && n < FLAGS_MAX - 2;
         f = strtok_r(NULL, " ", &save))
        flags[n++] = f;
    flags[n++] = "--help";
    flags[n++] = "-h";
    return n;
}

/* What parsing holds beside the result. */
typedef struct parser {
    fc_args *a;
    const char *verb;
    bool settings; /* words may be key=value */
    const char *flags[FLAGS_MAX];
    int n_flags;
    char **spelled; /* (n_spelled) overrides made from --out and the like */
    int n_spelled;
    char *room; /* for their text */
} parser;

static fc_status set_colour(parser *p, const char *value, fc_error *err)
{
    static const char *const when[] = {
        [FC_COLOUR_AUTO] = "auto", [FC_COLOUR_ALWAYS] = "always", [FC_COLOUR_NEVER] = "never"};
    for (int i = 0; i < 3; i++)
        if (strcmp(value, when[i]) == 0) {
            p->a->colour = (fc_colour)i;
            return FC_OK;
        }
    return fc_fail(err, FC_EUSAGE, "%s: --color '%.60s', expected auto, always or never", p->verb,
                   value);
}

/* One flag; value is what follows its '=', or NULL; next the word behind it, or NULL. *used: next
 * was taken. */
static fc_status set_flag(parser *p, const char *flag, const char *value, const char *next,
                          bool *used, fc_error *err)
{
    bool known = false;
    for (int i = 0; i < p->n_flags; i++)
        known = known || strcmp(p->flags[i], flag) == 0;
    if (!known) {
        const char *near = flag[1] == '-' ? fc_nearest(flag, p->flags, p->n_flags) : NULL;
        return fc_fail(
            err, FC_EUSAGE, "%s: unknown option '%.60s'%s%s%s (fcil %s --help lists them)", p->verb,
            flag, near ? ", did you mean " : "", near ? near : "", near ? "?" : "", p->verb);
    }
    int *toggle = toggle_of(p->a, flag);
    if (toggle) {
        if (value)
            return fc_fail(err, FC_EUSAGE, "%s: %s takes no value, found '%.60s'", p->verb, flag,
                           value);
        *toggle = 1;
        return FC_OK;
    }
    if (!value) {
        value = next;
        *used = true;
    }
    if (!value || *value == '\0')
        return fc_fail(err, FC_EUSAGE, "%s: %s needs a value", p->verb, flag);
    if (strcmp(flag, "--color") == 0)
        return set_colour(p, value, err);
    const char **own = value_of(p->a, flag);
    if (own) {
        *own = value;
        return FC_OK;
    }
    if (strcmp(flag, "--label") == 0) {
        p->a->label[p->a->n_label++] = value;
        return FC_OK;
    }
    if (strcmp(flag, "--stats") == 0) {
        p->a->stats[p->a->n_stats++] = value;
        return FC_OK;
    }
    p->spelled[p->n_spelled++] = p->room;
    p->room += sprintf(p->room, "%s=%s", option_of(flag), value) + 1;
    return FC_OK;
}

static void add_word(parser *p, char *word)
{
    fc_args *a = p->a;
    if (p->settings && is_override(word))
        a->override[a->n_override++] = word;
    else if (!a->config)
        a->config = word;
    else
        a->extra[a->n_extra++] = word;
}

static fc_status parse(parser *p, int argc, char **argv, fc_error *err)
{
    bool flags_end = false;
    for (int i = 1; i < argc; i++) {
        bool flag = argv[i][0] == '-' && argv[i][1] != '\0' && !flags_end;
        if (!flag) {
            add_word(p, argv[i]);
        } else if (strcmp(argv[i], "--") == 0) {
            flags_end = true;
        } else {
            char name[64];
            size_t n = strcspn(argv[i], "=");
            snprintf(name, sizeof name, "%.*s", (int)(n < 63 ? n : 63), argv[i]);
            bool used = false;
            FC_TRY(set_flag(p, name, argv[i][n] ? argv[i] + n + 1 : NULL,
                            i + 1 < argc ? argv[i + 1] : NULL, &used, err));
            i += used;
        }
    }
    for (int i = 0; i < p->n_spelled; i++)
        p->a->override[p->a->n_override++] = p->spelled[i];
    return FC_OK;
}

fc_status fc_args_parse(fc_args *a, int argc, char **argv, const char *allowed, fc_error *err)
{
    *a = (fc_args){0};
    char buf[256];
    snprintf(buf, sizeof buf, "%s", allowed);
    parser p = {.a = a, .verb = argv[0]};
    p.n_flags = split_flags(p.flags, buf);
    p.settings = strcmp(p.flags[0], "WORDS") != 0;

    /* one block: the overrides, a list of the spelled ones, and their text ("data.root=" is shorter
     * than 16) */
    const char *data = p.settings ? getenv("FCIL_DATA") : NULL;
    size_t words = (size_t)argc + 1, text = 16 + (data ? strlen(data) : 0);
    for (int i = 0; i < argc; i++)
        text += strlen(argv[i]) + 16;
    a->override = malloc(2 * words * sizeof *a->override + text);
    a->extra = malloc(words * sizeof *a->extra);
    a->label = malloc(words * sizeof *a->label);
    a->stats = malloc(words * sizeof *a->stats);
    fc_status st = FC_OK;
    if (!a->override || !a->extra || !a->label || !a->stats) {
        st = fc_fail(err, FC_EFAIL, "out of memory");
    } else {
        p.spelled = a->override + words;
        p.room = (char *)(p.spelled + words);
        if (data && *data) { /* first, so that --data and data.root=... win over it */
            a->override[a->n_override++] = p.room;
            p.room += sprintf(p.room, "data.root=%s", data) + 1;
        }
        st = parse(&p, argc, argv, err);
    }
    if (st != FC_OK)
        fc_args_free(a);
    return st;
}

void fc_args_free(fc_args *a)
{
    free(a->override);
    free(a->extra);
    free(a->label);
    free(a->stats);
    *a = (fc_args){0};
}
