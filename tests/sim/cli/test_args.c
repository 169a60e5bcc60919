/* The command line behind a verb: words, overrides, flags. */
#include "sim/cli/args.h"
#include "tests/support/close.h"

#include <string.h>

/* A verb with a row of every kind. */
typedef struct options {
    fc_args args;
    bool resume, dry_run;
    int jobs;
    const char *x;
    fc_words label;
} options;

static const fc_flag flags[] = {
    FC_FLAG_SETTING("--out", "DIR", "run.out", "a folder"),
    FC_FLAG_DATA,
    FC_FLAG_THREADS,
    FC_FLAG_BOOL("--resume", options, resume, "go on"),
    FC_FLAG_BOOL("--dry-run", options, dry_run, "predict"),
    FC_FLAG_QUIET,
    FC_FLAG_COLOUR,
    FC_FLAG_OUTPUT("FILE", "a file"),
    FC_FLAG_INT("--jobs", "J", options, jobs, "1", 1, 8, "at the same time"),
    FC_FLAG_TEXT("--x", "NAME", options, x, "a name"),
    FC_FLAG_WORDS("--label", "OLD=NEW", options, label, "a label"),
};
enum { N_FLAGS = sizeof flags / sizeof *flags, JOBS = 8, X = 9, LABEL = 10 };

static const fc_verb run = {
    .name = "run", .flag = flags, .n_flags = N_FLAGS, .takes = (1u << X) - 1};
static const fc_verb plot = {.name = "plot",
                             .flag = flags,
                             .n_flags = N_FLAGS,
                             .takes = 1u << X | 1u << LABEL,
                             .words = true};

/* The line split at blanks; what comes of it in one text, or a word of the message. */
static const struct {
    const char *line, *want, *message;
} cases[] = {
    {"run", "", NULL},
    {"run a.yaml", "a.yaml", NULL},
    {"run a.yaml b c", "a.yaml +b +c", NULL},
    {"run train.lr=1 a.yaml fed.clients=3", "a.yaml train.lr=1 fed.clients=3", NULL},
    {"run lr=1 a.yaml", "a.yaml lr=1", NULL},
    {"run run.name=a=b", " run.name=a=b", NULL},
    {"run results/lr=1/config.yaml", "results/lr=1/config.yaml", NULL},
    {"run ./a=b.yaml", "./a=b.yaml", NULL},
    {"run --resume a.yaml --quiet", "a.yaml resume quiet", NULL},
    {"run --out=d a.yaml --threads 4 run.out=e", "a.yaml run.out=e run.out=d run.threads=4", NULL},
    {"run a.yaml --data x=y", "a.yaml data.root=x=y", NULL},
    {"run a.yaml -o -", "a.yaml >-", NULL},
    {"run a.yaml --out --resume", "a.yaml run.out=--resume", NULL},
    {"run --color never a.yaml", "a.yaml colour 2", NULL},
    {"run --color=always", " colour 1", NULL},
    {"run --color always --color auto", "", NULL},
    {"run --color blue", NULL, "run: --color: found 'blue', expected auto, always or never"},
    {"run --color newer", NULL, "expected auto, always or never; did you mean never?"},
    {"run --jobs 3", " jobs 3", NULL},
    {"run --jobs=9", NULL, "run: --jobs: found '9', expected a whole number from 1 to 8"},
    {"run --resume=true", " resume", NULL},
    {"run --resume=false --quiet", " quiet", NULL},
    {"run --color", NULL, "--color needs a value"},
    {"run -- --resume", "--resume", NULL},
    {"run a.yaml -- -x train.lr=2", "a.yaml train.lr=2 +-x", NULL},
    {"run -", "-", NULL},
    {"run -h", " help", NULL},
    {"run --help a.yaml", "a.yaml help", NULL},
    {"run --resum", NULL, "run: unknown option '--resum', did you mean --resume?"},
    {"run --resum=3", NULL, "did you mean --resume?"},
    {"run --json", NULL, "unknown option '--json'"},
    {"run -x", NULL, "unknown option '-x'"},
    {"run --x name", NULL, "unknown option '--x'"},
    {"run --help=no", NULL, "--help takes no value, found 'no'"},
    {"run --zzzzzzzzzzzz", NULL, "unknown option"},
    {"run --resume=yes", NULL, "--resume takes no value, found 'yes'"},
    {"run --out", NULL, "--out needs a value"},
    {"run --out=", NULL, "--out needs a value"},
    {"run a.yaml -o", NULL, "-o needs a value"},
};

static void describe(char *buf, size_t size, const options *o)
{
    const fc_args *a = &o->args;
    size_t n = (size_t)snprintf(buf, size, "%s", a->config ? a->config : "");
    for (int i = 0; i < a->n_override; i++)
        n += (size_t)snprintf(buf + n, size - n, " %s", a->override[i]);
    for (int i = 0; i < a->n_extra; i++)
        n += (size_t)snprintf(buf + n, size - n, " +%s", a->extra[i]);
    n +=
        (size_t)snprintf(buf + n, size - n, "%s%s%s%s%s%s", o->resume ? " resume" : "",
                         o->dry_run ? " dry_run" : "", a->quiet ? " quiet" : "",
                         a->help ? " help" : "", a->output ? " >" : "", a->output ? a->output : "");
    if (fc_args_given(a, JOBS))
        n += (size_t)snprintf(buf + n, size - n, " jobs %d", o->jobs);
    if (a->colour)
        snprintf(buf + n, size - n, " colour %d", a->colour);
}

static void test_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[256], got[512], *argv[16], *save = NULL;
        int argc = 0;
        snprintf(line, sizeof line, "%s", cases[i].line);
        for (char *w = strtok_r(line, " ", &save); w; w = strtok_r(NULL, " ", &save))
            argv[argc++] = w;
        options o = {0};
        fc_error err = {0};
        fc_status st = fc_args_parse(&o.args, &run, argc, argv, &err);
        print_message("%s: %s\n", cases[i].line, err.msg);
        if (cases[i].message) {
            const fc_args empty = {0};
            assert_int_equal(st, FC_EUSAGE);
            assert_non_null(strstr(err.msg, cases[i].message));
            assert_memory_equal(&o.args, &empty, sizeof empty);
        } else {
            assert_int_equal(st, FC_OK);
            describe(got, sizeof got, &o);
            assert_string_equal(got, cases[i].want);
        }
        fc_args_free(&o.args);
    }
}

/* $FCIL_DATA comes first, so that --data and data.root=... win over it. */
static void test_data_directory(void **state)
{
    (void)state;
    char *argv[] = {(char[]){"run"}, (char[]){"c.yaml"}, (char[]){"--data"}, (char[]){"/there"},
                    NULL};
    options o = {0};
    fc_error err = {0};
    setenv("FCIL_DATA", "/here", 1);
    assert_int_equal(fc_args_parse(&o.args, &run, 4, argv, &err), FC_OK);
    unsetenv("FCIL_DATA");
    assert_int_equal(o.args.n_override, 2);
    assert_string_equal(o.args.override[0], "data.root=/here");
    assert_string_equal(o.args.override[1], "data.root=/there");
    assert_int_equal(o.jobs, 1);
    assert_false(fc_args_given(&o.args, JOBS));
    fc_args_free(&o.args);
}

/* A verb that takes no settings leaves words with '=' alone, and has no use for $FCIL_DATA. */
static void test_words(void **state)
{
    (void)state;
    char *argv[] = {(char[]){"plot"},        (char[]){"a"},       (char[]){"x=1"},
                    (char[]){"--label=p=q"}, (char[]){"--label"}, (char[]){"r"},
                    (char[]){"--x"},         (char[]){"time"},    NULL};
    options o = {0};
    const fc_args *a = &o.args;
    setenv("FCIL_DATA", "/here", 1);
    assert_int_equal(fc_args_parse(&o.args, &plot, 8, argv, NULL), FC_OK);
    unsetenv("FCIL_DATA");
    assert_int_equal(a->n_override, 0);
    assert_string_equal(a->config, "a");
    assert_int_equal(a->n_extra, 1);
    assert_string_equal(a->extra[0], "x=1");
    assert_true(fc_args_given(a, X));
    assert_string_equal(o.x, "time");
    assert_int_equal(o.label.n, 2);
    assert_string_equal(o.label.v[0], "p=q");
    assert_string_equal(o.label.v[1], "r");
    fc_args_free(&o.args);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases),
                                       cmocka_unit_test(test_data_directory),
                                       cmocka_unit_test(test_words)};
    unsetenv("FCIL_DATA");
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
