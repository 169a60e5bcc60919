/* Mapping, atomic writing, folders, SHA-256. */
#include "tests/support/tmp.h"

#include <signal.h>
#include <sys/resource.h>

static void test_map(void **state)
{
    (void)state;
    fc_tmp t = fc_tmp_new();
    fc_error err = {0};
    void *p = NULL;
    size_t n = 7;
    assert_int_equal(fc_file_map(&p, &n, fc_tmp_put(&t, "a", "hello", 5), FC_EDATA, &err), FC_OK);
    assert_int_equal(n, 5);
    assert_memory_equal(p, "hello", 5);
    fc_file_unmap(p, n);
    assert_int_equal(fc_file_map(&p, &n, fc_tmp_put(&t, "e", "", 0), FC_EDATA, &err), FC_OK);
    assert_int_equal(n, 0);
    assert_non_null(p);
    fc_file_unmap(p, n);
    fc_file_unmap(NULL, 0);
    fc_tmp_remove(&t);
}

static void test_map_errors(void **state)
{
    (void)state;
    fc_tmp t = fc_tmp_new();
    void *p = NULL;
    size_t n = 7;
    fc_error err = {0};
    const char *path = fc_tmp_path(&t, "none");
    assert_says(fc_file_map(&p, &n, path, FC_EUSAGE, &err), &err, FC_EUSAGE, path, "No such file");
    err = (fc_error){0};
    assert_says(fc_file_map(&p, &n, t.dir, FC_EDATA, &err), &err, FC_EDATA, t.dir, "directory");
    err = (fc_error){0};
    path = fc_tmp_path(&t, "fifo");
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_says(fc_file_map(&p, &n, path, FC_EDATA, &err), &err, FC_EDATA, path, "special file");
    if (geteuid() != 0) { /* root reads everything */
        err = (fc_error){0};
        path = fc_tmp_put(&t, "secret", "x", 1);
        assert_int_equal(chmod(path, 0), 0);
        assert_says(fc_file_map(&p, &n, path, FC_EDATA, &err), &err, FC_EDATA, path, "denied");
    }
    assert_null(p);
    assert_int_equal(n, 7);
    fc_tmp_remove(&t);
}

static void assert_holds(const char *path, const char *text)
{
    void *p;
    size_t n;
    assert_int_equal(fc_file_map(&p, &n, path, FC_EDATA, NULL), FC_OK);
    assert_int_equal(n, strlen(text));
    assert_memory_equal(p, text, n);
    fc_file_unmap(p, n);
}

static void test_write(void **state)
{
    (void)state;
    fc_tmp t = fc_tmp_new();
    const char *path = fc_tmp_path(&t, "out");
    assert_int_equal(fc_file_write_atomic(path, "one", 3, NULL), FC_OK);
    assert_holds(path, "one");
    assert_int_equal(fc_file_write_atomic(path, "second", 6, NULL), FC_OK);
    assert_holds(path, "second");
    assert_int_equal(fc_file_write_atomic(path, NULL, 0, NULL), FC_OK);
    assert_holds(path, "");
    char stale[64]; /* what a killed process of the same number left */
    snprintf(stale, sizeof stale, "out.%ld.tmp", (long)getpid());
    fc_tmp_put(&t, stale, "much longer", 11);
    assert_int_equal(fc_file_write_atomic(path, "third", 5, NULL), FC_OK);
    assert_holds(path, "third");
    assert_int_equal(fc_count_files(t.dir), 1); /* no temporary file stays */
    assert_int_equal(chdir(t.dir), 0);          /* a name without a folder */
    assert_int_equal(fc_file_write_atomic("bare", "x", 1, NULL), FC_OK);
    assert_holds("bare", "x");
    assert_int_equal(chdir("/"), 0);
    fc_tmp_remove(&t);
}

static void test_write_errors(void **state)
{
    (void)state;
    fc_tmp t = fc_tmp_new();
    fc_error err = {0};
    const char *path = fc_tmp_path(&t, "no/such/folder");
    assert_says(fc_file_write_atomic(path, "x", 1, &err), &err, FC_EFAIL, path, "No such file");
    err = (fc_error){0};
    assert_says(fc_file_write_atomic(t.dir, "x", 1, &err), &err, FC_EFAIL, t.dir, "directory");
    err = (fc_error){0};
    assert_says(fc_file_write_atomic("/dev/null", "x", 1, &err), &err, FC_EFAIL, "/dev/null",
                "special file");
    fc_tmp_remove(&t);
}

/* A limit on the size of files stands for a full disk: write() fails half-way in both. */
static void test_full_disk_keeps_the_old_file(void **state)
{
    (void)state;
    fc_tmp t = fc_tmp_new();
    fc_error err = {0};
    struct rlimit old, small;
    static char big[100000];
    const char *path = fc_tmp_put(&t, "out", "old", 3);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 5000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    fc_status s = fc_file_write_atomic(path, big, sizeof big, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_says(s, &err, FC_EFAIL, path, "cannot write 100000 bytes: File too large");
    assert_holds(path, "old");
    assert_int_equal(fc_count_files(t.dir), 1);
    fc_tmp_remove(&t);
}

static void test_draft(void **state)
{
    (void)state;
    fc_tmp t = fc_tmp_new();
    fc_error err = {0};
    fc_draft d;
    const char *path = fc_tmp_path(&t, "out"), *nowhere = fc_tmp_path(&t, "no/folder");
    assert_int_equal(fc_draft_begin(&d, &err), FC_OK);
    assert_int_equal(fc_draft_end(&d, &err), FC_OK);
    assert_string_equal(d.text, "");
    fc_draft_free(&d);
    assert_int_equal(fc_draft_begin(&d, &err), FC_OK);
    fprintf(d.f, "%d lines\n", 1);
    assert_int_equal(fc_draft_save(&d, FC_OK, path, &err), FC_OK);
    assert_holds(path, "1 lines\n");
    assert_true(!d.f && !d.text);
    assert_int_equal(fc_draft_begin(&d, &err), FC_OK);
    fputs("half of it", d.f); /* what printed it failed: the old file stays */
    assert_int_equal(fc_draft_save(&d, FC_EDATA, path, &err), FC_EDATA);
    assert_holds(path, "1 lines\n");
    assert_int_equal(fc_draft_begin(&d, &err), FC_OK);
    assert_says(fc_draft_save(&d, FC_OK, nowhere, &err), &err, FC_EFAIL, nowhere, "No such file");
    fc_draft_free(&d); /* twice is once */
    fc_tmp_remove(&t);
}

static void test_mkdirs(void **state)
{
    (void)state;
    fc_tmp t = fc_tmp_new();
    fc_error err = {0};
    struct stat st;
    assert_int_equal(fc_mkdirs(fc_tmp_path(&t, "a//b/c/"), &err), FC_OK);
    assert_int_equal(stat(fc_tmp_path(&t, "a/b/c"), &st), 0);
    assert_int_equal(fc_mkdirs(fc_tmp_path(&t, "a/b/c"), &err), FC_OK);
    assert_int_equal(fc_mkdirs("/", &err), FC_OK);
    fc_tmp_put(&t, "file", "x", 1);
    const char *path = fc_tmp_path(&t, "file/sub");
    assert_says(fc_mkdirs(path, &err), &err, FC_EFAIL, path, "cannot create folder");
    err = (fc_error){0};
    path = fc_tmp_path(&t, "file");
    assert_says(fc_mkdirs(path, &err), &err, FC_EFAIL, path, "Not a directory");
    err = (fc_error){0};
    assert_says(fc_mkdirs("", &err), &err, FC_EFAIL, "folder", "empty");
    fc_tmp_remove(&t);
}

/* FIPS 180-2, appendix B. */
static void test_sha256(void **state)
{
    (void)state;
    char hex[65];
    fc_sha256(hex, "abc", 3);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    fc_sha256(hex, NULL, 0);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map),    cmocka_unit_test(test_map_errors),
        cmocka_unit_test(test_write),  cmocka_unit_test(test_write_errors),
        cmocka_unit_test(test_mkdirs), cmocka_unit_test(test_full_disk_keeps_the_old_file),
        cmocka_unit_test(test_sha256), cmocka_unit_test(test_draft),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
