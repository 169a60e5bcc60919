/* Checkpoints: round trip, the last two kept, damage, refusal of another run, messages of clients.
 */
#include "sim/record/checkpoint.h"

#include "core/base/safetensors.h"
#include "sim/io/outfile.h"
#include "tests/support/tmp.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

FC_TMP_FIXTURE
static char *const dir = tmp.dir;
static char path[512];
static const fc_ckpt_id id = {"c0nf19", "da7a", "", "9a87"};

static const char *in_ckpt(const char *name)
{
    snprintf(path, sizeof path, "%s/ckpt/%s", dir, name);
    return path;
}

static bool exists(const char *name)
{
    return access(in_ckpt(name), F_OK) == 0;
}

/* A state of all types that a run holds; `none` is empty. */
typedef struct server {
    float w[5];
    double g[3];
    int64_t at[2];
    unsigned char flag[3];
    fc_state_field field[5];
} server;

static void point(server *s)
{
    const fc_state_field field[5] = {{"w", FC_F32, 5, s->w},
                                     {"none", FC_F32, 0, NULL},
                                     {"g", FC_F64, 3, s->g},
                                     {"at", FC_I64, 2, s->at},
                                     {"flag", FC_U8, 3, s->flag}};
    memcpy(s->field, field, sizeof field);
}

/* Values that tell the sequence number; a NaN and a negative zero must survive bit for bit. */
static server server_of(long seq)
{
    server s = {.w = {(float)seq, 0.1f, -0.0f, NAN, 1e-40f},
                .g = {(double)seq, 1.0 / 3, -INFINITY},
                .at = {seq, INT64_MIN},
                .flag = {(unsigned char)seq, 0, 255}};
    return s;
}

static void save(long seq)
{
    server s = server_of(seq);
    fc_error err = {0};
    point(&s);
    if (fc_checkpoint_save(dir, seq, &id, "task 1 round 2", s.field, 5, &err) != FC_OK)
        fail_msg("%s", err.msg);
}

static fc_status load(server *s, long *seq, fc_error *err)
{
    memset(s, 0x55, sizeof *s);
    point(s);
    return fc_checkpoint_load(dir, seq, &id, s->field, 5, err);
}

static void assert_loads(long want)
{
    server s, w = server_of(want);
    long seq;
    fc_error err = {0};
    if (load(&s, &seq, &err) != FC_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(seq, want);
    assert_memory_equal(s.w, w.w, sizeof s.w);
    assert_memory_equal(s.g, w.g, sizeof s.g);
    assert_memory_equal(s.at, w.at, sizeof s.at);
    assert_memory_equal(s.flag, w.flag, sizeof s.flag);
}

static void assert_none(void)
{
    server s;
    long seq = 7;
    assert_int_equal(load(&s, &seq, NULL), FC_OK);
    assert_int_equal(seq, -1);
    assert_int_equal(s.flag[0], 0x55); /* untouched */
}

static void test_round_trip_and_last_two(void **state)
{
    (void)state;
    assert_none(); /* not even a folder */
    save(0);
    assert_loads(0);
    for (long seq = 1; seq <= 12; seq++)
        save(seq);
    assert_loads(12);
    assert_true(exists("state-00000012.json"));
    assert_true(exists("state-00000011.safetensors"));
    assert_false(exists("state-00000010.safetensors"));
    assert_false(exists("state-00000010.json"));
    assert_false(exists("state-00000000.safetensors"));
    fclose(fopen(in_ckpt("state-00000007.safetensors"), "w")); /* killed before it was removed */
    assert_loads(12);
    assert_false(exists("state-00000007.safetensors"));
    save(123456789); /* more than 8 digits */
    assert_loads(123456789);
}

/* Flip one byte, counted from the end, or cut the file there. */
static void damage(const char *name, long back, bool cut)
{
    struct stat st;
    assert_int_equal(stat(in_ckpt(name), &st), 0);
    if (cut) {
        assert_int_equal(truncate(path, st.st_size - back), 0);
        return;
    }
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    fseek(f, -back, SEEK_END);
    int c = fgetc(f);
    fseek(f, -back, SEEK_END);
    fputc(c ^ 1, f);
    fclose(f);
}

static void test_damaged_falls_back(void **state)
{
    (void)state;
    static const struct {
        long back;
        bool cut;
    } fault[] = {{1, false}, {30, false}, {1, true}, {40, true}};
    for (size_t i = 0; i < sizeof fault / sizeof fault[0]; i++) {
        save(4);
        save(5);
        damage("state-00000005.safetensors", fault[i].back, fault[i].cut);
        assert_loads(4);
        assert_false(exists("state-00000005.safetensors")); /* else it would win again */
        assert_false(exists("state-00000005.json"));
    }
    save(5);
    fclose(fopen(in_ckpt("state-00000005.safetensors"), "w")); /* empty */
    damage("state-00000004.safetensors", 2, false);
    assert_none();
}

static void test_strange_names_are_no_checkpoints(void **state)
{
    (void)state;
    save(1);
    static const char *const name[] = {"state-9.safetensors",
                                       "state-00000009.safetensors.44.tmp",
                                       "state-00000009.safetensors~",
                                       "state--0000009.safetensors",
                                       "state-99999999999999999999.safetensors",
                                       "state-x"};
    for (size_t i = 0; i < sizeof name / sizeof name[0]; i++)
        fclose(fopen(in_ckpt(name[i]), "w"));
    assert_loads(1);
}

static void test_other_run_refused(void **state)
{
    (void)state;
    server s;
    long seq;
    save(3);
    const fc_ckpt_id other[] = {{"other", id.data_sha256, "", id.partition_sha256},
                                {id.config_hash, "other", "", id.partition_sha256},
                                {id.config_hash, id.data_sha256, "other", id.partition_sha256},
                                {id.config_hash, id.data_sha256, "", "other"}};
    const char *const what[] = {"config_hash", "data_sha256", "weights_sha256", "partition_sha256"};
    memset(&s, 0x55, sizeof s);
    point(&s);
    for (int i = 0; i < 4; i++) {
        fc_error err = {0};
        assert_int_equal(fc_checkpoint_load(dir, &seq, &other[i], s.field, 5, &err), FC_ECKPT);
        assert_non_null(strstr(err.msg, what[i]));
        assert_non_null(strstr(err.msg, "other"));
        assert_int_equal(s.flag[0], 0x55);
    }
    assert_loads(3); /* and nothing was removed */
}

static void test_other_shape_refused(void **state)
{
    (void)state;
    server s;
    long seq;
    fc_error err = {0};
    save(3);
    memset(&s, 0x55, sizeof s);
    point(&s);
    s.field[4].n = 2;
    assert_int_equal(fc_checkpoint_load(dir, &seq, &id, s.field, 5, &err), FC_ECKPT);
    assert_non_null(strstr(err.msg, "tensor flag: 3 elements"));
    assert_int_equal(s.at[0], 0x5555555555555555); /* the good ones neither */
    point(&s);
    s.field[0].dtype = FC_F16;
    assert_int_equal(fc_checkpoint_load(dir, &seq, &id, s.field, 5, NULL), FC_ECKPT);
    point(&s);
    s.field[0].name = "gone";
    err = (fc_error){0};
    assert_int_equal(fc_checkpoint_load(dir, &seq, &id, s.field, 5, &err), FC_ECKPT);
    assert_non_null(strstr(err.msg, "no tensor gone"));
}

static int save_with_limit(void)
{
    server s = server_of(2);
    fc_error err = {0};
    point(&s);
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){100, 100});
    return fc_checkpoint_save(dir, 2, &id, "", s.field, 5, &err) == FC_EFAIL &&
                   strstr(err.msg, "state-00000002")
               ? 0
               : 1;
}

static void test_write_error(void **state)
{
    (void)state;
    int status;
    save(1);
    pid_t child = fork();
    if (child == 0)
        _exit(save_with_limit());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_loads(1); /* the old one is still good */

    server s = server_of(2);
    fc_error err = {0};
    point(&s);
    assert_int_equal(fc_checkpoint_save("/dev/null", 2, &id, "", s.field, 5, &err), FC_EFAIL);
    assert_non_null(strstr(err.msg, "/dev/null"));
}

/* A worker of a sweep that comes back after its run was taken away must not bring it back. */
static void test_folder_gone(void **state)
{
    (void)state;
    server s = server_of(2);
    fc_error err = {0};
    point(&s);
    const char *gone = fc_tmp_path(&tmp, "gone");
    assert_says(fc_checkpoint_save(gone, 2, &id, "", s.field, 5, &err), &err, FC_EFAIL, gone,
                "cannot create folder");
    assert_int_not_equal(access(gone, F_OK), 0);
}

static void test_clients(void **state)
{
    (void)state;
    static const unsigned char message[] = {0, 1, 2, 255, 0, 7};
    const fc_ckpt_id other = {"other", id.data_sha256, "", id.partition_sha256};
    size_t n = 99;
    assert_null(fc_checkpoint_client_load(dir, 1, 2, 3, &id, &n, NULL, 0));
    assert_int_equal(fc_checkpoint_client_clear(dir, NULL), FC_OK); /* no folder yet */
    assert_int_equal(
        fc_checkpoint_client_save(dir, 1, 2, 3, &id, message, sizeof message, NULL, 0, NULL),
        FC_OK);
    assert_int_equal(fc_checkpoint_client_save(dir, 1, 2, 33, &id, message, 0, NULL, 0, NULL),
                     FC_OK);
    save(1); /* does not remove them */

    unsigned char *p = fc_checkpoint_client_load(dir, 1, 2, 3, &id, &n, NULL, 0);
    assert_non_null(p);
    assert_int_equal(n, sizeof message);
    assert_memory_equal(p, message, sizeof message);
    free(p);
    p = fc_checkpoint_client_load(dir, 1, 2, 33, &id, &n, NULL, 0);
    assert_non_null(p);
    assert_int_equal(n, 0);
    free(p);
    assert_null(fc_checkpoint_client_load(dir, 1, 3, 3, &id, &n, NULL, 0));
    assert_null(fc_checkpoint_client_load(dir, 1, 2, 3, &other, &n, NULL, 0));

    damage("client-1-2-3.safetensors", 2, false);
    assert_null(fc_checkpoint_client_load(dir, 1, 2, 3, &id, &n, NULL, 0));
    assert_int_equal(fc_checkpoint_client_clear(dir, NULL), FC_OK);
    assert_null(fc_checkpoint_client_load(dir, 1, 2, 33, &id, &n, NULL, 0));
    assert_loads(1);
    assert_int_equal(fc_checkpoint_clear(dir, NULL), FC_OK);
    assert_none();
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_round_trip_and_last_two),
        T(test_damaged_falls_back),
        T(test_strange_names_are_no_checkpoints),
        T(test_other_run_refused),
        T(test_other_shape_refused),
        T(test_write_error),
        T(test_folder_gone),
        T(test_clients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
