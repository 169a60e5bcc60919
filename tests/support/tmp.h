/* Test helpers: a folder that is thrown away, files in it, error messages, files of tests/. */
#ifndef FC_TEST_TMP_H
#define FC_TEST_TMP_H

#include "core/base/file.h"
#include "tests/support/close.h"

#include <dirent.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct fc_tmp {
    char dir[256];
} fc_tmp;

static inline fc_tmp fc_tmp_new(void)
{
    fc_tmp t;
    const char *base = getenv("TMPDIR");
    snprintf(t.dir, sizeof t.dir, "%s/fcil-test-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(t.dir));
    return t;
}

static inline void fc_remove_folder(const char *path)
{
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        char child[1024];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        int n = snprintf(child, sizeof child, "%s/%s", path, e->d_name);
        assert_true(n < (int)sizeof child);
        if (unlink(child) != 0)
            fc_remove_folder(child);
    }
    closedir(d);
    assert_int_equal(rmdir(path), 0);
}

static inline void fc_tmp_remove(const fc_tmp *t)
{
    fc_remove_folder(t->dir);
}

/* A folder of its own for each test: tmp, and set_up and tear_down for cmocka. */
#define FC_TMP_FIXTURE                                                                             \
    static fc_tmp tmp;                                                                             \
    static int set_up(void **state)                                                                \
    {                                                                                              \
        (void)state;                                                                               \
        tmp = fc_tmp_new();                                                                        \
        return 0;                                                                                  \
    }                                                                                              \
    static int tear_down(void **state)                                                             \
    {                                                                                              \
        (void)state;                                                                               \
        fc_tmp_remove(&tmp);                                                                       \
        return 0;                                                                                  \
    }

/* dir/name; valid until the 64th call after. */
static inline const char *fc_tmp_path(const fc_tmp *t, const char *name)
{
    static char path[64][512];
    static int next;
    char *p = path[next++ % 64];
    snprintf(p, sizeof path[0], "%s/%s", t->dir, name);
    return p;
}

/* Writes dir/name; folders on the way are made. */
static inline const char *fc_tmp_put(const fc_tmp *t, const char *name, const void *data, size_t n)
{
    char folder[512];
    const char *path = fc_tmp_path(t, name);
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = '\0';
    assert_int_equal(fc_mkdirs(folder, NULL), FC_OK);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    return path;
}

/* A file of the tests folder; valid until the 8th call after. */
static inline const char *fc_tests_path(const char *name)
{
    static char path[8][512];
    static int next;
    char *p = path[next++ % 8];
    const char *tests = getenv("FCIL_TESTS");
    snprintf(p, sizeof path[0], "%s/%s", tests ? tests : "tests", name);
    return p;
}

static inline int fc_count_files(const char *folder)
{
    DIR *d = opendir(folder);
    int n = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

/* A failure with this status whose message holds both texts. */
static inline void fc_says(fc_status got, const fc_error *err, fc_status want, const char *a,
                           const char *b, const char *file, int line)
{
    if (got != want || err->code != want || !strstr(err->msg, a) || !strstr(err->msg, b)) {
        print_error("%s:%d: status %d, message \"%s\", expected %d with \"%s\" and \"%s\"\n", file,
                    line, (int)got, err->msg, (int)want, a, b);
        _fail(file, line);
    }
}
#define assert_says(got, err, want, a, b) fc_says(got, err, want, a, b, __FILE__, __LINE__)

#endif
