#include "sim/task_source.h"

#include "core/file.h"
#include "sim/cache.h"
#include "sim/task_merge.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* The task of `from` with the classes of task t in the same order; -1: none. */
static int same_task(const fc_run *r, int t, const fc_run *from)
{
    const int *want = r->tasks.order + r->tasks.first[t];
    int n = r->tasks.first[t + 1] - r->tasks.first[t];
    for (int k = 0; k < from->tasks.n; k++) {
        const int *has = from->tasks.order + from->tasks.first[k];
        if (from->tasks.first[k + 1] - from->tasks.first[k] == n &&
            memcmp(want, has, (size_t)n * sizeof *want) == 0)
            return k;
    }
    return -1;
}

/* One reason why the deltas of `from` are not those of r. */
static fc_status check(const fc_run *r, const fc_run *from, fc_error *err)
{
    const char *why = NULL;
    if (strcmp(r->weights_sha256, from->weights_sha256) != 0 ||
        r->net.shape.image != from->net.shape.image)
        why = "it has another backbone";
    else if (strcmp(r->data.sha256, from->data.sha256) != 0)
        why = "it has other data";
    else if (r->net.mode != from->net.mode || r->net.rank != from->net.rank ||
             !r->deltas.W != !from->deltas.W)
        why = "its deltas have another form or rank: the methods must be alike";
    else if (!from->task_head)
        why = "it keeps no rows of its tasks: it must have tasks.merge as well";
    if (why)
        return fc_fail(err, FC_EUSAGE, "tasks.from: %s: %s", r->cfg->tasks.from, why);
    for (int t = 0; t < r->tasks.n; t++)
        if (same_task(r, t, from) < 0)
            return fc_fail(err, FC_EUSAGE,
                           "tasks.from: %s: none of its tasks has the classes of task %d",
                           r->cfg->tasks.from, t + 1);
    return FC_OK;
}

static void take_rows(fc_run *r, int t, const fc_run *from, int k)
{
    size_t D = (size_t)r->net.shape.width, all = (size_t)r->net.classes * D;
    size_t to = (size_t)r->tasks.first[t], at = (size_t)from->tasks.first[k];
    size_t n = (size_t)(r->tasks.first[t + 1] - r->tasks.first[t]);
    memcpy(r->task_head + to * D, from->task_head + at * D, n * D * sizeof *r->task_head);
    memcpy(r->task_head + all + to, from->task_head + all + at, n * sizeof *r->task_head);
}

static void take(fc_run *r, const fc_run *from)
{
    fc_deltas *d = &r->deltas;
    const fc_deltas *s = &from->deltas;
    for (int t = 0; t < r->tasks.n; t++) {
        int k = same_task(r, t, from);
        size_t to = (size_t)t, at = (size_t)k;
        if (d->W)
            memcpy(d->W + to * d->n_W, s->W + at * d->n_W, d->n_W * sizeof *d->W);
        if (d->A) {
            memcpy(d->A + to * d->n_A, s->A + at * d->n_A, d->n_A * sizeof *d->A);
            memcpy(d->B + to * d->n_B, s->B + at * d->n_B, d->n_B * sizeof *d->B);
        }
        take_rows(r, t, from, k);
    }
}

/* The other run in the cache, by one process at a time; the next one finds it done. */
static fc_status make(fc_run *from, const char *dir, fc_error *err)
{
    char lock[4200], command[] = "fcil", verb[] = "run";
    char *argv[] = {command, verb};
    const fc_run_how how = {.resume = true, .argc = 2, .argv = argv};
    bool done;
    int fd = -1;
    snprintf(lock, sizeof lock, "%s.lock", dir);
    if (from->ranks.me == 0) {
        fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0 || flock(fd, LOCK_EX) != 0) /* a file system without locks: twice the work */
            fc_progress_line(&from->progress, FC_NORMAL, "warning: %s cannot be locked", lock);
    }
    fc_status s = fc_run_in(from, dir, &how, &done, err);
    if (fd >= 0)
        close(fd);
    return s;
}

/* Opens the other run, whose config goes into *c. */
static fc_status open_other(fc_run *from, fc_config *c, const fc_run *r, fc_error *err)
{
    FC_TRY(fc_config_load(c, r->cfg->tasks.from, NULL, 0, err));
    c->data.root = r->cfg->data.root;
    c->run.threads = r->cfg->run.threads;
    c->log.report = false;
    fc_status s = *c->tasks.from ? fc_fail(err, FC_EUSAGE, "tasks.from: %s has tasks.from itself",
                                           r->cfg->tasks.from)
                                 : fc_run_open(from, c, r->progress.console, err);
    if (s != FC_OK)
        fc_config_free(c);
    return s;
}

fc_status fc_task_source_open(fc_run *r, fc_error *err)
{
    fc_config c;
    fc_run from;
    if (!*r->cfg->tasks.from)
        return FC_OK;
    if (!r->cfg->task_rule)
        return fc_fail(err, FC_EUSAGE,
                       "tasks.from: tasks.merge says how its tasks are merged, and is "
                       "not set");
    FC_TRY(open_other(&from, &c, r, err));
    fc_status s = check(r, &from, err);
    memcpy(r->source_hash, from.hash, sizeof r->source_hash);
    fc_run_close(&from);
    fc_config_free(&c);
    return s;
}

static fc_status make_and_take(fc_run *r, fc_run *from, fc_error *err)
{
    char key[9], dir[4096];
    FC_TRY(fc_cache_key(key, from->cfg, err));
    FC_TRY(fc_cache_path(dir, sizeof dir, "tasks-%s", key, err));
    fc_progress_line(&r->progress, FC_NORMAL, "tasks.from: %s in %s", r->cfg->tasks.from, dir);
    FC_TRY(make(from, dir, err));
    take(r, from);
    return FC_OK;
}

fc_status fc_task_source_take(fc_run *r, fc_error *err)
{
    fc_config c;
    fc_run from;
    if (!*r->source_hash)
        return FC_OK;
    FC_TRY(open_other(&from, &c, r, err));
    fc_status s = make_and_take(r, &from, err);
    fc_run_close(&from);
    fc_config_free(&c);
    return s;
}
