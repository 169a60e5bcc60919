/* A folder of YAML files that are all refused, each with its own place and message. */
#ifndef FC_TEST_BAD_FILES_H
#define FC_TEST_BAD_FILES_H

#include "tests/support/tmp.h"

/* file without .yaml; "line:col", or "file:line:col" of another file; a part of the sentence */
typedef struct fc_bad_file {
    const char *name, *place, *message;
} fc_bad_file;

/* Is the file of that path (with .yaml) in the table? */
static inline bool fc_bad_file_listed(const char *file, const fc_bad_file *table, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strlen(table[i].name) + 5 == strlen(file) &&
            strncmp(table[i].name, file, strlen(table[i].name)) == 0)
            return true;
    return false;
}

/* load refuses each file with FC_EUSAGE, the place and the message; no file of the folder lies
 * there untested. */
static inline void fc_bad_files(const char *folder, const fc_bad_file *table, size_t n,
                                fc_status (*load)(const char *path, fc_error *err))
{
    const char *dir = fc_tests_path(folder);
    for (size_t i = 0; i < n; i++) {
        char path[1200], place[1400];
        fc_error err = {0};
        bool elsewhere = strchr(table[i].place, 'y') != NULL; /* names the file itself */
        snprintf(path, sizeof path, "%s/%s.yaml", dir, table[i].name);
        snprintf(place, sizeof place, "%s%s%s: ", elsewhere ? "" : path, elsewhere ? "" : ":",
                 table[i].place);
        fc_status st = load(path, &err);
        print_message("%s\n", err.msg);
        assert_says(st, &err, FC_EUSAGE, place, table[i].message);
    }
    DIR *d = opendir(dir);
    assert_non_null(d);
    size_t files = 0;
    for (struct dirent *e; (e = readdir(d));) {
        if (!strstr(e->d_name, ".yaml"))
            continue;
        if (!fc_bad_file_listed(e->d_name, table, n))
            fail_msg("%s has no row in the table", e->d_name);
        files++;
    }
    closedir(d);
    assert_int_equal(files, n);
}

#endif
