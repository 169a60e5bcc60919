/* A folder for targets that read files by their names; it goes when the program ends. Include it
 * first. */
#ifndef FC_TEST_FUZZ_FOLDER_H
#define FC_TEST_FUZZ_FOLDER_H

#define _GNU_SOURCE /* nftw */
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char fc_fuzz_root[] = "/tmp/fcil-fuzz-XXXXXX";

static inline int fc_fuzz_remove_one(const char *path, const struct stat *st, int type,
                                     struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static inline void fc_fuzz_remove(void)
{
    nftw(fc_fuzz_root, fc_fuzz_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* name inside the folder; the first call makes it. */
static inline const char *fc_fuzz_path(char path[512], const char *name)
{
    static bool made;
    if (!made) {
        made = true;
        if (!mkdtemp(fc_fuzz_root) || atexit(fc_fuzz_remove) != 0)
            abort();
        snprintf(path, 512, "%s/in", fc_fuzz_root); /* beside it there is room too */
        if (mkdir(path, 0777) != 0)
            abort();
    }
    snprintf(path, 512, "%s/in/%s", fc_fuzz_root, name);
    return path;
}

static inline void fc_fuzz_put(const char *name, const void *data, size_t n)
{
    char path[512];
    FILE *f = fopen(fc_fuzz_path(path, name), "wb");
    if (!f || fwrite(data, 1, n, f) != n || fclose(f) != 0)
        abort();
}

/* A file or folder of tests/ as name. */
static inline void fc_fuzz_link(const char *name, const char *in_tests)
{
    char path[512], target[512];
    const char *tests = getenv("FCIL_TESTS");
    snprintf(target, sizeof target, "%s/%s", tests ? tests : "tests", in_tests);
    if (access(fc_fuzz_path(path, name), F_OK) != 0 && symlink(target, path) != 0)
        abort();
}

#endif
