#include "sim/jobs/sweep_claim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { CLAIM_MAX = 512 };

/* The process that made a claim, so that whoever is on the same machine sees that it ended. */
typedef struct owner {
    char host[65], boot[65], space[65]; /* space: of process numbers, one per container */
    long pid;
    unsigned long long start; /* of the process, as numbers are used again */
} owner;

/* First word of a file of /proc. */
static void first_word(char word[65], const char *path)
{
    snprintf(word, 65, "?");
    FILE *f = fopen(path, "re");
    if (!f)
        return;
    if (fscanf(f, "%64s", word) != 1)
        snprintf(word, 65, "?");
    fclose(f);
}

/* When a process began, in clock ticks since boot: field 22 of its stat. 0 if there is none. */
static unsigned long long start_of(long pid)
{
    char path[64], text[1024];
    unsigned long long start = 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    char *p = strrchr(text, ')'); /* behind the name, which may hold anything */
    if (!p || p[1] != ' ' || p[2] == 'Z')
        return 0; /* a zombie has ended */
    for (int field = 2; p && field < 22; field++)
        p = strchr(p + 1, ' ');
    return p && sscanf(p, "%llu", &start) == 1 ? start : 0;
}

static void here(owner *o)
{
    char link[64];
    *o = (owner){.pid = (long)getpid()};
    if (gethostname(o->host, sizeof o->host - 1) != 0 || !*o->host)
        snprintf(o->host, sizeof o->host, "?");
    first_word(o->boot, "/proc/sys/kernel/random/boot_id");
    ssize_t n = readlink("/proc/self/ns/pid", link, sizeof link - 1);
    snprintf(o->space, sizeof o->space, "%.*s", n > 0 ? (int)n : 1, n > 0 ? link : "?");
    o->start = start_of(o->pid);
}

/* All lines of one claim have the same length, so that they replace each other. */
static fc_status write_line(fc_claim *c, int fd, const char *state)
{
    char line[CLAIM_MAX];
    owner o;
    here(&o);
    int n = snprintf(line, sizeof line,
                     "%-8s beat %010lu host %s boot %s space %s pid %ld start %llu\n", state,
                     ++c->beat, o.host, o.boot, o.space, o.pid, o.start);
    return pwrite(fd, line, (size_t)n, 0) == n ? FC_OK : FC_EFAIL;
}

static bool make_path(char path[4096], const char *dir, const char *id, int g)
{
    return snprintf(path, 4096, "%s/%s.%d", dir, id, g) < 4096;
}

fc_status fc_claim_take(bool *taken, fc_claim *c, const char *dir, const char *id, int g,
                        fc_error *err)
{
    *taken = false;
    *c = (fc_claim){.dir = dir, .id = id, .generation = g};
    if (!make_path(c->path, dir, id, g))
        return fc_fail(err, FC_EFAIL, "%.200s: path too long", dir);
    int fd = open(c->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0 && errno == EEXIST)
        return FC_OK;
    fc_status st = fd >= 0 ? write_line(c, fd, "running") : FC_EFAIL;
    int why = errno;
    if (fd >= 0 && close(fd) != 0 && st == FC_OK) {
        st = FC_EFAIL;
        why = errno;
    }
    if (st != FC_OK) {
        if (fd >= 0)
            unlink(c->path);
        return fc_fail(err, FC_EFAIL, "%s: cannot create: %s", c->path, strerror(why));
    }
    *taken = true;
    return FC_OK;
}

/* Never creates the file: it is gone when the run is published. */
static bool rewrite(fc_claim *c, const char *state)
{
    int fd = open(c->path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return errno != ENOENT; /* a file server that is away for a moment takes nothing from us */
    write_line(c, fd, state);
    close(fd);
    return true;
}

bool fc_claim_beat(fc_claim *c)
{
    char next[4096];
    return rewrite(c, "running") &&
           !(make_path(next, c->dir, c->id, c->generation + 1) && access(next, F_OK) == 0);
}

void fc_claim_release(fc_claim *c)
{
    rewrite(c, "released");
}

static bool same_machine(const owner *a, const owner *b)
{
    return strcmp(a->host, b->host) == 0 && strcmp(a->boot, b->boot) == 0 &&
           strcmp(a->space, b->space) == 0 && strcmp(a->boot, "?") != 0;
}

bool fc_claim_read(fc_claim_info *info, const char *dir, const char *id, int g)
{
    char path[4096], line[CLAIM_MAX] = "", state[9];
    struct stat st;
    owner o = {0}, me;
    *info = (fc_claim_info){.host = "?"};
    if (!make_path(path, dir, id, g))
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC); /* NFS asks the server again at each open */
    if (fd < 0)
        return false;
    ssize_t n = read(fd, line, sizeof line - 1);
    if (fstat(fd, &st) == 0)
        info->age_s = difftime(time(NULL), st.st_mtime);
    close(fd);
    line[n > 0 ? n : 0] = '\0';
    if (sscanf(line, "%8s beat %lu host %64s boot %64s space %64s pid %ld start %llu", state,
               &info->beat, o.host, o.boot, o.space, &o.pid, &o.start) != 7)
        return true; /* just being written, or never: no sign of life */
    here(&me);
    info->released = strcmp(state, "released") == 0;
    info->dead = same_machine(&o, &me) && start_of(o.pid) != o.start;
    info->pid = o.pid;
    memcpy(info->host, o.host, sizeof info->host);
    return true;
}

int fc_claim_name(char id[9], const char *name)
{
    if (strspn(name, "0123456789abcdef") != 8 || name[8] != '.')
        return -1;
    snprintf(id, 9, "%.8s", name);
    char *end;
    long g = strtol(name + 9, &end, 10);
    return name[9] >= '0' && name[9] <= '9' && *end == '\0' && g < 1000000 ? (int)g : -1;
}
