/* What report.html says of clients, from a run folder written by hand. */
#include "sim/report/report_clients.h"

#include "tests/support/tmp.h"

enum { CLIENTS = 11, ROUNDS = 2 };

/* Losses in no order; the last two clients have none in the first round. */
static const double loss[ROUNDS][CLIENTS] = {{9, 1, 5, 3, 7, 2, 8, 4, 6},
                                             {30, 10, 50, 20, 40, 110, 100, 60, 90, 80, 70}};

/* A run of so many clients (as its config says) with a clients.csv, and what the report makes of
 * it. */
static void report(fc_figure *losses, fc_table *fates, int clients, fc_arena *arena)
{
    fc_tmp tmp = fc_tmp_new();
    fc_result r;
    fc_error err = {0};
    char text[4096];
    int n = snprintf(text, sizeof text, "fed: {clients: %d, rounds: %d}\n", clients, ROUNDS);
    fc_tmp_put(&tmp, "config.yaml", text, (size_t)n);
    const char *tasks = "after_task,eval_task,correct,total,acc,acc_masked\n1,1,80,100,80,90\n";
    fc_tmp_put(&tmp, "tasks.csv", tasks, strlen(tasks));
    const char *rounds = "task,round,train_loss\n1,1,5\n1,2,60\n";
    fc_tmp_put(&tmp, "rounds.csv", rounds, strlen(rounds));
    n = snprintf(text, sizeof text, "task,round,client,status,loss_last\n");
    for (int k = 0; k < ROUNDS; k++)
        for (int i = 0; i < CLIENTS; i++)
            n += loss[k][i] > 0
                     ? snprintf(text + n, sizeof text - (size_t)n, "1,%d,%d,%s,%g\n", k + 1, i,
                                i < 4 ? "late" : "ok", loss[k][i])
                     : snprintf(text + n, sizeof text - (size_t)n, "1,%d,%d,lost,\n", k + 1, i);
    fc_tmp_put(&tmp, "clients.csv", text, (size_t)n);
    assert_int_equal(fc_result_read(&r, tmp.dir, &err), FC_OK);
    assert_int_equal(fc_report_clients(losses, fates, &r, arena, &err), FC_OK);
    fc_result_free(&r);
    fc_tmp_remove(&tmp);
}

/* Many clients: one line, the median, in a band from the 10 % to the 90 % quantile. */
static void test_quantiles(void **state)
{
    (void)state;
    fc_arena arena = {0};
    fc_figure f;
    fc_table fates;
    report(&f, &fates, CLIENTS, &arena);
    assert_int_equal(f.plot.n, 1);
    const fc_series *s = f.plot.series;
    assert_int_equal(s->n, ROUNDS);
    assert_all_close(s->x, ((double[]){1, 2}), 2, 0, 0);
    assert_all_close(s->y, ((double[]){5, 60}), 2, 0, 1e-12);
    assert_all_close(s->low, ((double[]){1.8, 20}), 2, 0, 1e-12);
    assert_all_close(s->high, ((double[]){8.2, 100}), 2, 0, 1e-12);
    fc_arena_free(&arena);
}

/* A few: a line each. */
static void test_each(void **state)
{
    (void)state;
    fc_arena arena = {0};
    fc_figure f;
    fc_table fates;
    report(&f, &fates, 3, &arena);
    assert_int_equal(f.plot.n, 3);
    for (int i = 0; i < 3; i++) {
        const fc_series *s = &f.plot.series[i];
        assert_int_equal(s->n, ROUNDS);
        assert_null(s->low);
        assert_all_close(s->y, ((double[]){loss[0][i], loss[1][i]}), 2, 0, 1e-12);
    }
    fc_arena_free(&arena);
}

static void test_fates(void **state)
{
    (void)state;
    fc_arena arena = {0};
    fc_figure f;
    fc_table t;
    report(&f, &t, CLIENTS, &arena);
    static const char *const want[3][3] = {
        {"late", "8", "36.4"}, {"ok", "12", "54.5"}, {"lost", "2", "9.1"}}; /* of 22 */
    assert_int_equal(t.rows, 3);
    for (int i = 0; i < 9; i++)
        assert_string_equal(t.cell[i].text, want[i / 3][i % 3]);
    fc_arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_quantiles),
                                       cmocka_unit_test(test_each), cmocka_unit_test(test_fates)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
