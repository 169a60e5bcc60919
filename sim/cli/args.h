/* The command line behind a verb: words, settings and options. Options are rows of a table, from
 * which they are read, checked and explained. */
#ifndef FC_ARGS_H
#define FC_ARGS_H

#include "core/base/opt.h"
#include "sim/io/progress.h"

/* What every verb is told. A verb has a struct of its own, which begins with this one. */
typedef struct fc_args {
    const struct fc_verb *verb;
    int argc;
    char **argv;        /* (argc) the verb and all behind it, as given */
    const char *config; /* first word that is neither setting nor option; NULL if absent */
    char **override; /* (n_override) settings "section.key=value", in order; then those that options
                        such as --out stand for */
    int n_override;
    char **extra; /* (n_extra) further words */
    int n_extra;
    uint64_t given; /* bit i: row i of the verb's table was given */
    bool help;
    /* of the rows below */
    bool quiet, verbose, json;
    int colour;         /* fc_colour */
    const char *output; /* -o; NULL if absent */
} fc_args;

/* A word list: an option that may be repeated. */
typedef struct fc_words {
    const char **v; /* (n) */
    int n;
} fc_words;

/* An option.
 *   key      "--out" or "-o"
 *   type     BOOL: takes no value (or =true, =false); TEXT: a const char *, as given; INT, REAL,
 *            CHOICE: as core/base/opt.h has it
 *   offset   in the struct of the verb
 *   def      NULL: the field stays 0 */
typedef struct fc_flag {
    fc_opt opt;
    const char *value; /* what help calls its value: "DIR" */
    const char *sets;  /* no field: it is another spelling of this option of the config */
    bool repeats;      /* the field is an fc_words */
} fc_flag;

/* Rows in one line each. in: the struct of the verb. */
#define FC_FLAG(key, value, type, in, field, def, low, high, choices, help)                        \
    {                                                                                              \
        {key, FC_OPT_##type, offsetof(in, field), def, low, high, false, choices, help}, value,    \
            NULL, false                                                                            \
    }
#define FC_FLAG_BOOL(key, in, field, help)                                                         \
    FC_FLAG(key, NULL, BOOL, in, field, NULL, 0, 0, NULL, help)
#define FC_FLAG_TEXT(key, value, in, field, help)                                                  \
    FC_FLAG(key, value, TEXT, in, field, NULL, 0, 0, NULL, help)
#define FC_FLAG_INT(key, value, in, field, def, low, high, help)                                   \
    FC_FLAG(key, value, INT, in, field, def, low, high, NULL, help)
#define FC_FLAG_CHOICE(key, value, in, field, def, choices, help)                                  \
    FC_FLAG(key, value, CHOICE, in, field, def, 0, 0, choices, help)
#define FC_FLAG_WORDS(key, value, in, field, help)                                                 \
    {                                                                                              \
        {key, FC_OPT_TEXT, offsetof(in, field), NULL, 0, 0, false, NULL, help}, value, NULL, true  \
    }
#define FC_FLAG_SETTING(key, value, option, help)                                                  \
    {                                                                                              \
        {key, FC_OPT_TEXT, 0, NULL, 0, 0, false, NULL, help}, value, option, false                 \
    }

/* Rows that several verbs have. */
#define FC_FLAG_DATA                                                                               \
    FC_FLAG_SETTING("--data", "DIR", "data.root",                                                  \
                    "data directory, same as data.root=DIR (else $FCIL_DATA, ./data)")
#define FC_FLAG_THREADS                                                                            \
    FC_FLAG_SETTING("--threads", "N", "run.threads",                                               \
                    "same as run.threads=N; results do not depend on it")
#define FC_FLAG_QUIET FC_FLAG_BOOL("--quiet", fc_args, quiet, "no progress, only errors")
#define FC_FLAG_VERBOSE FC_FLAG_BOOL("--verbose", fc_args, verbose, "more lines about progress")
#define FC_FLAG_COLOUR                                                                             \
    FC_FLAG_CHOICE("--color", "WHEN", fc_args, colour, "auto", FC_COLOUR_CHOICES,                  \
                   "colour of the progress display; auto: unless NO_COLOR is set")
#define FC_FLAG_JSON(help_) FC_FLAG_BOOL("--json", fc_args, json, help_)
#define FC_FLAG_OUTPUT(value_, help_) FC_FLAG_TEXT("-o", value_, fc_args, output, help_)

/* A verb, or one of those that share a table of rows. */
typedef struct fc_verb {
    const char *name; /* as messages call it: "sweep run" */
    fc_status (*run)(const fc_args *a, fc_error *err);
    const fc_flag *flag; /* (n_flags) */
    int n_flags;
    uint64_t takes;            /* bits 1 << i of its rows; FC_FLAGS_ALL */
    bool words;                /* it has no settings: key=value is a word */
    const char *usage, *notes; /* help: the text before its options, and (not NULL) behind them */
} fc_verb;
#define FC_FLAGS_ALL UINT64_MAX

/* Reads the words behind argv[0], the verb, into *a and the struct around it, which is {0} before.
 * Errors: FC_EUSAGE: an option that the verb does not have (says the nearest), without its value or
 * with a wrong one. On success the caller calls fc_args_free; on error *a is {0}. */
fc_status fc_args_parse(fc_args *a, const fc_verb *v, int argc, char **argv, fc_error *err);
void fc_args_free(fc_args *a); /* accepts {0} */

/* Was the option in row i given? */
bool fc_args_given(const fc_args *a, int i);
/* What progress is wanted: normal, unless --quiet or --verbose. */
fc_console fc_args_console(const fc_args *a, fc_verbosity normal);

/* Help of a verb: its usage, its options one below the other, the text behind them. */
void fc_verb_help(const fc_verb *v);

/* Parse, then help or v->run. */
fc_status fc_verb_run(const fc_verb *v, fc_args *a, int argc, char **argv, fc_error *err);

/* The same for one of the n verbs "<group> <part>", which argv[1] names; help is called where
 * it is asked for. */
fc_status fc_verbs_run(const fc_verb *v, int n, void (*help)(void), fc_args *a, int argc,
                       char **argv, fc_error *err);

/* Help of all n, which share a table of rows: usage, the options, each with the verbs that take it
 * unless all do, and the text behind them. */
void fc_verbs_help(const fc_verb *v, int n, const char *usage, const char *notes);

#endif
