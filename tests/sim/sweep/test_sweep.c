/* From the file of a sweep to its runs: axes, draws, conditions, duplicates, ids. */
#include "sim/sweep/sweep_load.h"

#include "sim/config/config.h"
#include "tests/support/tmp.h"

#include <math.h>

static fc_tmp tmp;

static void load_with(fc_sweep *s, const char *text, char *override)
{
    fc_error err = {0};
    const char *path = fc_tmp_put(&tmp, "sweep.yaml", text, strlen(text));
    fc_status st = fc_sweep_load(s, path, &override, override != NULL, &err);
    if (st != FC_OK)
        print_error("%s\n", err.msg);
    assert_int_equal(st, FC_OK);
}

/* A sweep of base.yaml with these lines. */
static void load(fc_sweep *s, const char *lines)
{
    char text[4000];
    snprintf(text, sizeof text, "name: s\nconfig: base.yaml\n%s", lines);
    load_with(s, text, NULL);
}

/* The values of a column, separated by blanks. */
static const char *values(const fc_sweep *s, const char *column)
{
    static char text[8][2000];
    static int next;
    char *to = text[next++ % 8];
    int c = fc_sweep_column(s, column);
    size_t used = 0;
    assert_true(c >= 0);
    to[0] = '\0';
    for (int i = 0; i < s->n_runs; i++)
        used += (size_t)snprintf(to + used, sizeof text[0] - used, "%s%s", i ? " " : "",
                                 s->run[i].value[c]);
    return to;
}

/* The last axis is the fastest, seeds faster still; settings count without seeds. */
static void test_product(void **state)
{
    (void)state;
    fc_sweep s;
    load(&s, "axes:\n  method.name: [lorm, fedavg]\n  fed.beta: [0.5, 1e-1]\nseeds: [3, 1]\n");
    assert_int_equal(s.n_runs, 8);
    assert_int_equal(s.n_settings, 4);
    assert_string_equal(values(&s, "method.name"),
                        "lorm lorm lorm lorm fedavg fedavg fedavg fedavg");
    assert_string_equal(values(&s, "fed.beta"), "0.5 0.5 0.1 0.1 0.5 0.5 0.1 0.1");
    assert_string_equal(values(&s, "run.seed"), "3 1 3 1 3 1 3 1");
    for (int i = 0; i < 8; i++)
        assert_int_equal(s.run[i].setting, i / 2);
    assert_string_equal(s.run[1].method, "lorm");
    assert_true(s.run[1].seed == 1);
    assert_null(s.baseline[0]);
    assert_int_equal(fc_sweep_column(&s, "train.lr"), -1);
    fc_sweep_free(&s);
}

/* The id is the hash of the config that the overrides make; the folder has it in its name. */
static void test_id(void **state)
{
    (void)state;
    fc_sweep s;
    fc_config c;
    fc_error err = {0};
    char hash[9], dir[200];
    load_with(&s,
              "name: s\nconfig: base.yaml\nset: {fed.rounds: 2}\naxes:\n  train.lr: [0.1, 0.2]\n",
              (char[]){"run.out=there"});
    for (int i = 0; i < 2; i++) {
        const fc_sweep_run *r = &s.run[i];
        assert_int_equal(fc_config_load(&c, r->config, r->override, r->n_override, &err), FC_OK);
        assert_int_equal(c.fed.rounds, 2);
        assert_close(c.train.lr, i ? 0.2 : 0.1, 0, 0);
        assert_string_equal(c.run.name, "s");
        assert_string_equal(c.run.out, "there");
        assert_int_equal(fc_config_hash(hash, &c, &err), FC_OK);
        assert_string_equal(hash, r->id);
        snprintf(dir, sizeof dir, "there/s/lorm-s0-%s", hash);
        assert_string_equal(r->dir, dir);
        assert_int_equal(r->rows, 2 * 3);
        assert_ptr_equal(fc_sweep_find(&s, hash), r);
        fc_config_free(&c);
    }
    assert_null(fc_sweep_find(&s, "00000000"));
    fc_sweep_free(&s);
}

static void test_spaced(void **state)
{
    (void)state;
    fc_sweep s;
    load(&s, "axes:\n  train.lr: {log: [1e-4, 1e-2], n: 5}\n");
    assert_string_equal(values(&s, "train.lr"), "0.0001 0.000316228 0.001 0.00316228 0.01");
    fc_sweep_free(&s);
    load(&s, "axes:\n  train.lr: {linear: [0, 1], n: 4}\n");
    assert_string_equal(values(&s, "train.lr"), "0 0.333333 0.666667 1");
    fc_sweep_free(&s);
    load(&s, "axes:\n  train.lr: {range: [0.1, 0.5, 0.1]}\n");
    assert_string_equal(values(&s, "train.lr"), "0.1 0.2 0.3 0.4 0.5");
    fc_sweep_free(&s);
    load(&s, "axes:\n  train.lr: {range: [0, 0.3, 0.1]}\n"); /* 0.3 / 0.1 < 3 */
    assert_string_equal(values(&s, "train.lr"), "0 0.1 0.2 0.3");
    fc_sweep_free(&s);
    load(&s, "axes:\n  train.lr: {linear: [0.25, 0.333333333], n: 2}\n"); /* ends as they are */
    assert_string_equal(values(&s, "train.lr"), "0.25 0.333333333");
    fc_sweep_free(&s);
    load(&s, "axes:\n  train.batch: {range: [1, 6, 2]}\n");
    assert_string_equal(values(&s, "train.batch"), "1 3 5");
    fc_sweep_free(&s);
    load(&s, "axes:\n  train.batch: {log: [1, 10], n: 3}\n"); /* whole, as the option is */
    assert_string_equal(values(&s, "train.batch"), "1 3 10");
    fc_sweep_free(&s);
    load(&s, "axes:\n  train.lr: {linear: [0.25, 0.75], n: 1}\n");
    assert_string_equal(values(&s, "train.lr"), "0.25");
    fc_sweep_free(&s);
}

static void test_zipped(void **state)
{
    (void)state;
    fc_sweep s;
    load(&s, "axes:\n  \"train.lr_A, train.lr_B\": [[1e-3, 2e-3], [3e-3, 4e-3]]\n"
             "  tasks.sizes: [[2, 4], [3, 3]]\n");
    assert_string_equal(values(&s, "train.lr_A"), "0.001 0.001 0.003 0.003");
    assert_string_equal(values(&s, "train.lr_B"), "0.002 0.002 0.004 0.004");
    assert_string_equal(values(&s, "tasks.sizes"), "[2, 4] [3, 3] [2, 4] [3, 3]");
    fc_sweep_free(&s);
}

static const char draws[] = "draws: {count: 200, seed: 7}\naxes:\n"
                            "  train.lr: {log: [1e-4, 1e-2]}\n  train.batch: {linear: [1, 4]}\n";

/* Inside the bounds, all over them, jointly, and the same again. */
static void test_drawn(void **state)
{
    (void)state;
    fc_sweep s, again;
    int low = 0, batch[5] = {0};
    load(&s, draws);
    assert_int_equal(s.n_runs, 200);
    for (int i = 0; i < 200; i++) {
        double lr = strtod(s.run[i].value[0], NULL);
        assert_true(lr >= 1e-4 && lr <= 1e-2);
        low += lr < 1e-3; /* the middle on the scale of logarithms */
        long b = strtol(s.run[i].value[1], NULL, 10);
        assert_true(b >= 1 && b <= 4);
        batch[b]++;
    }
    assert_true(low > 70 && low < 130);
    for (int b = 1; b <= 4; b++)
        assert_true(batch[b] > 25 && batch[b] < 75);
    load(&again, draws);
    assert_string_equal(s.run[199].id, again.run[199].id);
    fc_sweep_free(&again);
    /* another axis in front shifts nothing */
    load(&again, "draws: {count: 3, seed: 7}\naxes:\n  train.batch: {linear: [1, 4]}\n"
                 "  train.epochs: {log: [1, 99]}\n  train.lr: {log: [1e-4, 1e-2]}\n");
    for (int i = 0; i < 3; i++) {
        assert_string_equal(again.run[i].value[0], s.run[i].value[1]);
        assert_string_equal(again.run[i].value[2], s.run[i].value[0]);
    }
    fc_sweep_free(&again);
    /* another seed, other values; six digits may lie outside of the bounds */
    load(&again, "draws: {count: 3, seed: 8}\naxes:\n  train.lr: {log: [1e-4, 1e-2]}\n"
                 "  train.lr_A: {linear: [0.12345671, 0.12345672]}\n");
    for (int i = 0; i < 3; i++) {
        double a = strtod(again.run[i].value[1], NULL);
        assert_string_not_equal(again.run[i].value[0], s.run[i].value[0]);
        assert_true(a >= 0.12345671 && a <= 0.12345672);
    }
    fc_sweep_free(&again);
    fc_sweep_free(&s);
}

/* Options of one method alone do not multiply the runs of another. */
static void test_own_options(void **state)
{
    (void)state;
    fc_sweep s;
    load(&s, "axes:\n  method.name: [lorm, fedavg]\n  method.alpha_head: [0.25, 0.5, 0.75]\n");
    assert_int_equal(s.n_runs, 4);
    assert_int_equal(s.duplicates, 2);
    assert_int_equal(s.n_settings, 4);
    assert_string_equal(values(&s, "method.alpha_head"), "0.25 0.5 0.75 ");
    fc_sweep_free(&s);
    /* values of equal meaning are one run */
    load(&s, "axes:\n  train.lr: [0.001, 1e-3, 0.002]\nseeds: 2\n");
    assert_int_equal(s.n_runs, 4);
    assert_int_equal(s.n_settings, 2);
    fc_sweep_free(&s);
}

/* Configs that differ only in the place of their inputs are runs of their own. */
static void test_configs(void **state)
{
    (void)state;
    fc_sweep s;
    static const char a[] = "backbone: {weights: a.bin}\n", b[] = "backbone: {weights: b.bin}\n";
    fc_tmp_put(&tmp, "a.yaml", a, sizeof a - 1);
    fc_tmp_put(&tmp, "b.yaml", b, sizeof b - 1);
    load_with(&s, "name: s\nconfig: [a.yaml, b.yaml]\n", NULL);
    assert_int_equal(s.n_runs, 2);
    assert_string_equal(values(&s, "config"), "a.yaml b.yaml");
    fc_sweep_free(&s);
    load(&s, "axes:\n  backbone.weights: [a.bin, b.bin]\n");
    assert_int_equal(s.n_runs, 2);
    fc_sweep_free(&s);
}

/* What is left of four learning rates and two methods. */
static void test_where(void **state)
{
    (void)state;
    static const struct {
        const char *where;
        int left;
    } cases[] = {
        {"train.lr < 3", 4},
        {"train.lr <= 3", 6},
        {"train.lr > 3 or train.lr >= 2", 6},
        {"train.lr != 2 and train.lr != 4", 4},
        {"train.lr == 2.0 or train.lr == 4e0", 4},
        {"not train.lr == 2", 6},
        {"not (train.lr == 2 or method.name == lorm)", 3},
        {"not not train.lr == 2", 2},
        {"train.lr in [1, 4, 17]", 4},
        {"method.name in ['lorm']", 4},
        {"method.name == lorm and train.lr == 1 or train.lr == 2", 3}, /* and binds tighter */
        {"method.name == lorm and (train.lr == 1 or train.lr == 2)", 2},
        {"train.lr <= train.lr_A", 6},
        {"3 < train.lr", 2},
        {"train.schedule == \"constant\"", 8},
        {"merge.weighted != false", 8},
        /* options that fedavg does not have are neither equal nor different in size */
        {"method.alpha_head <= 1", 4},
        {"not method.alpha_head <= 1", 4},
        {"method.alpha_head >= 0", 4},
        {"method.alpha_head != 2", 8},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fc_sweep s;
        char text[600];
        snprintf(text, sizeof text,
                 "set: {train.lr_A: 3}\naxes:\n  method.name: [lorm, fedavg]\n"
                 "  train.lr: [1, 2, 3, 4]\nwhere:\n  - %s\n  - fed.beta > 0\n",
                 cases[i].where);
        print_message("%s\n", cases[i].where);
        load(&s, text);
        assert_int_equal(s.n_runs, cases[i].left);
        assert_int_equal(s.excluded, 8 - cases[i].left);
        fc_sweep_free(&s);
    }
}

/* Parentheses are counted as far as they are open. */
static void test_long_where(void **state)
{
    (void)state;
    fc_sweep s;
    char text[2000] = "where: (train.lr < 1)";
    for (int i = 0; i < 60; i++)
        strcat(text, " and (train.lr < 1)");
    load(&s, strcat(text, "\n"));
    assert_int_equal(s.n_runs, 1);
    fc_sweep_free(&s);
}

static void test_baseline(void **state)
{
    (void)state;
    fc_sweep s;
    load(&s, "axes:\n  method.name: [lorm, fedavg]\n  train.lr: [0.001, 0.01]\n"
             "baseline: {train.lr: 1e-2}\n");
    assert_null(s.baseline[0]);
    assert_string_equal(s.baseline[1], "0.01");
    fc_sweep_free(&s);
}

/* Rungs come one after the other; a setting keeps its number. */
static void test_halving(void **state)
{
    (void)state;
    fc_sweep s;
    load(&s,
         "axes:\n  train.lr: [0.1, 0.2]\nseeds: 2\nsearch:\n  halving:\n    budget: fed.rounds\n"
         "    values: [1, 2, 4]\n    keep: 0.25\n    metric: aia\n");
    assert_int_equal(s.halving.rungs, 3);
    assert_int_equal(s.n_runs, 12);
    assert_int_equal(s.n_settings, 2);
    assert_string_equal(values(&s, "fed.rounds"), "1 1 1 1 2 2 2 2 4 4 4 4");
    for (int i = 0; i < 12; i++) {
        assert_int_equal(s.run[i].rung, i / 4);
        assert_int_equal(s.run[i].setting, i % 4 / 2);
    }
    assert_close(s.halving.keep, 0.25, 0, 0);
    assert_string_equal(s.halving.metric, "aia");
    assert_true(s.on_test_images);
    fc_sweep_free(&s);
}

/* The command line wins over `set`, but not over what has several values. */
static void test_command_line(void **state)
{
    (void)state;
    fc_sweep s;
    fc_error err = {0};
    static const char text[] = "name: s\nconfig: base.yaml\nset: {fed.rounds: 2}\nseeds: 2\n";
    load_with(&s, text, (char[]){"fed.rounds=9"});
    assert_int_equal(s.run[0].rows, 2 * 10);
    fc_sweep_free(&s);
    char *override = (char[]){"run.seed=9"};
    fc_status st = fc_sweep_load(&s, fc_tmp_path(&tmp, "sweep.yaml"), &override, 1, &err);
    assert_says(st, &err, FC_EUSAGE, "argument 1: run.seed has several values", "sweep.yaml:4:1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_product),      cmocka_unit_test(test_id),
        cmocka_unit_test(test_spaced),       cmocka_unit_test(test_zipped),
        cmocka_unit_test(test_drawn),        cmocka_unit_test(test_own_options),
        cmocka_unit_test(test_configs),      cmocka_unit_test(test_where),
        cmocka_unit_test(test_baseline),     cmocka_unit_test(test_halving),
        cmocka_unit_test(test_command_line), cmocka_unit_test(test_long_where),
    };
    static const char base[] = "tasks: {count: 2}\n";
    tmp = fc_tmp_new();
    fc_tmp_put(&tmp, "base.yaml", base, sizeof base - 1);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fc_tmp_remove(&tmp);
    return failed != 0;
}
