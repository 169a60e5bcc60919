/* The files of a run directory: bytes worked by hand, cutting on resume, refusals. */
#include "sim/record/runlog.h"

#include "core/base/file.h"
#include "sim/io/outfile.h"
#include "sim/record/manifest.h"
#include "tests/support/tmp.h"

#include <jansson.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

FC_TMP_FIXTURE
static char *const dir = tmp.dir;
static char path[512];

static const char *in_dir(const char *name)
{
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static bool exists(const char *name)
{
    return access(in_dir(name), F_OK) == 0;
}

static void assert_file(const char *name, const char *want)
{
    void *p;
    size_t n;
    assert_int_equal(fc_file_map(&p, &n, in_dir(name), FC_EFAIL, NULL), FC_OK);
    char *text = calloc(n + 1, 1);
    memcpy(text, p, n);
    fc_file_unmap(p, n);
    assert_string_equal(text, want);
    free(text);
}

static void put(const char *name, const char *text)
{
    FILE *f = fopen(in_dir(name), "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

#define ROUNDS                                                                                     \
    "task,round,step,acc,acc_task_mean,correct,total,loss,train_loss,clients_ok,clients_dropped,"  \
    "bytes_down,bytes_up,bytes_down_cum,bytes_up_cum,train_s,merge_s,eval_s,wall_s,cpu_s,"         \
    "rss_mib,sim_s,sim_s_cum,merge_scale,merge_extra\n"
#define TASKS "after_task,eval_task,correct,total,acc,acc_masked\n"
#define CLIENTS                                                                                    \
    "task,round,client,status,n_samples,n_classes,steps,loss_first,loss_last,loss_mean,"           \
    "bytes_down,bytes_up,train_s,sim_s\n"

static const fc_log_options options = {.clients = true, .rounds = 3}, bare = {.rounds = 3};

static const fc_round_row round_row = {.task = 1,
                                       .round = 2,
                                       .step = 340,
                                       .acc = 200.0 / 3,
                                       .acc_task_mean = 50,
                                       .correct = 2,
                                       .total = 3,
                                       .loss = 1.25,
                                       .train_loss = 0.0625,
                                       .clients_ok = 4,
                                       .clients_dropped = 1,
                                       .bytes_down = 10,
                                       .bytes_up = 20,
                                       .bytes_down_cum = 5000000000,
                                       .bytes_up_cum = 40,
                                       .train_s = 1.5,
                                       .merge_s = 0.25,
                                       .eval_s = 0.125,
                                       .wall_s = 2,
                                       .cpu_s = 3.9996,
                                       .rss_mib = 12.34,
                                       .sim_s = 0.5,
                                       .sim_s_cum = 1234.5678901,
                                       .merge_scale = 0.25,
                                       .merge_extra = 1e7 + 1};
#define EVENTS "events.out.tfevents.0.fcil"
#define ROUND_ROW                                                                                  \
    "1,2,340,66.6667,50.0000,2,3,1.250000,0.062500,4,1,10,20,5000000000,40,1.500,0.250,0.125,"     \
    "2.000,4.000,12.3,0.500000,1234.567890,0.250000,10000001\n"

static void test_rows(void **state)
{
    (void)state;
    fc_runlog log;
    assert_int_equal(fc_runlog_open(&log, dir, NULL, &options, NULL), FC_OK);
    assert_int_equal(fc_runlog_round(&log, &round_row, NULL), FC_OK);
    fc_round_row untested = round_row; /* and nothing trained */
    untested.total = 0;
    untested.acc = untested.acc_task_mean = untested.loss = untested.train_loss = NAN;
    untested.sim_s = untested.sim_s_cum = untested.merge_scale = untested.merge_extra = NAN;
    assert_int_equal(fc_runlog_round(&log, &untested, NULL), FC_OK);
    fc_client_row client = {1, 2, 3, "ok", 17, 2, 5, 2.5, NAN, 1.75, 10, 20, 0.5, NAN};
    assert_int_equal(fc_runlog_client(&log, &client, NULL), FC_OK);
    client = (fc_client_row){1, 2, 4, "lost", 17, 2, 0, NAN, NAN, NAN, 10, 0, 0, 2.25};
    assert_int_equal(fc_runlog_client(&log, &client, NULL), FC_OK);
    fc_task_row task = {2, 1, 1, 8, 4};
    assert_int_equal(fc_runlog_task(&log, &task, NULL), FC_OK);
    task = (fc_task_row){2, 2, 0, 0, 0}; /* no test image: no accuracy, and no division by zero */
    assert_int_equal(fc_runlog_task(&log, &task, NULL), FC_OK);
    assert_int_equal(
        fc_runlog_event(&log, "note", 1, 2, "a \"quoted\"\nline, \xc3\xa9 and \xff", NULL), FC_OK);
    assert_int_equal(fc_runlog_event(&log, "end", 1, 2, "\xc3\xa9", NULL), FC_OK);

    /* the log is still open: every row must be in the file already */
    assert_file("rounds.csv", ROUNDS ROUND_ROW "1,2,340,,,,,,,4,1,10,20,5000000000,40,1.500,0.250,"
                                               "0.125,2.000,4.000,12.3,,,,\n");
    assert_file("clients.csv", CLIENTS "1,2,3,ok,17,2,5,2.500000,,1.750000,10,20,0.500,\n"
                                       "1,2,4,lost,17,2,0,,,,10,0,0.000,2.250000\n");
    assert_file("tasks.csv", TASKS "2,1,1,8,12.5000,50.0000\n2,2,0,0,,\n");
    assert_file("events.jsonl",
                "{\"event\": \"note\", \"task\": 1, \"round\": 2, \"text\": \"a \\\"quoted\\\"\\n"
                "line, ?? and ?\"}\n"
                "{\"event\": \"end\", \"task\": 1, \"round\": 2, \"text\": \"\xc3\xa9\"}\n");
    fc_runlog_close(&log);
    fc_runlog_close(&log); /* accepts {0} */
}

static void test_resume_cuts_what_came_after(void **state)
{
    (void)state;
    fc_runlog log;
    int64_t at[FC_LOG_N], again[FC_LOG_N];
    assert_int_equal(fc_runlog_open(&log, dir, NULL, &options, NULL), FC_OK);
    assert_int_equal(fc_runlog_round(&log, &round_row, NULL), FC_OK);
    assert_int_equal(fc_runlog_event(&log, "a", 1, 1, "", NULL), FC_OK);
    assert_int_equal(fc_runlog_sync(&log, at, NULL), FC_OK);
    assert_int_equal(at[FC_LOG_ROUNDS], strlen(ROUNDS ROUND_ROW));
    assert_int_equal(fc_runlog_round(&log, &round_row, NULL), FC_OK);
    assert_int_equal(fc_runlog_event(&log, "b", 1, 1, "", NULL), FC_OK);
    fc_task_row task = {1, 1, 1, 8, 4};
    assert_int_equal(fc_runlog_task(&log, &task, NULL), FC_OK);
    fc_runlog_close(&log);
    put("STOPPED", "");
    put("summary.json.12.tmp", "half");

    assert_int_equal(fc_runlog_open(&log, dir, at, &options, NULL), FC_OK);
    assert_file("rounds.csv", ROUNDS ROUND_ROW);
    assert_file("tasks.csv", TASKS);
    assert_file("clients.csv", CLIENTS);
    assert_file("events.jsonl", "{\"event\": \"a\", \"task\": 1, \"round\": 1, \"text\": \"\"}\n");
    assert_false(exists("STOPPED"));
    assert_false(exists("summary.json.12.tmp"));
    assert_int_equal(fc_runlog_sync(&log, again, NULL), FC_OK);
    assert_memory_equal(at, again, sizeof at);
    assert_int_equal(fc_runlog_round(&log, &round_row, NULL), FC_OK); /* appended, not at 0 */
    assert_file("rounds.csv", ROUNDS ROUND_ROW ROUND_ROW);
    fc_runlog_close(&log);
}

static void test_resume_refuses_lost_rows(void **state)
{
    (void)state;
    fc_runlog log;
    int64_t at[FC_LOG_N];
    fc_error err = {0};
    assert_int_equal(fc_runlog_open(&log, dir, NULL, &options, NULL), FC_OK);
    assert_int_equal(fc_runlog_round(&log, &round_row, NULL), FC_OK);
    assert_int_equal(fc_runlog_sync(&log, at, NULL), FC_OK);
    fc_runlog_close(&log);

    put("rounds.csv", ROUNDS);
    assert_int_equal(fc_runlog_open(&log, dir, at, &options, &err), FC_ECKPT);
    assert_non_null(strstr(err.msg, "rounds.csv"));
    assert_null(log.file[FC_LOG_EVENTS]);
    assert_file("rounds.csv", ROUNDS); /* not touched */

    unlink(in_dir("rounds.csv"));
    err = (fc_error){0};
    assert_int_equal(fc_runlog_open(&log, dir, at, &options, &err), FC_ECKPT);
    assert_non_null(strstr(err.msg, "missing"));
    assert_false(exists("rounds.csv"));
}

static void test_resume_refuses_other_columns(void **state)
{
    (void)state;
    fc_runlog log;
    int64_t at[FC_LOG_N];
    fc_error err = {0};
    assert_int_equal(fc_runlog_open(&log, dir, NULL, &options, NULL), FC_OK);
    assert_int_equal(fc_runlog_sync(&log, at, NULL), FC_OK);
    fc_runlog_close(&log);
    put("clients.csv", "task,round,client,status\n1,1,0,ok\n");
    at[FC_LOG_CLIENTS] = 25;
    assert_int_equal(fc_runlog_open(&log, dir, at, &options, &err), FC_ECKPT);
    assert_non_null(strstr(err.msg, "clients.csv"));
    assert_non_null(strstr(err.msg, "another version"));
}

static void test_clients_switched(void **state)
{
    (void)state;
    fc_runlog log;
    int64_t at[FC_LOG_N];
    fc_client_row client = {1, 1, 0, "ok", 1, 1, 1, 1, 1, 1, 1, 1, 0, 0};
    put("clients.csv", "of an older run");
    assert_int_equal(fc_runlog_open(&log, dir, NULL, &bare, NULL), FC_OK);
    assert_false(exists("clients.csv"));
    assert_int_equal(fc_runlog_client(&log, &client, NULL), FC_OK); /* silently nothing */
    assert_int_equal(fc_runlog_sync(&log, at, NULL), FC_OK);
    assert_int_equal(at[FC_LOG_CLIENTS], 0);
    fc_runlog_close(&log);
    assert_int_equal(fc_runlog_open(&log, dir, at, &options, NULL), FC_OK); /* on from here */
    assert_file("clients.csv", CLIENTS);
    fc_runlog_close(&log);
}

static size_t size_of(const char *name)
{
    struct stat st;
    assert_int_equal(stat(in_dir(name), &st), 0);
    return (size_t)st.st_size;
}

/* The bytes of the event file that hold `tag`, from its length on. */
static int count_tag(const char *tag)
{
    void *p;
    size_t n, len = strlen(tag) + 2;
    int count = 0;
    char field[64];
    snprintf(field, sizeof field, "\n%c%s", (int)strlen(tag), tag);
    assert_int_equal(fc_file_map(&p, &n, in_dir(EVENTS), FC_EFAIL, NULL), FC_OK);
    for (size_t i = 0; i + len <= n; i++)
        count += memcmp((char *)p + i, field, len) == 0;
    fc_file_unmap(p, n);
    return count;
}

/* A round after the checkpoint and a half-written record are cut off. */
static void test_tensorboard(void **state)
{
    (void)state;
    const fc_log_options with = {.tensorboard = true, .rounds = 3};
    fc_runlog log;
    int64_t at[FC_LOG_N];
    fc_task_row task = {1, 1, 1, 8, 4}, empty = {2, 2, 0, 0, 0};
    fc_round_row end = round_row;
    end.round = 4;
    end.total = 0; /* not tested: no accuracy, no loss */
    assert_int_equal(fc_runlog_open(&log, dir, NULL, &with, NULL), FC_OK);
    assert_int_equal(size_of(EVENTS), 40); /* the version */
    assert_int_equal(fc_runlog_round(&log, &round_row, NULL), FC_OK);
    assert_int_equal(fc_runlog_sync(&log, at, NULL), FC_OK);
    assert_int_equal(at[FC_LOG_TENSORBOARD], size_of(EVENTS));
    assert_int_equal(fc_runlog_round(&log, &round_row, NULL), FC_OK);
    fputs("half", log.file[FC_LOG_TENSORBOARD]);
    fc_runlog_close(&log);
    assert_int_equal(count_tag("acc"), 2);

    assert_int_equal(fc_runlog_open(&log, dir, at, &with, NULL), FC_OK);
    assert_int_equal(size_of(EVENTS), at[FC_LOG_TENSORBOARD]);
    assert_int_equal(count_tag("acc"), 1);
    assert_int_equal(fc_runlog_round(&log, &end, NULL), FC_OK);
    assert_int_equal(fc_runlog_task(&log, &task, NULL), FC_OK);
    assert_int_equal(fc_runlog_task(&log, &empty, NULL), FC_OK); /* no image: no scalar */
    assert_int_equal(count_tag("acc"), 1);
    assert_int_equal(count_tag("task_end/acc"), 0);
    assert_int_equal(count_tag("task_end/loss"), 0);
    assert_int_equal(count_tag("task_end/train_loss"), 1);
    assert_int_equal(count_tag("task_end/bytes_up_cum"), 1);
    assert_int_equal(count_tag("task_end/task_1"), 1);
    assert_int_equal(count_tag("task_end/task_2"), 0);
    fc_runlog_close(&log);

    assert_int_equal(fc_runlog_open(&log, dir, NULL, &bare, NULL), FC_OK); /* switched off */
    assert_false(exists(EVENTS));
    fc_runlog_close(&log);
}

static void test_new_run_over_old(void **state)
{
    (void)state;
    fc_runlog log;
    fc_error err = {0};
    static const char *const left[] = {"DONE",
                                       "FAILED",
                                       "STOPPED",
                                       "acc_matrix.csv",
                                       "summary.json",
                                       "ckpt/state-00000009.safetensors",
                                       "ckpt/client-1-2-3.x",
                                       "ckpt/state-00000009.json.7.tmp"};
    assert_int_equal(mkdir(in_dir("ckpt"), 0777), 0);
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++)
        put(left[i], "old");
    put("rounds.csv", "old");
    put("mine.txt", "kept");
    assert_int_equal(fc_runlog_open(&log, dir, NULL, &options, NULL), FC_OK);
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++)
        assert_false(exists(left[i]));
    assert_file("rounds.csv", ROUNDS);
    assert_file("mine.txt", "kept");

    fc_runlog second; /* the same directory, while the first is open */
    assert_int_equal(fc_runlog_open(&second, dir, NULL, &options, &err), FC_EFAIL);
    assert_non_null(strstr(err.msg, "another process"));
    fc_runlog_close(&log);
    assert_int_equal(fc_runlog_open(&second, dir, NULL, &options, NULL), FC_OK);
    fc_runlog_close(&second);
}

static void test_cannot_open(void **state)
{
    (void)state;
    fc_runlog log;
    fc_error err = {0};
    assert_int_equal(fc_runlog_open(&log, in_dir("absent"), NULL, &options, &err), FC_EFAIL);
    assert_non_null(strstr(err.msg, "events.jsonl: cannot open for writing: No such file"));

    char long_dir[FC_PATH_MAX + 10];
    memset(long_dir, 'x', sizeof long_dir - 1);
    long_dir[sizeof long_dir - 1] = '\0';
    err = (fc_error){0};
    assert_int_equal(fc_runlog_open(&log, long_dir, NULL, &options, &err), FC_EFAIL);
    long_dir[FC_PATH_MAX - 5] = '\0'; /* fits alone, but not with the name of a file */
    assert_int_equal(fc_runlog_open(&log, long_dir, NULL, &options, &err), FC_EFAIL);
}

/* In a child whose files must not pass 400 bytes: rounds.csv has room for its header (199), not for
 * a row more than one. */
static int write_until_full(void)
{
    fc_runlog log;
    fc_error err = {0};
    int64_t at[FC_LOG_N];
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){400, 400});
    if (fc_runlog_open(&log, dir, NULL, &options, &err) != FC_OK ||
        fc_runlog_round(&log, &round_row, &err) != FC_OK)
        return 1;
    if (fc_runlog_round(&log, &round_row, &err) != FC_EFAIL || !strstr(err.msg, "rounds.csv") ||
        !strstr(err.msg, "File too large"))
        return 2;
    return fc_runlog_sync(&log, at, NULL) == FC_EFAIL ? 0 : 3; /* the row is not forgotten */
}

static void test_disk_full(void **state)
{
    (void)state;
    fc_runlog log;
    fc_error err = {0};
    assert_int_equal(symlink("/dev/full", in_dir("tasks.csv")), 0);
    assert_int_equal(fc_runlog_open(&log, dir, NULL, &options, &err), FC_EFAIL);
    assert_non_null(strstr(err.msg, "tasks.csv: cannot write: No space left"));
    unlink(in_dir("tasks.csv"));

    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(write_until_full());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* Two of three tasks done: 9 of 10; then 5 of 10 and 15 of 20. */
static long correct[9] = {9, 0, 0, 5, 15}, total[9] = {10, 0, 0, 10, 20};
static const fc_acc_matrix matrix = {3, 2, 3, correct, total};

static void test_matrix(void **state)
{
    (void)state;
    fc_runlog log;
    fc_error err = {0};
    assert_int_equal(fc_runlog_open(&log, dir, NULL, &options, NULL), FC_OK);
    assert_int_equal(fc_runlog_matrix(&log, &matrix, NULL), FC_OK);
    assert_file("acc_matrix.csv", "after_task,task_1,task_2,task_3,acc,acc_task_mean\n"
                                  "1,90.0000,,,90.0000,90.0000\n"
                                  "2,50.0000,75.0000,,66.6667,62.5000\n");
    unlink(in_dir("acc_matrix.csv"));
    mkdir(in_dir("acc_matrix.csv"), 0777);
    assert_int_equal(fc_runlog_matrix(&log, &matrix, &err), FC_EFAIL);
    assert_non_null(strstr(err.msg, "acc_matrix.csv"));
    fc_runlog_close(&log);
}

static double number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_number(v))
        fail_msg("no number %s", key);
    return json_number_value(v);
}

static void test_summary(void **state)
{
    (void)state;
    fc_runlog log;
    fc_summary s = {.acc = &matrix,
                    .bytes_up = 5000000000,
                    .bytes_down = 7,
                    .clients_late = 8,
                    .clients_lost = 9,
                    .sim_s = 0.25,
                    .wall_s = 1.5,
                    .cpu_s = 2.5,
                    .rss_mib = 100,
                    .seed = 9000000000000000,
                    .seed_order = 1,
                    .seed_partition = 2,
                    .seed_init = 3,
                    .seed_train = 4,
                    .seed_device = 5,
                    .method = "lorm",
                    .rule = NULL,
                    .name = "a \"name\" \xff",
                    .config_hash = "0123abcd",
                    .steps = 12};
    assert_int_equal(fc_runlog_open(&log, dir, NULL, &options, NULL), FC_OK);
    assert_int_equal(fc_runlog_summary(&log, &s, NULL), FC_OK);
    json_t *o = json_load_file(in_dir("summary.json"), JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(o);
    assert_close(number(o, "faa"), 200.0 / 3, 1e-11, 0);
    assert_close(number(o, "faa_task_mean"), 62.5, 0, 0);
    assert_close(number(o, "aia"), (90 + 200.0 / 3) / 2, 1e-11, 0);
    assert_close(number(o, "aia_task_mean"), 76.25, 0, 0);
    assert_close(number(o, "forgetting_fedmammoth"), 20, 0, 0);
    assert_close(number(o, "forgetting_max"), 40, 0, 0);
    assert_close(number(o, "bwt"), -40, 0, 0);
    assert_close(number(o, "learning_accuracy"), 82.5, 0, 0);
    assert_close(json_number_value(json_array_get(json_object_get(o, "acc_curve"), 0)), 90, 0, 0);
    assert_int_equal(json_array_size(json_object_get(o, "acc_curve_task_mean")), 2);
    assert_close(number(o, "bytes_up"), 5e9, 0, 0);
    assert_close(number(o, "bytes_down"), 7, 0, 0);
    assert_close(number(o, "steps"), 12, 0, 0);
    assert_close(number(o, "wall_s"), 1.5, 0, 0);
    assert_close(number(o, "clients_late"), 8, 0, 0);
    assert_close(number(o, "clients_lost"), 9, 0, 0);
    assert_close(number(o, "sim_s"), 0.25, 0, 0);
    assert_close(number(o, "tasks_done"), 2, 0, 0);
    assert_close(number(json_object_get(o, "seeds"), "run"), 9e15, 0, 0);
    assert_close(number(json_object_get(o, "seeds"), "train"), 4, 0, 0);
    assert_close(number(json_object_get(o, "seeds"), "device"), 5, 0, 0);
    assert_true(json_is_null(json_object_get(o, "rule")));
    assert_string_equal(json_string_value(json_object_get(o, "name")), "a \"name\" ?");
    assert_string_equal(json_string_value(json_object_get(o, "config_hash")), "0123abcd");
    json_decref(o);
    s.sim_s = NAN; /* no simulated clock */
    assert_int_equal(fc_runlog_summary(&log, &s, NULL), FC_OK);
    o = json_load_file(in_dir("summary.json"), JSON_REJECT_DUPLICATES, NULL);
    assert_true(json_is_null(json_object_get(o, "sim_s")));
    json_decref(o);
    fc_runlog_close(&log);
}

static void test_mark(void **state)
{
    (void)state;
    fc_error err = {0};
    assert_int_equal(fc_runlog_mark(dir, FC_MARK_STOPPED, "at 3", NULL), FC_OK);
    assert_file("STOPPED", "at 3\n");
    assert_int_equal(fc_runlog_mark(dir, FC_MARK_DONE, "", NULL), FC_OK);
    assert_file("DONE", "\n");
    assert_false(exists("STOPPED"));
    assert_int_equal(fc_runlog_mark("/dev/null/x", FC_MARK_DONE, "", &err), FC_EFAIL);
    assert_non_null(strstr(err.msg, "/dev/null/x/DONE"));
}

static void test_manifest(void **state)
{
    (void)state;
    fc_error err = {0};
    char *argv[] = {(char[]){"fcil"}, (char[]){"run"}, (char[]){"\xff \"x\".yaml"}};
    fc_manifest m = {.argc = 3,
                     .argv = argv,
                     .threads = 2,
                     .isa = "scalar",
                     .precision = "bf16",
                     .data_name = "synth",
                     .data_path = "",
                     .data_sha256 = "d",
                     .weights_path = "",
                     .weights_sha256 = "",
                     .partition_sha256 = "p",
                     .config_hash = "h",
                     .trace_sha256 = ""};
    assert_int_equal(fc_manifest_write(dir, &m, NULL), FC_OK);
    json_t *o = json_load_file(in_dir("manifest.json"), JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(o);
    const json_t *host = json_object_get(o, "host"), *build = json_object_get(o, "build");
    assert_string_equal(json_string_value(json_array_get(json_object_get(o, "argv"), 2)),
                        "? \"x\".yaml");
    assert_int_equal(strlen(json_string_value(json_object_get(o, "start"))), 20);
    assert_true(strlen(json_string_value(json_object_get(host, "cpu"))) > 0);
    assert_true(strlen(json_string_value(json_object_get(host, "os"))) > 0);
    assert_true(json_is_array(json_object_get(host, "isa")));
    assert_non_null(strstr(json_string_value(json_object_get(build, "blas")), "OpenBLAS"));
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(o, "input"), "partition_sha256")), "p");
    assert_close(number(o, "threads"), 2, 0, 0);
    assert_string_equal(json_string_value(json_object_get(o, "isa")), "scalar");
    assert_string_equal(json_string_value(json_object_get(o, "precision")), "bf16");
    json_decref(o);
    assert_int_equal(fc_manifest_write(in_dir("absent"), &m, &err), FC_EFAIL);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_rows),
        T(test_resume_cuts_what_came_after),
        T(test_resume_refuses_lost_rows),
        T(test_resume_refuses_other_columns),
        T(test_clients_switched),
        T(test_tensorboard),
        T(test_new_run_over_old),
        T(test_cannot_open),
        T(test_disk_full),
        T(test_matrix),
        T(test_summary),
        T(test_mark),
        T(test_manifest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
