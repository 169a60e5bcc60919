/* Any bytes as a config: read or refused with a message; what is read survives its own dump. */
#define _GNU_SOURCE /* memfd_create */
#include "sim/config/config.h"
#include "tests/fuzz/replay.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* An unlinked file of these bytes, as a path. */
static int make_file(char path[64], const void *data, size_t size)
{
    int fd = memfd_create("config", 0);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    fc_config c, again;
    fc_error err = {0};
    int fd = make_file(path, data, size);
    if (fc_config_load(&c, path, NULL, 0, &err) == FC_OK) {
        char copy_path[64];
        const char *text = fc_config_dump(&c, true, &err);
        int copy = make_file(copy_path, text, strlen(text));
        if (fc_config_load(&again, copy_path, NULL, 0, &err) != FC_OK)
            abort();
        if (strcmp(text, fc_config_dump(&again, true, &err)) != 0)
            abort();
        close(copy);
        fc_config_free(&again);
        fc_config_free(&c);
    } else if (err.msg[0] == '\0' || err.code == FC_OK) {
        abort();
    }
    close(fd);
    return 0;
}
