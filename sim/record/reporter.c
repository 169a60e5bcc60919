#define _GNU_SOURCE /* pipe2 */
#include "sim/record/reporter.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { NICE = 15, SHARE = 20 };
static const double rest_min_s = 2;

void fc_reporter_init(fc_reporter *r, const char *dir, fc_progress *progress)
{
    *r = (fc_reporter){.dir = dir, .progress = progress};
}

static void warn_once(fc_reporter *r, const char *why)
{
    if (!r->warned)
        fc_progress_line(r->progress, FC_NORMAL, "warning: report.html: %s", why);
    r->warned = true;
}

/* In a group of its own, so that Ctrl-C stops the run only. */
static int spawn_report(fc_reporter *r, int messages)
{
    char *argv[] = {(char[]){"fcil"}, (char[]){"report"}, (char[]){"--"}, NULL, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    char dir[4096];
    snprintf(dir, sizeof dir, "%s", r->dir);
    argv[3] = dir;
    int why = posix_spawn_file_actions_init(&files);
    if (why)
        return why;
    why = posix_spawnattr_init(&how);
    if (why) {
        posix_spawn_file_actions_destroy(&files);
        return why;
    }
    posix_spawnattr_setflags(&how, POSIX_SPAWN_SETPGROUP);
    why = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (!why)
        why = posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (!why)
        why = posix_spawn_file_actions_adddup2(&files, messages, STDERR_FILENO);
    if (!why)
        why = posix_spawn(&r->child, "/proc/self/exe", &files, &how, argv, environ);
    posix_spawnattr_destroy(&how);
    posix_spawn_file_actions_destroy(&files);
    return why;
}

static void start_report(fc_reporter *r)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        warn_once(r, strerror(errno));
        return;
    }
    int why = spawn_report(r, ends[1]);
    close(ends[1]);
    if (why) {
        r->child = 0;
        close(ends[0]);
        warn_once(r, strerror(why));
        return;
    }
    r->messages = ends[0];
    r->started = fc_wall();
}

/* Is it over? Then what it said becomes the warning. */
static bool collect_report(fc_reporter *r, bool wait)
{
    int status;
    pid_t got;
    do
        got = waitpid(r->child, &status, wait ? 0 : WNOHANG);
    while (got < 0 && errno == EINTR);
    if (got == 0)
        return false;
    char said[512] = "";
    ssize_t n = read(r->messages, said, sizeof said - 1);
    said[n > 0 ? n : 0] = '\0';
    said[strcspn(said, "\n")] = '\0';
    if (*said)
        warn_once(r, strncmp(said, "fcil: ", 6) == 0 ? said + 6 : said);
    else if (got > 0 && status != 0)
        warn_once(r, "fcil report failed");
    close(r->messages);
    r->child = 0;
    r->rest_s = fmax(rest_min_s, SHARE * (fc_wall() - r->started));
    return true;
}

void fc_reporter_round(fc_reporter *r)
{
    if (!r->dir || (r->child && !collect_report(r, false)))
        return;
    if (r->started != 0 && fc_wall() - r->started < r->rest_s)
        return;
    start_report(r);
    if (r->child)
        setpriority(PRIO_PROCESS, (id_t)r->child, NICE);
}

void fc_reporter_end(fc_reporter *r)
{
    if (!r->dir)
        return;
    if (r->child)
        collect_report(r, true);
    start_report(r);
    if (r->child)
        collect_report(r, true);
}
