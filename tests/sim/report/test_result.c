/* CSV files and run directories, read back; runs that differ in their seeds only, put together. */
#include "sim/report/result.h"

#include "sim/io/csv.h"
#include "tests/support/close.h"
#include "tests/support/tmp.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

FC_TMP_FIXTURE

static const char *put(const char *name, const char *text)
{
    return fc_tmp_put(&tmp, name, text, strlen(text));
}

static void test_csv(void **state)
{
    (void)state;
    fc_csv csv;
    fc_arena arena = {0};
    fc_error err = {0};
    assert_int_equal(fc_csv_read(&csv, put("a.csv", "x,y\r\n1,\r\n2.5,word\n3"), &arena, &err),
                     FC_OK);
    assert_int_equal(csv.columns, 2);
    assert_int_equal(csv.rows, 2); /* the last line is still being written */
    assert_int_equal(fc_csv_column(&csv, "y"), 1);
    assert_int_equal(fc_csv_column(&csv, "z"), -1);
    assert_string_equal(csv.cell[3], "word");
    assert_close(fc_csv_number(&csv, 1, 0), 2.5, 0, 0);
    assert_true(isnan(fc_csv_number(&csv, 0, 1)) && isnan(fc_csv_number(&csv, 1, 1)));
    assert_true(isnan(fc_csv_number(&csv, 0, -1)) && isnan(fc_csv_number(&csv, 2, 0)));

    assert_int_equal(fc_csv_read(&csv, put("a.csv", "x,y\n1,2\n1,2,3\n"), &arena, &err), FC_EDATA);
    assert_non_null(strstr(err.msg, "a.csv:3: 3 cells, expected 2"));
    err = (fc_error){0};
    assert_int_equal(fc_csv_read(&csv, put("a.csv", ""), &arena, &err), FC_EDATA);
    assert_non_null(strstr(err.msg, "expected a header"));
    err = (fc_error){0};
    /* a last line that a crash filled with zeros, and zeros where there should be text */
    static const char torn[] = "x,y\n1,2\n\0\0", zero[] = "x,y\n1,\0\n";
    const char *file = fc_tmp_put(&tmp, "a.csv", torn, sizeof torn - 1);
    assert_int_equal(fc_csv_read(&csv, file, &arena, &err), FC_OK);
    assert_int_equal(csv.rows, 1);
    file = fc_tmp_put(&tmp, "a.csv", zero, sizeof zero - 1);
    assert_says(fc_csv_read(&csv, file, &arena, &err), &err, FC_EDATA, "a.csv", "a zero byte");
    fc_arena_free(&arena);
}

static void join_cells(void *ctx, const char *const *cell)
{
    strcat(strcat(strcat(strcat(ctx, cell[0]), "|"), cell[1]), "|");
    strcat(strcat(ctx, cell[2]), ";");
}

/* Columns in the order that was asked for; what is not there is empty. */
static void test_csv_each(void **state)
{
    (void)state;
    static const char *const columns[] = {"c", "none", "a"};
    char got[64] = "";
    fc_error err = {0};
    const char *file = put("a.csv", "a,,c\r\n1,2,3\r\n4\n,,5\n6,7,8");
    assert_int_equal(fc_csv_each(file, columns, 3, join_cells, got, &err), FC_OK);
    assert_string_equal(got, "3||1;||4;5||;");
    assert_says(fc_csv_each(fc_tmp_path(&tmp, "no.csv"), columns, 3, join_cells, got, &err), &err,
                FC_EDATA, "no.csv", "cannot open");
}

/* Folder `name` with a config and, if rows, a tasks.csv. */
static const char *run_dir(const char *name, const char *config, const char *rows)
{
    char file[64];
    snprintf(file, sizeof file, "%s/config.yaml", name);
    put(file, config);
    snprintf(file, sizeof file, "%s/tasks.csv", name);
    if (rows)
        put(file, rows);
    return fc_tmp_path(&tmp, name);
}

#define TASKS "after_task,eval_task,correct,total,acc,acc_masked\n"

static void test_one_run(void **state)
{
    (void)state;
    fc_result r;
    fc_error err = {0};
    const char *dir = run_dir("one", "tasks: {count: 3}\n",
                              TASKS "1,1,30,40,75.0000,80.0000\n2,1,20,40,50.0000,75.0000\n"
                                    "2,2,30,60,50.0000,90.0000\n3,1,1,40,2.5,2.5\n");
    assert_int_equal(fc_result_read(&r, dir, &err), FC_OK);
    assert_int_equal(r.state, FC_RESULT_OPEN);
    assert_int_equal(r.acc.tasks, 3);
    assert_int_equal(r.acc.done, 2); /* the third row of the matrix is not complete */
    assert_close(fc_acc_micro(&r.acc, 1), 50, 0, 1e-12);
    assert_close(fc_result_masked(&r), 84, 0, 1e-12); /* (30 + 54) / 100 */
    fc_result_free(&r);

    /* memory follows from what is there, not from what is to come */
    run_dir("one", "tasks: {count: 100000}\n", NULL);
    assert_int_equal(fc_result_read(&r, dir, &err), FC_OK);
    assert_int_equal(r.acc.tasks, 100000);
    assert_int_equal(r.acc.done, 2);
    assert_int_equal(r.acc.ld, 3);
    assert_close(fc_result_masked(&r), 84, 0, 1e-12);
    fc_result_free(&r);

    put("one/FAILED", "client 3: the loss is NaN\n");
    assert_int_equal(fc_result_read(&r, dir, &err), FC_OK);
    assert_int_equal(r.state, FC_RESULT_FAILED);
    assert_string_equal(r.why, "client 3: the loss is NaN");
    fc_result_free(&r);

    static const struct {
        const char *rows, *message;
    } bad[] = {{TASKS "1,1,50,40,0,0\n", "tasks.csv:2"},
               {TASKS "1,1,5,40,0,0\n3,1,5,40,0,0\n", "tasks.csv:3"},
               {TASKS "4,1,5,40,0,0\n", "tasks.csv:2"},
               {TASKS "1,1,5,40,0,100.1\n", "tasks.csv:2: expected task 1 after task 1: images"},
               {TASKS "1,1,1,1,0,0\n2,1,1,1,0,0\n2,2,1,1,0,0\n3,1,1,1,0,0\n3,2,1,1,0,0\n"
                      "3,3,1,1,0,0\n4,1,1,1,0,0\n",
                "tasks.csv:8: a row too many for 3 tasks"},
               {TASKS "1,1,5,40.5,0,0\n", "tasks.csv:2"},
               {"after_task\n1\n", "tasks.csv:2"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        dir = run_dir("one", "tasks: {count: 3}\n", bad[i].rows);
        assert_int_equal(fc_result_read(&r, dir, &err), FC_EDATA);
        assert_non_null(strstr(err.msg, bad[i].message));
        err = (fc_error){0};
    }
    assert_int_equal(fc_result_read(&r, tmp.dir, &err), FC_EDATA);
    assert_non_null(strstr(err.msg, "no config.yaml"));
}

/* FAILED is told above; results that are kept have no DONE, but a summary. */
static void test_state(void **state)
{
    (void)state;
    fc_result r;
    static const struct {
        const char *file;
        fc_result_state state;
    } cases[] = {{"old/summary.json", FC_RESULT_DONE},
                 {"stopped/STOPPED", FC_RESULT_STOPPED},
                 {"done/DONE", FC_RESULT_DONE}};
    for (int i = 0; i < 3; i++) {
        char name[16];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(cases[i].file, "/"), cases[i].file);
        const char *dir = run_dir(name, "tasks: {count: 3}\n", NULL);
        put(cases[i].file, "{}\n");
        assert_int_equal(fc_result_read(&r, dir, NULL), FC_OK);
        assert_int_equal(r.state, cases[i].state);
        fc_result_free(&r);
    }
}

/* The same options on other data are another group; a run that does not say what data it had
 * belongs to the first. */
static void test_unknown_content(void **state)
{
    (void)state;
    static const char *const hash[] = {"0123456789abcdef", "fedcba9876543210", NULL};
    fc_result run[3];
    fc_result_group *g;
    fc_arena arena = {0};
    int n;
    for (int i = 0; i < 3; i++) {
        char name[32], text[100];
        snprintf(name, sizeof name, "content%d", i);
        const char *dir = run_dir(name, "fed: {beta: 0.5}\n", NULL);
        snprintf(text, sizeof text, "{\"input\": {\"data_sha256\": \"%s\"}}",
                 hash[i] ? hash[i] : "");
        snprintf(name, sizeof name, "content%d/manifest.json", i);
        if (hash[i])
            put(name, text);
        assert_int_equal(fc_result_read(&run[i], dir, NULL), FC_OK);
    }
    run[2].config.run.seed = 1;
    assert_int_equal(fc_result_groups(&g, &n, run, 3, &arena, NULL), FC_OK);
    assert_int_equal(n, 2);
    assert_string_equal(g[0].label, "data=01234567");
    assert_string_equal(g[1].label, "data=fedcba98");
    for (int i = 0; i < 3; i++)
        fc_result_free(&run[i]);
    fc_arena_free(&arena);
}

/* A run of each config, in folders <name>0, <name>1, ...; run (n). */
static void read_runs(fc_result *run, const char *name, const char *const *config, int n)
{
    for (int i = 0; i < n; i++) {
        char dir[16];
        snprintf(dir, sizeof dir, "%s%d", name, i);
        assert_int_equal(fc_result_read(&run[i], run_dir(dir, config[i], NULL), NULL), FC_OK);
    }
}

/* An order that is drawn is a seed, one that is given is a setting. */
static void test_drawn_orders(void **state)
{
    (void)state;
    static const char *const config[] = {"tasks: {order: \"seed:0\"}\n",
                                         "tasks: {order: \"seed:1\"}\n",
                                         "tasks: {order: natural}\n"};
    fc_result run[3];
    fc_result_group *g;
    fc_arena arena = {0};
    int n;
    read_runs(run, "order", config, 3);
    assert_int_equal(fc_result_groups(&g, &n, run, 3, &arena, NULL), FC_OK);
    assert_int_equal(n, 2);
    assert_int_equal(g[0].n, 2);
    assert_string_equal(g[0].label, "order=random");
    assert_string_equal(g[1].label, "order=natural");
    for (int i = 0; i < 3; i++)
        fc_result_free(&run[i]);
    fc_arena_free(&arena);
}

/* Options of a rule tell apart groups of that rule. */
static void test_labels_of_rules(void **state)
{
    (void)state;
    static const char *const config[] = {
        "tasks: {merge: ties}\ntask_merge: {top_k: 20}\n",
        "tasks: {merge: ties}\ntask_merge: {top_k: 30}\n",
        "tasks: {merge: tsv}\ntask_merge: {lambda: 2}\n",
        "fed: {beta: 0.1}\ntasks: {merge: tsv}\ntask_merge: {lambda: 2}\n"};
    static const char *const label[] = {"merge=ties, beta=0.5, top_k=20",
                                        "merge=ties, beta=0.5, top_k=30", "merge=tsv, beta=0.5",
                                        "merge=tsv, beta=0.1"};
    enum { N = sizeof config / sizeof *config };
    fc_result run[N];
    fc_result_group *g;
    fc_arena arena = {0};
    int n;
    read_runs(run, "rule", config, N);
    assert_int_equal(fc_result_groups(&g, &n, run, N, &arena, NULL), FC_OK);
    assert_int_equal(n, N);
    for (int i = 0; i < N; i++) {
        assert_string_equal(g[i].label, label[i]);
        fc_result_free(&run[i]);
    }
    fc_arena_free(&arena);
}

static void test_groups(void **state)
{
    (void)state;
    static const char *const config[] = {
        "method: {name: lorm}\nfed: {beta: 0.5}\nrun: {seed: 0}\n",
        "method: {name: lorm}\nfed: {beta: 0.1}\nrun: {seed: 0}\n",
        "method: {name: lorm}\nfed: {beta: 0.5}\nrun: {seed: 1, threads: 7, name: other}\n",
        "method: {name: lorm}\nfed: {beta: 0.5}\nrun: {seed: 0, out: elsewhere}\n", /* again */
        "method: {name: fedavg_lora}\nfed: {beta: 0.5}\nrun: {seed: 0}\n"};
    enum { N = sizeof config / sizeof *config };
    fc_result run[N];
    fc_arena arena = {0};
    fc_result_group *g;
    int n;
    read_runs(run, "run", config, N);
    assert_int_equal(fc_result_groups(&g, &n, run, N, &arena, NULL), FC_OK);
    assert_int_equal(n, 3);
    assert_string_equal(g[0].label, "lorm, beta=0.5");
    assert_string_equal(g[1].label, "lorm, beta=0.1");
    assert_string_equal(g[2].label, "fedavg_lora, beta=0.5");
    assert_int_equal(g[0].n, 2);
    assert_ptr_equal(g[0].run[1], &run[2]);
    assert_int_equal(fc_result_groups(&g, &n, run, 1, &arena, NULL), FC_OK);
    assert_string_equal(g[0].label, "lorm");
    assert_int_equal(fc_result_groups(&g, &n, run, 2, &arena, NULL), FC_OK);
    assert_string_equal(g[1].label, "beta=0.1");
    for (int i = 0; i < N; i++)
        fc_result_free(&run[i]);
    fc_arena_free(&arena);
}

/* Content tells runs apart where it is known, but for random weights, which the seed makes. */
static void test_content(void **state)
{
    (void)state;
    static const char *const input[] = {
        "{\"input\": {\"weights_path\": \"\", \"weights_sha256\": \"aa\", \"data_sha256\": \"d\"}}",
        "{\"input\": {\"weights_path\": \"\", \"weights_sha256\": \"bb\", \"data_sha256\": \"d\"}}",
        "{\"input\": {\"weights_path\": \"\", \"weights_sha256\": \"cc\", \"data_sha256\": \"e\"}}",
        "{\"input\": {\"weights_path\": \"w\", \"weights_sha256\": \"aa\", \"data_sha256\": "
        "\"e\"}}",
        "{\"input\": {\"weights_path\": \"w\", \"weights_sha256\": \"ab\", \"data_sha256\": "
        "\"e\"}}"};
    enum { N = 5 };
    static const int first_groups[] = {1, 1, 2, 3, 4}; /* of the first i + 1 runs */
    fc_result run[N];
    fc_arena arena = {0};
    fc_result_group *g;
    int n;
    for (int i = 0; i < N; i++) {
        char config[64], file[32], name[16];
        snprintf(name, sizeof name, "c%d", i);
        snprintf(config, sizeof config, "run: {seed: %d}\n", i);
        const char *dir = run_dir(name, config, NULL);
        snprintf(file, sizeof file, "%s/manifest.json", name);
        put(file, input[i]);
        assert_int_equal(fc_result_read(&run[i], dir, NULL), FC_OK);
        assert_int_equal(fc_result_groups(&g, &n, run, i + 1, &arena, NULL), FC_OK);
        assert_int_equal(n, first_groups[i]);
    }
    for (int i = 0; i < N; i++)
        fc_result_free(&run[i]);
    fc_arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_csv, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_csv_each, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_content, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_state, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unknown_content, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_drawn_orders, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_labels_of_rules, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_groups, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
