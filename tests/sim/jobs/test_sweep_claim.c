/* Claims of runs between processes, and which runs a search wants. */
#include "sim/jobs/sweep_claim.h"

#include "sim/jobs/sweep_halving.h"
#include "sim/jobs/sweep_state.h"
#include "sim/jobs/sweep_work.h"
#include "tests/support/tmp.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

FC_TMP_FIXTURE
static const char id[] = "0123abcd";

static void take(fc_claim *c, int g)
{
    bool taken;
    fc_error err = {0};
    assert_int_equal(fc_claim_take(&taken, c, tmp.dir, id, g, &err), FC_OK);
    assert_true(taken);
}

/* A claim of a process that ended. */
static void take_and_die(int g)
{
    pid_t pid = fork();
    if (pid == 0) {
        fc_claim c;
        bool taken;
        _exit(fc_claim_take(&taken, &c, tmp.dir, id, g, NULL) == FC_OK && taken ? 0 : 1);
    }
    int status;
    assert_true(waitpid(pid, &status, 0) == pid);
    assert_int_equal(status, 0);
}

/* Of processes that wait for the same signal and then claim, exactly one gets each generation. */
static void test_race(void **state)
{
    (void)state;
    enum { RACERS = 4, GENERATIONS = 50 };
    int gate[2], winners[GENERATIONS] = {0};
    assert_int_equal(pipe(gate), 0);
    pid_t pid[RACERS];
    for (int i = 0; i < RACERS; i++) {
        pid[i] = fork();
        if (pid[i] == 0) {
            char byte;
            int won = 0;
            close(gate[1]);
            if (read(gate[0], &byte, 1) != 0) /* until the gate is closed */
                _exit(200);
            for (int g = 0; g < GENERATIONS; g++) {
                fc_claim c;
                bool taken = false;
                if (fc_claim_take(&taken, &c, tmp.dir, id, g, NULL) != FC_OK)
                    _exit(200);
                won += taken;
                if (taken) {
                    char name[64];
                    snprintf(name, sizeof name, "won.%d.%d", g, i);
                    fc_tmp_put(&tmp, name, "", 0);
                }
            }
            _exit(won);
        }
    }
    close(gate[0]);
    close(gate[1]);
    int sum = 0;
    for (int i = 0; i < RACERS; i++) {
        int status;
        assert_true(waitpid(pid[i], &status, 0) == pid[i] && WIFEXITED(status));
        sum += WEXITSTATUS(status);
        for (int g = 0; g < GENERATIONS; g++) {
            char name[64];
            snprintf(name, sizeof name, "won.%d.%d", g, i);
            winners[g] += access(fc_tmp_path(&tmp, name), F_OK) == 0;
        }
    }
    assert_int_equal(sum, GENERATIONS);
    for (int g = 0; g < GENERATIONS; g++)
        assert_int_equal(winners[g], 1);
}

/* The owner is alive, gives signs of life, lets go. */
static void test_life(void **state)
{
    (void)state;
    fc_claim c;
    fc_claim_info info;
    take(&c, 0);
    assert_true(fc_claim_read(&info, tmp.dir, id, 0));
    assert_false(info.dead || info.released);
    assert_int_equal(info.pid, getpid());
    unsigned long beat = info.beat;
    assert_true(fc_claim_beat(&c));
    assert_true(fc_claim_read(&info, tmp.dir, id, 0));
    assert_true(info.beat > beat && !info.dead && info.age_s < 10);
    fc_claim_release(&c);
    assert_true(fc_claim_read(&info, tmp.dir, id, 0));
    assert_true(info.released);
    assert_false(fc_claim_read(&info, tmp.dir, id, 1));
}

/* A process that ended is known at once, but only on its own machine. */
static void test_death(void **state)
{
    (void)state;
    fc_claim_info info;
    char line[600] = "";
    take_and_die(0);
    assert_true(fc_claim_read(&info, tmp.dir, id, 0));
    assert_true(info.dead && !info.released);
    FILE *f = fopen(fc_tmp_path(&tmp, "0123abcd.0"), "r+");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    char *host = strstr(line, "host ");
    assert_non_null(host);
    host[5] ^= 1; /* another host */
    rewind(f);
    fputs(line, f);
    fclose(f);
    assert_true(fc_claim_read(&info, tmp.dir, id, 0));
    assert_false(info.dead);
}

/* An owner learns from the next generation, or from the missing file, that the run is not its own.
 */
static void test_lost(void **state)
{
    (void)state;
    fc_claim old, new;
    take(&old, 3);
    take(&new, 4);
    assert_false(fc_claim_beat(&old));
    assert_true(fc_claim_beat(&new));
    unlink(fc_tmp_path(&tmp, "0123abcd.4"));
    assert_false(fc_claim_beat(&new));
    assert_true(access(fc_tmp_path(&tmp, "0123abcd.4"), F_OK) != 0); /* and does not come back */
}

static void test_names(void **state)
{
    (void)state;
    char got[9];
    assert_int_equal(fc_claim_name(got, "0123abcd.17"), 17);
    assert_string_equal(got, id);
    static const char *const others[] = {".",          "0123abcd",      "0123abcd.",
                                         "0123abcd.x", "0123abcd.-1",   "0123abcde.1",
                                         "0123abc.1",  "0123abcd.1.log"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_equal(fc_claim_name(got, others[i]), -1);
    fc_claim c;
    bool taken;
    fc_error err = {0};
    assert_says(fc_claim_take(&taken, &c, "/proc/nowhere", id, 0, &err), &err, FC_EFAIL,
                "/proc/nowhere/0123abcd.0", "cannot create");
}

/* --- what is inherited, what is published -------------------------------------------------------
 */

static fc_sweep_run one_run;
static fc_sweep one = {.name = "s", .n_runs = 1, .run = &one_run};

static void open_view(fc_sweep_view *v)
{
    fc_error err = {0};
    snprintf(one_run.id, sizeof one_run.id, "%s", id);
    one_run.dir = fc_tmp_path(&tmp, "s/done");
    one.out = tmp.dir;
    assert_int_equal(fc_sweep_view_open(v, &one, true, &err), FC_OK);
}

static ino_t inode_of(const char *name)
{
    struct stat st;
    assert_int_equal(stat(fc_tmp_path(&tmp, name), &st), 0);
    return st.st_ino;
}

static bool there(const char *name)
{
    return access(fc_tmp_path(&tmp, name), F_OK) == 0;
}

/* A worker that comes back finds its folder gone and publishes nothing. */
static void test_takeover(void **state)
{
    (void)state;
    fc_sweep_view v;
    fc_error err = {0};
    bool first;
    open_view(&v);
    fc_tmp_put(&tmp, "s/.sweep/work/0123abcd.0/ckpt/state", "7", 1);
    fc_tmp_put(&tmp, "s/.sweep/work/0123abcd.0/rounds.csv", "a", 1);
    assert_int_equal(fc_work_inherit(&v, id, 2, false, &err), FC_OK); /* 1 died before its copy */
    assert_true(there("s/.sweep/work/0123abcd.2/ckpt/state"));
    assert_true(there("s/.sweep/work/0123abcd.2/rounds.csv"));
    assert_false(there("s/.sweep/work/0123abcd.0"));
    assert_int_equal(fc_work_publish(&first, &v, &one_run, 0, &err), FC_OK);
    assert_false(first || there("s/done"));
    /* let go of, it changes hands without a copy */
    assert_int_equal(fc_work_inherit(&v, id, 3, true, &err), FC_OK);
    assert_true(there("s/.sweep/work/0123abcd.3/ckpt/state"));
    const ino_t folder = inode_of("s/.sweep/work/0123abcd.3");
    assert_int_equal(fc_work_publish(&first, &v, &one_run, 3, &err), FC_OK);
    assert_true(first && there("s/done/ckpt/state"));
    assert_true(inode_of("s/done") == folder); /* the folder itself: no moment with half of it */
    /* the second one is thrown away */
    fc_tmp_put(&tmp, "s/.sweep/work/0123abcd.4/rounds.csv", "b", 1);
    assert_int_equal(fc_work_publish(&first, &v, &one_run, 4, &err), FC_OK);
    assert_false(first || there("s/.sweep/work/0123abcd.4"));
    fc_tmp_put(&tmp, "s/.sweep/work/0123abcd.4.log", "", 0);
    fc_tmp_put(&tmp, "s/.sweep/claims/0123abcd.4", "", 0);
    fc_work_clean(&v, id);
    assert_int_equal(fc_count_files(v.work) + fc_count_files(v.claims), 0);
    fc_sweep_view_close(&v);
}

/* A child that is killed while it inherits may end that before it dies, under the hands of the next
 * heir: what it took away is not missing from the next copy. */
static void test_two_heirs(void **state)
{
    (void)state;
    fc_sweep_view v;
    fc_error err = {0};
    open_view(&v);
    fc_tmp_put(&tmp, "s/.sweep/work/0123abcd.0/ckpt/state", "7", 1);
    fc_tmp_put(&tmp, "s/.sweep/work/0123abcd.0/config.yaml", "a", 1);
    const char *fifo = fc_tmp_path(&tmp, "s/.sweep/work/0123abcd.0/ckpt/fifo");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(fc_work_inherit(&v, id, 2, false, NULL) == FC_OK ? 0 : 1);
    int status, fd = open(fifo, O_WRONLY); /* folders first: the copy is half done */
    assert_true(fd >= 0);
    fc_tmp_put(&tmp, "s/.sweep/work/0123abcd.1/ckpt/state", "7", 1);
    fc_tmp_put(&tmp, "s/.sweep/work/0123abcd.1/config.yaml", "a", 1);
    fc_work_remove(&v, id, 0);
    close(fd);
    assert_true(waitpid(pid, &status, 0) == pid);
    assert_int_equal(status, 0);
    assert_true(there("s/.sweep/work/0123abcd.2/config.yaml"));
    assert_true(there("s/.sweep/work/0123abcd.2/ckpt/state"));
    assert_false(there("s/.sweep/work/0123abcd.2/ckpt/fifo")); /* nothing of the first copy */
    fc_work_clean(&v, id);
    assert_int_equal(fc_count_files(v.work), 0);
    assert_int_equal(fc_work_inherit(&v, id, 3, false, &err), FC_OK); /* of nobody */
    assert_false(there("s/.sweep/work/0123abcd.3"));
    fc_sweep_view_close(&v);
}

/* A folder goes although files appear in it meanwhile. */
static void test_busy_folder(void **state)
{
    (void)state;
    fc_sweep_view v;
    open_view(&v);
    for (int round = 0; round < 20; round++) {
        int status, gate[2];
        char byte;
        assert_int_equal(pipe(gate), 0);
        fc_tmp_put(&tmp, "s/.sweep/work/0123abcd.0/ckpt/state", "7", 1);
        const char *file = fc_tmp_path(&tmp, "s/.sweep/work/0123abcd.0/ckpt/new");
        pid_t pid = fork();
        if (pid == 0) { /* until the folder is gone */
            int fd;
            while ((fd = open(file, O_WRONLY | O_CREAT, 0600)) >= 0) {
                close(fd);
                if (write(gate[1], "", 1) != 1)
                    break;
            }
            _exit(0);
        }
        close(gate[1]);
        assert_int_equal(read(gate[0], &byte, 1), 1);
        fc_work_clean(&v, id);
        assert_int_equal(fc_count_files(v.work), 0);
        kill(pid, SIGKILL);
        assert_true(waitpid(pid, &status, 0) == pid);
        close(gate[0]);
    }
    fc_sweep_view_close(&v);
}

/* Silence is counted from when it was first seen, whatever time the claim has. */
static void test_silence(void **state)
{
    (void)state;
    fc_sweep_view v;
    fc_claim c;
    bool taken;
    fc_error err = {0};
    open_view(&v);
    assert_int_equal(fc_claim_take(&taken, &c, v.claims, id, 0, &err), FC_OK);
    for (int hours = -1; hours <= 1; hours += 2) {
        struct timespec t[2];
        clock_gettime(CLOCK_REALTIME, &t[0]);
        t[0].tv_sec += 3600 * hours;
        t[1] = t[0];
        assert_true(fc_claim_beat(&c));
        assert_int_equal(utimensat(AT_FDCWD, c.path, t, 0), 0);
        fc_sweep_view_read(&v);
        assert_int_equal(v.run[0].state, FC_RUN_CLAIMED);
        assert_true(v.run[0].silent_s < 1);
        assert_true(fabs(v.run[0].claim.age_s + 3600 * hours) < 10);
        usleep(20000);
        fc_sweep_view_read(&v);
        assert_true(v.run[0].silent_s >= 0.02);
    }
    fc_sweep_view_close(&v);
}

/* --- successive halving -------------------------------------------------------------------------
 */

/* Five settings, two seeds, three rungs; ceil(0.5 x 5) = 3 and ceil(0.5 x 3) = 2 go on. */
static void test_halving(void **state)
{
    (void)state;
    enum { SETTINGS = 5, RUNGS = 3, RUNS = SETTINGS * RUNGS * 2 };
    static const double metric[SETTINGS] = {10, 30, 30, 20, 90};
    fc_sweep_run run[RUNS] = {0};
    fc_run_view view[RUNS] = {0};
    fc_sweep s = {.n_runs = RUNS,
                  .run = run,
                  .n_settings = SETTINGS,
                  .halving = {.rungs = RUNGS, .keep = 0.5}};
    fc_sweep_view v = {.sweep = &s, .run = view};
    for (int i = 0; i < RUNS; i++) {
        run[i].rung = i / (2 * SETTINGS);
        run[i].setting = i / 2 % SETTINGS;
        view[i].metric = metric[run[i].setting] + (i % 2 ? 1 : -1);
    }
    fc_halving_choose(&v);
    for (int i = 0; i < RUNS; i++)
        assert_int_equal(view[i].wanted, run[i].rung == 0);
    for (int i = 0; i < 2 * SETTINGS; i++) {
        assert_false(view[2 * SETTINGS + 2].wanted); /* not before all are closed */
        view[i].state = FC_RUN_DONE;
        if (i == 9)
            view[i].state = FC_RUN_FAILED; /* the best setting, but for one seed */
        fc_halving_choose(&v);
    }
    static const bool second[SETTINGS] = {false, true, true, true, false};
    static const bool third[SETTINGS] = {false, true, true, false, false};
    for (int k = 0; k < SETTINGS; k++)
        assert_int_equal(view[2 * SETTINGS + 2 * k].wanted, second[k]);
    for (int i = 2 * SETTINGS; i < 4 * SETTINGS; i++)
        view[i].state = FC_RUN_DONE;
    fc_halving_choose(&v);
    for (int k = 0; k < SETTINGS; k++)
        assert_int_equal(view[4 * SETTINGS + 2 * k].wanted, third[k]);
    fc_arena_free(&v.arena);
}

/* Equal settings go on in plan order, failed ones last. Four settings, one seed each. */
static void check_ties(const double metric[4], const bool second[4], int third)
{
    enum { SETTINGS = 4, RUNGS = 3, RUNS = SETTINGS * RUNGS };
    fc_sweep_run run[RUNS] = {0};
    fc_run_view view[RUNS] = {0};
    fc_sweep s = {.n_runs = RUNS,
                  .run = run,
                  .n_settings = SETTINGS,
                  .halving = {.rungs = RUNGS, .keep = 0.5}};
    fc_sweep_view v = {.sweep = &s, .run = view};
    for (int i = 0; i < RUNS; i++) {
        run[i].rung = i / SETTINGS;
        run[i].setting = i % SETTINGS;
        view[i].metric = metric[run[i].setting];
        view[i].state = FC_RUN_DONE;
    }
    fc_halving_choose(&v);
    for (int k = 0; k < SETTINGS; k++) {
        assert_int_equal(view[SETTINGS + k].wanted, second[k]);
        assert_int_equal(view[2 * SETTINGS + k].wanted, k == third);
    }
    fc_arena_free(&v.arena);
}

static void test_halving_of_equals(void **state)
{
    (void)state;
    check_ties((const double[4]){5, 5, 5, 5}, (const bool[4]){true, true, false, false}, 0);
    check_ties((const double[4]){4, 5, 6, 5}, (const bool[4]){false, true, true, false}, 2);
    check_ties((const double[4]){5, 4, 5, 5}, (const bool[4]){true, false, true, false}, 0);
    check_ties((const double[4]){NAN, NAN, 1, NAN}, (const bool[4]){true, false, true, false}, 2);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_race),
        TEST(test_life),
        TEST(test_death),
        TEST(test_lost),
        TEST(test_names),
        TEST(test_takeover),
        TEST(test_two_heirs),
        TEST(test_busy_folder),
        TEST(test_silence),
        TEST(test_halving),
        TEST(test_halving_of_equals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
