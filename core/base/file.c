#include "core/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sha2.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* mmap refuses length 0; an empty file gets a mapping of one page that nobody reads. */
static size_t map_length(size_t n)
{
    return n ? n : 1;
}

fc_status fc_file_map(void **p, size_t *n, const char *path, fc_status code, fc_error *err)
{
    /* O_NONBLOCK: opening a FIFO must not wait for a writer */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fc_fail(err, code, "%s: cannot open: %s, expected a readable file", path,
                       strerror(errno));
    struct stat st;
    void *map = MAP_FAILED;
    fc_status s = FC_OK;
    if (fstat(fd, &st) != 0) {
        s = fc_fail(err, code, "%s: cannot stat: %s", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        s = fc_fail(err, code, "%s: is a %s, expected a regular file", path,
                    S_ISDIR(st.st_mode) ? "directory" : "special file");
    } else {
        map = mmap(NULL, map_length((size_t)st.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED)
            s = fc_fail(err, code, "%s: cannot map %lld bytes: %s", path, (long long)st.st_size,
                        strerror(errno));
    }
    close(fd);
    if (s != FC_OK)
        return s;
    *p = map;
    *n = (size_t)st.st_size;
    return FC_OK;
}

void fc_file_unmap(void *p, size_t n)
{
    if (p)
        munmap(p, map_length(n));
}

void fc_file_forget(const void *p, size_t n)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), end = (uintptr_t)p + n;
    uintptr_t begin = (uintptr_t)p / page * page;
    madvise((void *)begin, end - begin, MADV_DONTNEED); /* a hint */
}

bool fc_file_read_at(int fd, void *to, size_t n, int64_t at)
{
    for (char *p = to; n > 0;) {
        ssize_t done = pread(fd, p, n, at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done == 0)
            errno = 0;
        if (done <= 0)
            return false;
        p += done;
        at += done;
        n -= (size_t)done;
    }
    return true;
}

bool fc_file_write_at(int fd, const void *from, size_t n, int64_t at)
{
    for (const char *p = from; n > 0;) {
        ssize_t done = pwrite(fd, p, n, at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return false;
        p += done;
        at += done;
        n -= (size_t)done;
    }
    return true;
}

/* The rename itself must survive a power cut. File systems that cannot sync a folder say EINVAL. */
static bool sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    free(folder);
    if (fd < 0)
        return false;
    bool ok = fsync(fd) == 0 || errno == EINVAL;
    int why = errno;
    close(fd);
    errno = why;
    return ok;
}

fc_status fc_file_write_atomic(const char *path, const void *data, size_t n, fc_error *err)
{
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return fc_fail(err, FC_EFAIL, "%s: cannot write: is a %s, expected a regular file", path,
                       S_ISDIR(st.st_mode) ? "directory" : "special file");
    char tmp[4096];
    if (snprintf(tmp, sizeof tmp, "%s.%ld.tmp", path, (long)getpid()) >= (int)sizeof tmp)
        return fc_fail(err, FC_EFAIL, "%s: path is longer than %zu bytes", path, sizeof tmp);

    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return fc_fail(err, FC_EFAIL, "%s: cannot create %s: %s", path, tmp, strerror(errno));
    bool ok = fc_file_write_at(fd, data, n, 0) && fsync(fd) == 0;
    int why = errno;
    if (close(fd) != 0 && ok) {
        ok = false;
        why = errno;
    }
    fc_status s = FC_OK;
    if (!ok)
        s = fc_fail(err, FC_EFAIL, "%s: cannot write %zu bytes: %s", path, n, strerror(why));
    else if (rename(tmp, path) != 0)
        s = fc_fail(err, FC_EFAIL, "%s: cannot rename %s to it: %s", path, tmp, strerror(errno));
    if (s != FC_OK) {
        unlink(tmp);
        return s;
    }
    if (!sync_folder_of(path))
        return fc_fail(err, FC_EFAIL, "%s: written, but its folder cannot be synced: %s", path,
                       strerror(errno));
    return FC_OK;
}

static bool make_dir(const char *path)
{
    struct stat st;
    if (mkdir(path, 0777) == 0)
        return true;
    int why = errno;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return true;
    errno = why == EEXIST ? ENOTDIR : why; /* something else has that name */
    return false;
}

fc_status fc_draft_begin(fc_draft *d, fc_error *err)
{
    *d = (fc_draft){0};
    d->f = open_memstream(&d->text, &d->n);
    return d->f ? FC_OK : fc_fail(err, FC_EFAIL, "out of memory");
}

fc_status fc_draft_end(fc_draft *d, fc_error *err)
{
    bool full = ferror(d->f) != 0;
    full = fclose(d->f) != 0 || full;
    d->f = NULL;
    return full ? fc_fail(err, FC_EFAIL, "out of memory after %zu bytes of text", d->n) : FC_OK;
}

void fc_draft_free(fc_draft *d)
{
    if (d->f)
        fclose(d->f);
    free(d->text);
    *d = (fc_draft){0};
}

fc_status fc_draft_save(fc_draft *d, fc_status s, const char *path, fc_error *err)
{
    if (s == FC_OK)
        s = fc_draft_end(d, err);
    if (s == FC_OK)
        s = fc_file_write_atomic(path, d->text, d->n, err);
    fc_draft_free(d);
    return s;
}

fc_status fc_mkdir(const char *path, fc_error *err)
{
    if (!make_dir(path))
        return fc_fail(err, FC_EFAIL, "%s: cannot create folder: %s", path, strerror(errno));
    return FC_OK;
}

bool fc_file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

fc_status fc_mkdirs(const char *path, fc_error *err)
{
    if (!*path)
        return fc_fail(err, FC_EFAIL, "cannot create folder: the path is empty");
    char *part = strdup(path);
    if (!part)
        return fc_fail(err, FC_EFAIL, "%s: out of memory", path);
    fc_status s = FC_OK;
    for (char *c = part + 1; s == FC_OK; c++) {
        if (*c != '/' && *c != '\0')
            continue;
        char end = *c;
        *c = '\0';
        if (!make_dir(part))
            s = fc_fail(err, FC_EFAIL, "%s: cannot create folder %s: %s", path, part,
                        strerror(errno));
        *c = end;
        if (!end)
            break;
    }
    free(part);
    return s;
}

void fc_sha256(char hex[65], const void *data, size_t n)
{
    SHA2_CTX ctx;
    SHA256Init(&ctx);
    SHA256Update(&ctx, data, n);
    SHA256End(&ctx, hex);
}
