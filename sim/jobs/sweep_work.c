#include "sim/jobs/sweep_work.h"

#include "core/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_dot(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

fc_status fc_work_path(char path[FC_PATH_MAX], const fc_sweep_view *v, const char *id, int g,
                       bool log, fc_error *err)
{
    return fc_out_path(path, err, "%s/%s.%d%s", v->work, id, g, log ? ".log" : "");
}

/* rm -r. Again while files appear: of a process that was killed and is not dead yet. */
static void remove_tree(const char *path)
{
    if (unlink(path) == 0)
        return;
    for (int tries = 0; tries < 100 && rmdir(path) != 0; tries++) {
        DIR *d = opendir(path);
        for (struct dirent *e; d && (e = readdir(d));) {
            char child[FC_PATH_MAX];
            if (!is_dot(e->d_name) && fc_out_path(child, NULL, "%s/%s", path, e->d_name) == FC_OK)
                remove_tree(child);
        }
        if (!d)
            return;
        closedir(d);
    }
}

/* Files that vanish meanwhile are left out: checkpoints make room for newer ones. */
static fc_status copy_file(const char *to, const char *from, fc_error *err)
{
    char buf[1 << 16];
    fc_status st = FC_OK;
    ssize_t n = 0;
    int in = open(from, O_RDONLY | O_CLOEXEC), out = -1;
    if (in < 0)
        return errno == ENOENT
                   ? FC_OK
                   : fc_fail(err, FC_EFAIL, "%s: cannot read: %s", from, strerror(errno));
    out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (out < 0)
        st = fc_fail(err, FC_EFAIL, "%s: cannot create: %s", to, strerror(errno));
    while (st == FC_OK && (n = read(in, buf, sizeof buf)) > 0) {
        ssize_t done = write(out, buf, (size_t)n);
        if (done != n)
            st = fc_fail(err, FC_EFAIL, "%s: cannot write: %s", to,
                         strerror(done < 0 ? errno : ENOSPC));
    }
    if (st == FC_OK && n < 0)
        st = fc_fail(err, FC_EFAIL, "%s: cannot read: %s", from, strerror(errno));
    close(in);
    if (out >= 0 && close(out) != 0 && st == FC_OK)
        st = fc_fail(err, FC_EFAIL, "%s: cannot write: %s", to, strerror(errno));
    return st;
}

/* cp -r; folders first: the checkpoints are then no newer than the CSV files that belong to them.
 */
static fc_status copy_all(const char *to, const char *from, fc_error *err)
{
    fc_status st = fc_mkdirs(to, err);
    for (int folders = 1; folders >= 0 && st == FC_OK; folders--) {
        DIR *d = opendir(from);
        if (!d && errno != ENOENT)
            st = fc_fail(err, FC_EFAIL, "%s: cannot read: %s", from, strerror(errno));
        for (struct dirent *e; st == FC_OK && d && (e = readdir(d));) {
            char a[FC_PATH_MAX], b[FC_PATH_MAX];
            struct stat info;
            if (is_dot(e->d_name))
                continue;
            st = fc_out_path(a, err, "%s/%s", from, e->d_name);
            if (st == FC_OK)
                st = fc_out_path(b, err, "%s/%s", to, e->d_name);
            if (st != FC_OK || stat(a, &info) != 0 || (S_ISDIR(info.st_mode) != 0) != folders)
                continue;
            st = folders ? copy_all(b, a, err) : copy_file(b, a, err);
        }
        if (d)
            closedir(d);
    }
    return st;
}

void fc_work_remove(const fc_sweep_view *v, const char *id, int g)
{
    char path[FC_PATH_MAX], trash[FC_PATH_MAX];
    if (fc_work_path(path, v, id, g, false, NULL) != FC_OK ||
        fc_out_path(trash, NULL, "%s.%ld.trash", path, (long)getpid()) != FC_OK)
        return;
    if (rename(path, trash) == 0)
        remove_tree(trash);
    if (fc_work_path(path, v, id, g, true, NULL) == FC_OK)
        unlink(path);
}

/* path = the newest work folder of a generation up to g, which is returned, or -1. */
static int newest_work(char path[FC_PATH_MAX], const fc_sweep_view *v, const char *id, int g)
{
    struct stat st;
    while (g >= 0 && (fc_work_path(path, v, id, g, false, NULL) != FC_OK || stat(path, &st) != 0))
        g--;
    return g;
}

/* to = from, whole or not at all. *gone: from was taken away meanwhile (by fc_work_remove, so all
 * at once), and files may be missing from what was copied. */
static fc_status copy_whole(bool *gone, const char *to, const char *from, fc_error *err)
{
    char copy[FC_PATH_MAX];
    struct stat st;
    FC_TRY(fc_out_path(copy, err, "%s.copy", to));
    fc_status s = copy_all(copy, from, err);
    *gone = s == FC_OK && stat(from, &st) != 0;
    if (s == FC_OK && !*gone && rename(copy, to) != 0)
        s = fc_fail(err, FC_EFAIL, "%s: cannot rename to %s: %s", copy, to, strerror(errno));
    if (s != FC_OK || *gone)
        remove_tree(copy);
    return s;
}

fc_status fc_work_inherit(const fc_sweep_view *v, const char *id, int g, bool released,
                          fc_error *err)
{
    char to[FC_PATH_MAX], from[FC_PATH_MAX];
    bool gone;
    int old;
    FC_TRY(fc_work_path(to, v, id, g, false, err));
    do { /* again if another heir, not dead yet, was faster: the newest is then its own folder */
        old = newest_work(from, v, id, g - 1);
        if (old < 0)
            return FC_OK;
        gone = false;
        if (!released || old != g - 1 || rename(from, to) != 0)
            FC_TRY(copy_whole(&gone, to, from, err));
    } while (gone);
    for (; old >= 0; old--)
        fc_work_remove(v, id, old);
    return FC_OK;
}

fc_status fc_work_publish(bool *first, const fc_sweep_view *v, const fc_sweep_run *r, int g,
                          fc_error *err)
{
    char path[FC_PATH_MAX];
    struct stat st;
    FC_TRY(fc_work_path(path, v, r->id, g, false, err));
    *first = rename(path, r->dir) == 0;
    int why = errno;
    if (*first)
        return FC_OK;
    if (stat(r->dir, &st) != 0 && stat(path, &st) == 0)
        return fc_fail(err, FC_EFAIL, "%s: cannot rename to %s: %s", path, r->dir, strerror(why));
    fc_work_remove(v, r->id, g);
    return FC_OK;
}

/* Everything in a folder whose name begins with id. */
static void remove_named(const char *dir, const char *id)
{
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[FC_PATH_MAX];
        if (strncmp(e->d_name, id, strlen(id)) == 0 &&
            fc_out_path(path, NULL, "%s/%s", dir, e->d_name) == FC_OK)
            remove_tree(path);
    }
    if (d)
        closedir(d);
}

void fc_work_clean(const fc_sweep_view *v, const char *id)
{
    remove_named(v->work, id);
    remove_named(v->failed, id);
    remove_named(v->claims, id);
}
