/* A fuzz target is LLVMFuzzerTestOneInput; this gives it a main that replays files and folders of
 * inputs. For fuzzing itself: clang -DFC_LIBFUZZER -fsanitize=fuzzer,address,undefined, libFuzzer
 * then brings its own main. */
#ifndef FC_TEST_REPLAY_H
#define FC_TEST_REPLAY_H

#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#ifndef FC_LIBFUZZER
/* Run the target on one file, or on all files below a folder; their number. */
static int fc_replay(const char *path)
{
    struct stat info;
    int done = 0;
    DIR *dir = opendir(path);
    if (dir) {
        for (struct dirent *e; (e = readdir(dir));) {
            char below[4096];
            snprintf(below, sizeof below, "%s/%s", path, e->d_name);
            if (e->d_name[0] != '.')
                done += fc_replay(below);
        }
        closedir(dir);
        return done;
    }
    FILE *f = fopen(path, "rb");
    uint8_t *data = NULL;
    if (f && fstat(fileno(f), &info) == 0 && (data = malloc((size_t)info.st_size + 1))) {
        LLVMFuzzerTestOneInput(data, fread(data, 1, (size_t)info.st_size, f));
        done = 1;
    }
    free(data);
    if (f)
        fclose(f);
    return done;
}

int main(int argc, char **argv)
{
    int done = 0;
    for (int i = 1; i < argc; i++)
        done += fc_replay(argv[i]);
    printf("%d inputs replayed\n", done);
    return done == 0; /* a corpus that is not there tests nothing */
}
#endif

#endif
