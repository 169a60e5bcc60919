/* main() of a fuzz target in normal builds: gives it every file named, and every file of the
 * folders named. With libFuzzer (clang -fsanitize=fuzzer) this file is left out. */
#include "tests/fuzz/fuzz.h"

#include "core/file.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The copy has no byte to spare, so that a sanitizer sees the first one too many. */
static int replay(const char *path)
{
    fc_error err = {0};
    void *map;
    size_t n;
    if (fc_file_map(&map, &n, path, FC_EDATA, &err) != FC_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    unsigned char *data = malloc(n ? n : 1);
    if (!data) {
        fprintf(stderr, "%s: out of memory\n", path);
        fc_file_unmap(map, n);
        return 1;
    }
    memcpy(data, map, n);
    fc_file_unmap(map, n);
    LLVMFuzzerTestOneInput(data, n);
    free(data);
    return 0;
}

static int replay_folder(const char *path, int *files)
{
    DIR *dir = opendir(path);
    if (!dir) {
        perror(path);
        return 1;
    }
    int failed = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        char file[4096];
        if (e->d_name[0] == '.' ||
            snprintf(file, sizeof file, "%s/%s", path, e->d_name) >= (int)sizeof file)
            continue;
        failed += replay(file);
        ++*files;
    }
    closedir(dir);
    return failed;
}

int main(int argc, char **argv)
{
    int failed = 0, files = 0;
    for (int i = 1; i < argc; i++) {
        struct stat st;
        if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode)) {
            failed += replay_folder(argv[i], &files);
        } else {
            failed += replay(argv[i]);
            files++;
        }
    }
    printf("%d files replayed, %d failed\n", files, failed);
    return failed != 0 || files == 0;
}
