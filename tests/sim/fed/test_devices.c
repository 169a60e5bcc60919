/* Devices of the clients: keyed draws, windows of a trace, arithmetic of a round by hand. */
#include "sim/fed/cohort.h"
#include "sim/fed/down.h"
#include "sim/fed/flop.h"
#include "sim/run/setup.h"
#include "tests/support/tmp.h"

#include <stdlib.h>

typedef struct fixture {
    fc_tmp tmp;
    fc_config cfg;
    fc_setup setup;
    fc_arena arena;
    fc_error err;
} fixture;

static const char config[] =
    "run: {seed: 3, threads: 2}\n"
    "data: {name: synth, synth_classes: 4, synth_train: 10, synth_test: 5, synth_size: 8}\n"
    "tasks: {count: 2}\n"
    "fed: {clients: 4, rounds: 2, partition: iid, min_samples: 1}\n"
    "backbone: {patch: 4, width: 16, depth: 1, heads: 2}\n"
    "train: {epochs: 2, batch: 8, lora_rank: 2}\n"
    "method: {name: fedavg}\n";

/* settings: apart by spaces; trace: text of the file, or NULL. */
static void open_run(fixture *f, const char *settings, const char *trace)
{
    char text[400], *set[16], *rest = text, path[300];
    int n = 0;
    *f = (fixture){.tmp = fc_tmp_new()};
    snprintf(text, sizeof text, "%s", settings);
    while ((set[n] = strtok_r(rest, " ", &rest)) != NULL)
        n++;
    if (trace) {
        snprintf(path, sizeof path, "device.trace=%s",
                 fc_tmp_put(&f->tmp, "trace.csv", trace, strlen(trace)));
        set[n++] = path;
    }
    const char *file = fc_tmp_put(&f->tmp, "config.yaml", config, strlen(config));
    assert_int_equal(fc_config_load(&f->cfg, file, set, n, &f->err), FC_OK);
    fc_ranks alone = fc_ranks_world();
    fc_progress quiet = {0};
    fc_setup_open(&f->setup, &f->cfg, &alone, &quiet, &f->err);
}

static void close_run(fixture *f)
{
    fc_setup_close(&f->setup);
    fc_config_free(&f->cfg);
    fc_arena_free(&f->arena);
    fc_tmp_remove(&f->tmp);
}

static void open_good(fixture *f, const char *settings, const char *trace)
{
    open_run(f, settings, trace);
    if (f->err.code != FC_OK)
        print_error("%s\n", f->err.msg);
    assert_int_equal(f->err.code, FC_OK);
}

/* --- draws ------------------------------------------------------------------------------------
 */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Median and spread of 4001 clients' values of ln x: six standard errors. */
static void check_lognormal(double *x, double median, double sigma)
{
    enum { N = 4001 };
    double sum = 0, squares = 0;
    qsort(x, N, sizeof *x, by_value);
    assert_close(log(x[N / 2] / median), 0, 0, 6 * 1.2533 * sigma / sqrt(N));
    for (int i = 0; i < N; i++) {
        sum += log(x[i]);
        squares += log(x[i]) * log(x[i]);
    }
    double sd = sqrt(squares / N - sum / N * sum / N);
    assert_close(sd, sigma, 6 / sqrt(2.0 * N), 0);
}

static void test_speeds(void **state)
{
    (void)state;
    enum { N = 4001 };
    fc_config cfg;
    fc_error err = {0};
    char *set[] = {(char[]){"device.model=random"}, (char[]){"device.gflops=30"},
                   (char[]){"device.up_sigma=0.25"}, (char[]){"device.dropout=0.3"},
                   (char[]){"device.availability=0.6"}};
    assert_int_equal(fc_config_load(&cfg, NULL, set, 5, &err), FC_OK);
    fc_devices d;
    assert_int_equal(fc_devices_open(&d, &cfg, N, NULL, &err), FC_OK);
    assert_true(d.on && fc_devices_come_and_go(&d));
    double x[3][N], lost = 0, here = 0, when = 0;
    for (int k = 0; k < N; k++) {
        fc_device one = fc_device_at(&d, k, 0), again = fc_device_at(&d, k, 1e6);
        assert_memory_equal(&one, &again, sizeof one); /* of the client, not of the time */
        assert_true(one.until == INFINITY && fc_device_opens(&d, k, 7) == 7);
        x[0][k] = one.flop_s;
        x[1][k] = one.up_s;
        x[2][k] = one.down_s;
        double after = fc_device_lost(&d, k, 1, 2, 10);
        assert_true(after == fc_device_lost(&d, k, 1, 2, 10));
        assert_true((after >= 0 && after < 10) || after == INFINITY);
        lost += after < 10;
        when += after < 10 ? after : 0;
        here += fc_device_reachable(&d, k, 1, 2, 0);
    }
    assert_close(lost / N, 0.3, 0, 6 * sqrt(0.3 * 0.7 / N));
    assert_close(when / lost, 5, 0, 6 * 10 / sqrt(12 * lost));
    assert_close(here / N, 0.6, 0, 6 * sqrt(0.6 * 0.4 / N));
    check_lognormal(x[0], 30e9, 0.5);
    check_lognormal(x[1], 10e6 / 8, 0.25);
    check_lognormal(x[2], 50e6 / 8, 1);
    fc_config_free(&cfg);
}

/* Other rounds, tasks and seeds are other draws. */
static void test_draws_are_keyed(void **state)
{
    (void)state;
    fixture f;
    open_good(&f, "device.model=random device.dropout=0.5 device.availability=0.5", NULL);
    const fc_devices *d = &f.setup.devices;
    int differ[4] = {0};
    for (int k = 0; k < 200; k++) {
        bool here = fc_device_reachable(d, k, 3, 4, 0);
        differ[0] += here != fc_device_reachable(d, k, 3, 5, 0);
        differ[1] += here != fc_device_reachable(d, k, 4, 4, 0);
        differ[2] += here != (fc_device_lost(d, k, 3, 4, 1) < 1);
        double speed = fc_device_at(d, k, 0).flop_s;
        f.cfg.seed.device = 99;
        differ[3] += speed != fc_device_at(d, k, 0).flop_s;
        f.cfg.seed.device = -1;
    }
    for (int i = 0; i < 3; i++)
        assert_in_range(differ[i], 60, 140);
    assert_int_equal(differ[3], 200);
    close_run(&f);
}

/* --- windows ----------------------------------------------------------------------------------
 */

#define HEADER "client,gflops,up_mbit,down_mbit,available_from_s,available_to_s\n"
static const char windows[] = HEADER "1,2,8,16,10,20\n" /* not in order */
                                     "0,1,8,16,0,5\n"
                                     "1,3,8,16,20,25\n" /* no gap */
                                     "0,1,8,16,30,40\n"
                                     "2,1,8,16,0,40\n"
                                     "3,1,8,16,35,40\n"
                                     "3,1,8,16,0,1"; /* no newline */

static void test_windows_once(void **state)
{
    (void)state;
    fixture f;
    open_good(&f, "device.model=trace", windows);
    const fc_devices *d = &f.setup.devices;
    assert_true(fc_devices_come_and_go(d));
    assert_int_equal(strlen(d->sha256), 64);
    static const struct {
        int client;
        double clock, opens, until, gflops; /* until: where it is within reach */
    } row[] = {
        {0, 0, 0, 5, 1},         {0, 4.5, 4.5, 5, 1}, {0, 5, 30, 0, 0},   {0, 30, 30, 40, 1},
        {0, 40, INFINITY, 0, 0}, {1, 0, 10, 0, 0},    {1, 12, 12, 25, 2}, /* through both windows */
        {1, 20, 20, 25, 3},      {2, 39, 39, 40, 1},  {3, 2, 35, 0, 0}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        bool here = row[i].until > 0;
        assert_true(fc_device_opens(d, row[i].client, row[i].clock) == row[i].opens);
        assert_int_equal(fc_device_reachable(d, row[i].client, 0, 0, row[i].clock), here);
        if (!here)
            continue;
        fc_device device = fc_device_at(d, row[i].client, row[i].clock);
        assert_true(device.until == row[i].until);
        assert_true(device.flop_s == row[i].gflops * 1e9);
        assert_true(device.up_s == 1e6 && device.down_s == 2e6);
    }
    close_run(&f);
}

static void test_windows_repeat(void **state)
{
    (void)state;
    fixture f;
    open_good(&f, "device.model=trace device.trace_period_s=40", windows);
    const fc_devices *d = &f.setup.devices;
    assert_true(fc_device_opens(d, 0, 5) == 30);
    assert_true(fc_device_at(d, 0, 31).until == 45); /* into the next period */
    assert_true(fc_device_at(d, 0, 4 * 40 + 31).until == 5 * 40 + 5);
    assert_true(fc_device_opens(d, 0, 46) == 70);
    assert_true(fc_device_opens(d, 1, 39) == 50);
    assert_true(fc_device_opens(d, 1, 1e4 + 26) == 1e4 + 50);
    assert_true(fc_device_at(d, 1, 1e4 + 12).flop_s == 2e9);
    assert_true(fc_device_at(d, 2, 123).until == INFINITY); /* all the time */
    assert_true(fc_device_at(d, 3, 36).until == 41);
    /* a window opens at the moment that opens says, whatever was rounded */
    for (int i = 0; i < 5000; i++) {
        double opens = fc_device_opens(d, 1, i * 1234.567891 + 26.1);
        assert_true(fc_device_reachable(d, 1, 0, 0, opens));
        assert_true(fc_device_at(d, 1, opens).until > opens);
    }
    close_run(&f);
}

/* --- a round ----------------------------------------------------------------------------------
 */

static fc_cohort draw(fixture *f, int t, int round, double clock)
{
    fc_cohort c;
    fc_work work = fc_plan_work(&f->setup, t, round);
    assert_int_equal(fc_cohort_init(&c, &f->setup, &f->arena, NULL), FC_OK);
    assert_int_equal(fc_cohort_draw(&c, &f->setup, &work, clock, NULL), FC_OK);
    return c;
}

/* Client k computes at 2^k times 1 GFLOP/s; bandwidth 0.8 and 1.6 Mbit/s. */
#define SPEEDS                                                                                     \
    "client,gflops,up_mbit,down_mbit\n"                                                            \
    "0,1e-3,0.8,1.6\n1,2e-3,0.8,1.6\n2,4e-3,0.8,1.6\n3,8e-3,0.8,1.6\n"

static double seconds(const fixture *f, const fc_cohort *c, int client, double flop_s)
{
    fc_work work = fc_plan_work(&f->setup, 0, 0);
    return (double)c->bytes_down / 2e5 + fc_client_flop(&f->setup, &work, client) / flop_s +
           (double)c->bytes_up / 1e5;
}

static void test_seconds(void **state)
{
    (void)state;
    fixture f;
    open_good(&f, "device.model=trace", SPEEDS);
    fc_cohort c = draw(&f, 0, 0, 100);
    size_t down;
    assert_int_equal(fc_down_size(&down, &f.setup, 0, 0, NULL), FC_OK);
    assert_int_equal(c.bytes_down, down);
    /* all parameters in float32, and the header */
    assert_in_range(c.bytes_up, 4 * f.setup.layout.n + 200, 4 * f.setup.layout.n + 1024);
    assert_int_equal(c.n, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(c.member[i].client, i);
        assert_int_equal(c.member[i].fate, FC_FATE_OK);
        assert_close(c.member[i].seconds, seconds(&f, &c, i, 1e6 * (1 << i)), 1e-14, 0);
    }
    assert_true(c.sim_s == c.member[0].seconds); /* the slowest */
    close_run(&f);
}

static void test_deadline(void **state)
{
    (void)state;
    fixture f;
    open_good(&f, "device.model=trace", SPEEDS);
    fc_cohort c = draw(&f, 0, 0, 0);
    double s[4];
    for (int i = 0; i < 4; i++)
        s[i] = c.member[i].seconds;
    f.cfg.fed.deadline_s = s[2]; /* an update at the deadline is in time */
    c = draw(&f, 0, 0, 0);
    static const fc_fate want[] = {FC_FATE_LATE, FC_FATE_LATE, FC_FATE_OK, FC_FATE_OK};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(c.member[i].fate, want[i]);
        assert_true(c.member[i].seconds == s[i]);
    }
    assert_true(c.sim_s == s[2]);
    f.cfg.fed.deadline_s = s[3] / 2;
    c = draw(&f, 0, 0, 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(c.member[i].fate, FC_FATE_LATE);
    assert_true(c.sim_s == s[3] / 2);
    f.cfg.fed.deadline_s = 2 * s[0]; /* nobody to wait for */
    assert_true(draw(&f, 0, 0, 0).sim_s == s[0]);
    close_run(&f);
}

static void test_over_select(void **state)
{
    (void)state;
    fixture f;
    open_good(&f, "device.model=trace fed.participation=0.5 fed.over_select=2", SPEEDS);
    fc_cohort c = draw(&f, 0, 0, 0);
    assert_int_equal(c.n, 4); /* asked, for two updates */
    for (int i = 0; i < 4; i++)
        assert_int_equal(c.member[i].fate, i < 2 ? FC_FATE_LATE : FC_FATE_OK);
    assert_true(c.sim_s == c.member[2].seconds);
    f.cfg.fed.over_select = 1.3; /* ceil(2.6) */
    c = draw(&f, 0, 0, 0);
    assert_int_equal(c.n, 3);
    int ok = 0;
    for (int i = 0; i < 3; i++)
        ok += c.member[i].fate == FC_FATE_OK;
    assert_int_equal(ok, 2);
    f.cfg.fed.over_select = 100;
    assert_int_equal(fc_plan_cohort_max(&f.setup), 4);
    close_run(&f);
}

/* Per round, the draw is among those within reach; per task it is among all. */
static void test_who_is_drawn(void **state)
{
    (void)state;
    fixture f;
    open_good(&f, "device.model=random device.availability=0.5 fed.participation=0.5", NULL);
    int per_task[5] = {0}, per_round[5] = {0}, of_task[4] = {0};
    for (int round = 0; round < 200; round++) {
        f.cfg.fed.participation_draw = 0;
        fc_cohort c = draw(&f, 0, round, 0);
        per_task[c.n]++;
        for (int i = 0; i < c.n; i++)
            of_task[c.member[i].client]++;
        f.cfg.fed.participation_draw = 1;
        c = draw(&f, 0, round, 0);
        per_round[c.n]++;
        for (int i = 0; i < c.n; i++)
            assert_true(fc_device_reachable(&f.setup.devices, c.member[i].client, 0, round, 0));
    }
    int members = 0;
    for (int k = 0; k < 4; k++) {
        members += of_task[k] > 0;
        assert_true(of_task[k] == 0 || (of_task[k] > 65 && of_task[k] < 135));
    }
    assert_int_equal(members, 2);
    assert_true(per_task[0] > 25 && per_task[1] > 65 && per_task[2] > 25); /* 1/4, 1/2, 1/4 */
    assert_true(per_round[0] < 30 && per_round[2] > 110);                  /* 1/16 and 11/16 */
    assert_int_equal(per_round[3] + per_round[4], 0);
    close_run(&f);
}

static void test_nobody_within_reach(void **state)
{
    (void)state;
    fixture f;
    open_good(&f, "device.model=trace", windows);
    fc_cohort c = draw(&f, 0, 0, 26); /* client 2 is there all the time */
    assert_int_equal(c.n, 1);
    assert_int_equal(c.member[0].client, 2);
    c = draw(&f, 0, 0, 41); /* after the end of the trace */
    assert_int_equal(c.n, 0);
    assert_true(c.sim_s == 0);
    f.cfg.fed.deadline_s = 60;
    assert_true(draw(&f, 0, 0, 41).sim_s == 60);
    close_run(&f);

    static const char evening[] = HEADER "0,1e3,8e3,8e3,30,40\n1,1e3,8e3,8e3,32,40\n"
                                         "2,1e3,8e3,8e3,38,40\n3,1e3,8e3,8e3,39,40\n";
    open_good(&f, "device.model=trace", evening);
    c = draw(&f, 0, 0, 5); /* the server waits 25 s for the first */
    assert_int_equal(c.n, 1);
    assert_int_equal(c.member[0].client, 0);
    assert_close(c.sim_s, 25 + c.member[0].seconds, 1e-14, 0);
    f.cfg.fed.deadline_s = 20; /* a round that closes at 25 */
    c = draw(&f, 0, 0, 5);
    assert_int_equal(c.n, 0);
    assert_true(c.sim_s == 20);
    close_run(&f);
}

static void test_lost_with_its_window(void **state)
{
    (void)state;
    fixture f;
    open_good(&f, "device.model=trace device.trace_period_s=2",
              HEADER "0,1e-9,8,8,0,1\n1,1e3,8e3,8e3,0,1\n2,1e3,8e3,8e3,0,2\n3,1e3,8e3,8e3,0,1\n");
    fc_cohort c = draw(&f, 0, 0, 0.25);
    assert_int_equal(c.n, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(c.member[i].fate, i == 0 ? FC_FATE_LOST : FC_FATE_OK);
    assert_true(c.member[0].seconds == 0.75);
    assert_true(c.sim_s == 0.75); /* until the connection breaks */
    close_run(&f);
}

/* --- refusals ---------------------------------------------------------------------------------
 */

static void check_refused(const char *settings, fc_status code, const char *message)
{
    fixture f;
    open_run(&f, settings, NULL);
    if (f.err.code != code || !strstr(f.err.msg, message))
        print_error("%s: %s\n", settings, f.err.msg);
    assert_int_equal(f.err.code, code);
    assert_non_null(strstr(f.err.msg, message));
    close_run(&f);
}

static void test_options_that_need_a_model(void **state)
{
    (void)state;
    check_refused("fed.deadline_s=1", FC_EUSAGE, "fed.deadline_s: is set, but device.model");
    check_refused("fed.over_select=1.5", FC_EUSAGE, "fed.over_select: is set");
    check_refused("device.availability=0.9", FC_EUSAGE, "device.availability: is set");
    check_refused("device.dropout=0.1", FC_EUSAGE, "device.dropout: is set");
    check_refused("device.trace=x.csv", FC_EUSAGE, "device.trace: is set");
    check_refused("device.model=random device.trace=x.csv", FC_EUSAGE, "device.trace: is set");
    check_refused("device.model=trace", FC_EUSAGE, "device.trace: empty");
    check_refused("device.model=trace device.trace=absent.csv", FC_EDATA, "absent.csv");
}

/* The centralised method has no clients whose devices could be slow. */
static void test_joint_has_no_devices(void **state)
{
    (void)state;
    fixture f;
    open_good(&f, "method.name=joint device.model=random device.dropout=1", NULL);
    assert_false(f.setup.devices.on);
    fc_cohort c = draw(&f, 0, 0, 0);
    assert_int_equal(c.n, 1);
    assert_int_equal(c.member[0].fate, FC_FATE_OK);
    assert_true(c.sim_s == 0 && c.bytes_up == 0);
    close_run(&f);
}

static void test_bad_traces(void **state)
{
    (void)state;
    static const struct {
        const char *file, *message;
    } row[] = {{"another_header.csv", ":1: expected the header client,gflops"},
               {"client_out_of_range.csv", ":5: client '4', expected a whole number from 0 to 3"},
               {"client_fraction.csv", ":3: client '1.5'"},
               {"denormal_speed.csv", ":2: gflops '1e-320', expected a number from"},
               {"empty.csv", "empty, expected a header"},
               {"from_after_to.csv", ":4: available from '20' to '10'"},
               {"five_cells.csv", ":3: 5 cells, expected 6"},
               {"header_only.csv", "no row for client 0"},
               {"infinite_speed.csv", ":2: gflops 'inf'"},
               {"missing_client.csv", "no row for client 2"},
               {"nan_bandwidth.csv", ":3: down_mbit 'nan'"},
               {"no_number.csv", ":4: up_mbit 'fast'"},
               {"overlap.csv", ":6: client 1: overlaps its window of line 3"},
               {"past_the_period.csv",
                ":5: available from '30' to '50', expected 0 <= from < to <= 40, the period"},
               {"twice_without_windows.csv", ":4: client 1: overlaps its window of line 3"},
               {"window_never_ends.csv", ":2: available from '0' to 'inf'"},
               {"zero_byte.csv", "zero byte"},
               {"zero_speed.csv", ":3: gflops '0', expected a number from 1e-9 to 1e12"}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char settings[400];
        snprintf(settings, sizeof settings,
                 "device.model=trace device.trace_period_s=%d device.trace=%s/bad/trace/%s",
                 strncmp(row[i].file, "past", 4) == 0 ? 40 : 0, getenv("FCIL_TESTS"), row[i].file);
        check_refused(settings, FC_EDATA, row[i].message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_speeds),
        cmocka_unit_test(test_draws_are_keyed),
        cmocka_unit_test(test_windows_once),
        cmocka_unit_test(test_windows_repeat),
        cmocka_unit_test(test_seconds),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_over_select),
        cmocka_unit_test(test_who_is_drawn),
        cmocka_unit_test(test_nobody_within_reach),
        cmocka_unit_test(test_lost_with_its_window),
        cmocka_unit_test(test_options_that_need_a_model),
        cmocka_unit_test(test_joint_has_no_devices),
        cmocka_unit_test(test_bad_traces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
