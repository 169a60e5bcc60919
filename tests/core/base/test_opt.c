/* Option rows: what each type accepts, refuses and prints; nearest words. */
#include "core/base/opt.h"
#include "tests/support/close.h"

#include <string.h>

typedef struct all {
    int whole, choice;
    int64_t seed;
    double real;
    bool flag;
    const char *text, *path;
    fc_ints list;
} all;

static const fc_opt whole = {.key = "whole",
                             .type = FC_OPT_INT,
                             .offset = offsetof(all, whole),
                             .def = "3",
                             .low = -5,
                             .high = 100};
static const fc_opt seed = {.key = "seed",
                            .type = FC_OPT_SEED,
                            .offset = offsetof(all, seed),
                            .def = "-1",
                            .low = -1,
                            .high = 9e15};
static const fc_opt real = {.key = "real",
                            .type = FC_OPT_REAL,
                            .offset = offsetof(all, real),
                            .def = "0.5",
                            .low = 0,
                            .high = 1e3};
static const fc_opt open = {.key = "open",
                            .type = FC_OPT_REAL,
                            .offset = offsetof(all, real),
                            .def = "1",
                            .low = 0,
                            .high = 1,
                            .open_low = true};
static const fc_opt flag = {
    .key = "flag", .type = FC_OPT_BOOL, .offset = offsetof(all, flag), .def = "true"};
static const fc_opt text = {
    .key = "text", .type = FC_OPT_TEXT, .offset = offsetof(all, text), .def = ""};
static const fc_opt path = {
    .key = "path", .type = FC_OPT_PATH, .offset = offsetof(all, path), .def = ""};
static const fc_opt word = {.key = "word",
                            .type = FC_OPT_CHOICE,
                            .offset = offsetof(all, choice),
                            .def = "crop",
                            .choices = "none|flip|crop"};
static const fc_opt list = {.key = "list",
                            .type = FC_OPT_INTS,
                            .offset = offsetof(all, list),
                            .def = "natural",
                            .low = 0,
                            .high = 1e6,
                            .choices = "natural|seed:*"};

/* Text that is taken, and how it is printed; or refused, and a word of the message. */
static const struct {
    const fc_opt *opt;
    const char *text, *printed, *message;
} cases[] = {
    {&whole, "7", "7", NULL},
    {&whole, "-5", "-5", NULL},
    {&whole, "+007", "7", NULL},
    {&whole, "-6", NULL, "found '-6', expected a whole number from -5 to 100"},
    {&whole, "101", NULL, "from -5 to 100"},
    {&whole, "1e1", NULL, "expected a whole number"},
    {&whole, "1.0", NULL, "expected a whole number"},
    {&whole, "0x1", NULL, "expected a whole number"},
    {&whole, " 1", NULL, "expected a whole number"},
    {&whole, "1 ", NULL, "expected a whole number"},
    {&whole, "", NULL, "found ''"},
    {&whole, "-", NULL, "expected a whole number"},
    {&whole, "4294967297", NULL, "expected a whole number"},
    {&whole, "18446744073709551617", NULL, "expected a whole number"},
    {&seed, "9000000000000000", "9000000000000000", NULL},
    {&seed, "9000000000000001", NULL, "from -1 to 9e+15"},
    {&seed, "-2", NULL, "from -1"},
    {&real, "0.1", "0.1", NULL},
    {&real, "1e-05", "1e-05", NULL},
    {&real, ".5", "0.5", NULL},
    {&real, "-0", "0", NULL},
    {&real, "1000", "1000", NULL},
    {&real, "1000.0000000001", NULL, "from 0 to 1000"},
    {&real, "0.1234567890123456789", "0.12345678901234568", NULL},
    {&real, "nan", NULL, "expected a number"},
    {&real, "inf", NULL, "expected a number"},
    {&real, "1e999", NULL, "expected a number"},
    {&real, "0x1p3", NULL, "expected a number"},
    {&real, "1,5", NULL, "expected a number"},
    {&real, "1e", NULL, "expected a number"},
    {&real, "", NULL, "expected a number"},
    {&real, "00000000000000000000000000000000000000000000000000000000000000001", NULL,
     "expected a number"},
    {&open, "0", NULL, "above 0, at most 1"},
    {&open, "1e-300", "1e-300", NULL},
    {&flag, "true", "true", NULL},
    {&flag, "false", "false", NULL},
    {&flag, "yes", NULL, "expected true or false"},
    {&flag, "True", NULL, "expected true or false"},
    {&flag, "1", NULL, "expected true or false"},
    {&text, "", "", NULL},
    {&text, "123", "123", NULL},
    {&text, "yes", "yes", NULL},
    {&text, "$HOME", "$HOME", NULL},
    {&text, "Zürich 数 𝔽", "Zürich 数 𝔽", NULL},
    {&text, "a\nb", NULL, "byte 2 is 0x0a"},
    {&text, "a\x7f", NULL, "printable"},
    {&text, "\xc3", NULL, "printable"},
    {&text, "\xc0\xaf", NULL, "printable"},
    {&text, "\xed\xa0\x80", NULL, "printable"},
    {&text, "\xf4\x90\x80\x80", NULL, "printable"},
    {&text, "\xc2\x85", NULL, "printable"},
    {&text, "\xe2\x80\xa8", NULL, "printable"},
    {&text, "\xef\xbb\xbf", NULL, "printable"},
    {&path, "a/b", "a/b", NULL},
    {&path, "$FC_DIR/x", "/d i$$r/x", NULL},
    {&path, "${FC_DIR}x", "/d i$$rx", NULL},
    {&path, "a$$b", "a$$b", NULL},
    {&path, "~", "/home/me", NULL},
    {&path, "~/x", "/home/me/x", NULL},
    {&path, "a~", "a~", NULL},
    {&path, "$FC_NONE/x", NULL, "FC_NONE is not set"},
    {&path, "a$", NULL, "a dollar sign is $$"},
    {&path, "${FC_DIR", NULL, "expected $NAME"},
    {&path, "${}", NULL, "expected $NAME"},
    {&path, "$5", NULL, "expected $NAME"},
    {&path, "~you/x", NULL, "expected ~ or ~/"},
    {&word, "flip", "flip", NULL},
    {&word, "flipp", NULL, "expected none, flip or crop; did you mean flip?"},
    {&word, "fli", NULL, "did you mean flip?"},
    {&word, "", NULL, "expected none, flip or crop"},
    {&word, "none|flip", NULL, "expected none, flip or crop"},
    {&list, "natural", "natural", NULL},
    {&list, "seed:01993", "seed:1993", NULL},
    {&list, "[]", "[]", NULL},
    {&list, "[ ]", "[]", NULL},
    {&list, "5", "[5]", NULL},
    {&list, "3,1, 2", "[3, 1, 2]", NULL},
    {&list, "[3, 1 ,2]", "[3, 1, 2]", NULL},
    {&list, "", NULL, "found ''"},
    {&list, "seed:", NULL, "expected natural, seed:N or a list"},
    {&list, "seed:-1", NULL, "expected natural, seed:N or a list"},
    {&list, "seed:*", NULL, "expected natural, seed:N or a list"},
    {&list, "naturl", NULL, "did you mean natural?"},
    {&list, "[1, 2", NULL, "a list of whole numbers"},
    {&list, "1, 2]", NULL, "a list of whole numbers"},
    {&list, "[", NULL, "a list of whole numbers"},
    {&list, "]", NULL, "a list of whole numbers"},
    {&list, "[1 2]", NULL, "a list of whole numbers"},
    {&list, "1,", NULL, "element 2: found ''"},
    {&list, "[1,,2]", NULL, "element 2: found ''"},
    {&list, "[1, 2000000]", NULL,
     "element 2: found '2000000', expected a whole number from 0 to 1000000"},
    {&list, "[1, -1]", NULL, "element 2"},
};

static void test_cases(void **state)
{
    (void)state;
    setenv("FC_DIR", "/d i$r", 1);
    setenv("HOME", "/home/me", 1);
    unsetenv("FC_NONE");
    fc_arena arena = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        all a = {0}, again = {0}, untouched = {0};
        fc_error err = {0};
        fc_status st = fc_opt_set(&a, cases[i].opt, cases[i].text, "here", &arena, &err);
        print_message("%s '%s': %s\n", cases[i].opt->key, cases[i].text, err.msg);
        if (cases[i].message) {
            assert_int_equal(st, FC_EUSAGE);
            assert_int_equal(strncmp(err.msg, "here: ", 6), 0);
            assert_non_null(strstr(err.msg, cases[i].message));
            assert_memory_equal(&a, &untouched, sizeof a);
            continue;
        }
        assert_int_equal(st, FC_OK);
        const char *printed = fc_opt_print(&a, cases[i].opt, &arena, &err);
        assert_string_equal(printed, cases[i].printed);
        assert_int_equal(fc_opt_set(&again, cases[i].opt, printed, "again", &arena, &err), FC_OK);
        assert_string_equal(fc_opt_print(&again, cases[i].opt, &arena, &err), printed);
    }
    fc_arena_free(&arena);
}

/* Every finite double is printed so that it reads back bit for bit. */
static void test_real_round_trip(void **state)
{
    (void)state;
    const fc_opt any = {.key = "any",
                        .type = FC_OPT_REAL,
                        .offset = offsetof(all, real),
                        .low = -1e308,
                        .high = 1e308};
    fc_arena arena = {0};
    fc_error err = {0};
    uint64_t bits = 88172645463325252u;
    for (int i = 0; i < 20000; i++) {
        bits ^= bits << 13, bits ^= bits >> 7, bits ^= bits << 17;
        all a, b;
        memcpy(&a.real, &bits, sizeof bits);
        if (!(fabs(a.real) < 1e308))
            continue;
        fc_mark mark = fc_arena_mark(&arena);
        const char *printed = fc_opt_print(&a, &any, &arena, &err);
        assert_int_equal(fc_opt_set(&b, &any, printed, "here", &arena, &err), FC_OK);
        assert_memory_equal(&a.real, &b.real, sizeof a.real);
        fc_arena_release(&arena, mark);
    }
    fc_arena_free(&arena);
}

static void test_fields(void **state)
{
    (void)state;
    const fc_opt rows[] = {whole, seed, real, flag, text, path, word, list};
    all a;
    fc_arena arena = {0};
    fc_error err = {0};
    memset(&a, 0x55, sizeof a);
    assert_int_equal(fc_opt_defaults(&a, rows, 8, &arena, &err), FC_OK);
    assert_int_equal(a.whole, 3);
    assert_int_equal(a.seed, -1);
    assert_close(a.real, 0.5, 0, 0);
    assert_true(a.flag);
    assert_string_equal(a.text, "");
    assert_string_equal(a.path, "");
    assert_int_equal(a.choice, 2);
    assert_string_equal(a.list.word, "natural");
    assert_int_equal(a.list.n, 0);
    assert_int_equal(fc_opt_set(&a, &list, "[4, 0, 9]", "here", &arena, &err), FC_OK);
    assert_null(a.list.word);
    assert_int_equal(a.list.n, 3);
    assert_int_equal(a.list.v[2], 9);

    char buf[8];
    assert_string_equal(fc_opt_choice(&word, 0, buf, sizeof buf), "none");
    assert_string_equal(fc_opt_choice(&word, 2, buf, sizeof buf), "crop");
    fc_arena_free(&arena);
}

static void test_nearest(void **state)
{
    (void)state;
    const char *const names[] = {"epochs", "batch", "lr", "lr_A", "optimizer", "weight_decay"};
    const struct {
        const char *word, *want;
    } table[] = {{"epochs", "epochs"},
                 {"epoch", "epochs"},
                 {"epohcs", "epochs"},
                 {"batchsize", "batch"},
                 {"lr_a", "lr_A"},
                 {"rl", "lr"},
                 {"optimiser", "optimizer"},
                 {"wd", NULL},
                 {"x", NULL},
                 {"", NULL},
                 {"momentum", NULL}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const char *got = fc_nearest(table[i].word, names, 6);
        print_message("%s -> %s\n", table[i].word, got ? got : "nothing");
        if (table[i].want)
            assert_string_equal(got, table[i].want);
        else
            assert_null(got);
    }
    char endless[5000];
    memset(endless, 'a', sizeof endless);
    endless[sizeof endless - 1] = '\0';
    const char *const both[] = {endless, "batch"};
    assert_null(fc_nearest(endless, both, 2));
    assert_string_equal(fc_nearest("bacth", both, 2), "batch");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_real_round_trip),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
