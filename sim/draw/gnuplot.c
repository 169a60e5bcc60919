/* Script, picture and messages are files in memory: no pipe can fill up, and none can break. */
#define _GNU_SOURCE /* memfd_create */
#include "sim/draw/gnuplot.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { IN, OUT, ERR, STREAMS };

/* The whole of a file; NULL if memory is out. */
static char *read_stream(int fd, size_t *n)
{
    off_t size = lseek(fd, 0, SEEK_END);
    char *text = size < 0 ? NULL : malloc((size_t)size + 1);
    ssize_t got = text ? pread(fd, text, (size_t)size, 0) : -1;
    if (got != size) {
        free(text);
        return NULL;
    }
    text[size] = '\0';
    *n = (size_t)size;
    return text;
}

/* Runs gnuplot on the three files. *status as of waitpid. */
static fc_status run_gnuplot(int *status, const int fd[STREAMS], fc_error *err)
{
    char *argv[] = {(char[]){"gnuplot"}, (char[]){"--default-settings"}, NULL};
    posix_spawn_file_actions_t files;
    pid_t pid;
    if (posix_spawn_file_actions_init(&files) != 0)
        return fc_fail(err, FC_EFAIL, "gnuplot: out of memory");
    int why = 0;
    for (int i = 0; i < STREAMS && why == 0; i++)
        why = posix_spawn_file_actions_adddup2(&files, fd[i], i);
    if (why == 0)
        why = posix_spawnp(&pid, argv[0], &files, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    if (why == ENOENT)
        return fc_fail(err, FC_EFAIL, "gnuplot is not installed, expected Debian's gnuplot-nox");
    if (why)
        return fc_fail(err, FC_EFAIL, "gnuplot: cannot start: %s", strerror(why));
    while (waitpid(pid, status, 0) < 0)
        if (errno != EINTR)
            return fc_fail(err, FC_EFAIL, "gnuplot: cannot wait for it: %s", strerror(errno));
    return FC_OK;
}

/* The last line of its messages that is no warning says what is wrong. */
static fc_status explain_refusal(int status, char *messages, fc_error *err)
{
    const char *last = "";
    char *rest;
    if (WIFSIGNALED(status))
        return fc_fail(err, FC_EFAIL, "gnuplot: killed by signal %d", WTERMSIG(status));
    for (char *line = strtok_r(messages, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        if (line[strspn(line, " ")] && !strstr(line, "warning:"))
            last = line + strspn(line, " ");
    return fc_fail(err, FC_EFAIL, "gnuplot: exit %d: %s", WEXITSTATUS(status), last);
}

fc_status fc_gnuplot(char **out, size_t *n, const char *script, fc_error *err)
{
    int fd[STREAMS] = {-1, -1, -1}, status = 0;
    size_t size = strlen(script), n_messages = 0;
    char *messages = NULL;
    fc_status s = FC_OK;
    *out = NULL;
    for (int i = 0; i < STREAMS && s == FC_OK; i++)
        if ((fd[i] = memfd_create("gnuplot", MFD_CLOEXEC)) < 0)
            s = fc_fail(err, FC_EFAIL, "gnuplot: cannot make a file in memory: %s",
                        strerror(errno));
    if (s == FC_OK && (write(fd[IN], script, size) != (ssize_t)size || lseek(fd[IN], 0, SEEK_SET)))
        s = fc_fail(err, FC_EFAIL, "gnuplot: cannot write its script: %s", strerror(errno));
    if (s == FC_OK)
        s = run_gnuplot(&status, fd, err);
    if (s == FC_OK) {
        messages = read_stream(fd[ERR], &n_messages);
        *out = read_stream(fd[OUT], n);
        if (!messages || !*out)
            s = fc_fail(err, FC_EFAIL, "gnuplot: cannot read its output: out of memory");
        else if (status != 0 || *n == 0)
            s = explain_refusal(status, messages, err);
    }
    if (s != FC_OK) {
        free(*out);
        *out = NULL;
    }
    free(messages);
    for (int i = 0; i < STREAMS; i++)
        if (fd[i] >= 0)
            close(fd[i]);
    return s;
}

fc_status fc_gnuplot_draft(char **out, size_t *n, fc_draft *script, fc_status s, fc_error *err)
{
    *out = NULL;
    if (s == FC_OK)
        s = fc_draft_end(script, err);
    if (s == FC_OK)
        s = fc_gnuplot(out, n, script->text, err);
    fc_draft_free(script);
    return s;
}
