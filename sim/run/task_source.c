#include "sim/run/task_source.h"

#include "core/base/file.h"
#include "sim/config/cache.h"
#include "sim/run/run_dir.h"
#include "sim/run/setup.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* The task of `from` with the classes of task t in the same order; -1: none. */
static int same_task(const fc_setup *s, int t, const fc_setup *from)
{
    const int *want = s->tasks.order + s->tasks.first[t];
    int n = s->tasks.first[t + 1] - s->tasks.first[t];
    for (int k = 0; k < from->tasks.n; k++) {
        const int *has = from->tasks.order + from->tasks.first[k];
        if (from->tasks.first[k + 1] - from->tasks.first[k] == n &&
            memcmp(want, has, (size_t)n * sizeof *want) == 0)
            return k;
    }
    return -1;
}

/* One reason why the deltas of `from` are not those of r. */
static fc_status check_source(const fc_setup *s, const fc_setup *from, fc_error *err)
{
    const char *why = NULL;
    if (strcmp(s->weights_sha256, from->weights_sha256) != 0 ||
        s->net.shape.image != from->net.shape.image)
        why = "it has another backbone";
    else if (strcmp(s->data.sha256, from->data.sha256) != 0)
        why = "it has other data";
    else if (s->net.mode != from->net.mode || s->net.rank != from->net.rank ||
             s->trained.folds != from->trained.folds)
        why = "its deltas have another form or rank: the methods must be alike";
    else if (!from->keeps_rows)
        why = "it keeps no rows of its tasks: it must have tasks.merge as well";
    if (why)
        return fc_fail(err, FC_EUSAGE, "tasks.from: %s: %s", s->cfg->tasks.from, why);
    for (int t = 0; t < s->tasks.n; t++)
        if (same_task(s, t, from) < 0)
            return fc_fail(err, FC_EUSAGE,
                           "tasks.from: %s: none of its tasks has the classes of task %d",
                           s->cfg->tasks.from, t + 1);
    return FC_OK;
}

static void take_rows(fc_run *r, int t, const fc_run *from, int k)
{
    size_t D = (size_t)r->setup->net.shape.width, all = (size_t)r->setup->net.classes * D;
    size_t to = (size_t)r->setup->tasks.first[t], at = (size_t)from->setup->tasks.first[k];
    size_t n = (size_t)(r->setup->tasks.first[t + 1] - r->setup->tasks.first[t]);
    memcpy(r->state.task_head + to * D, from->state.task_head + at * D,
           n * D * sizeof *r->state.task_head);
    memcpy(r->state.task_head + all + to, from->state.task_head + all + at,
           n * sizeof *r->state.task_head);
}

static void take_tasks(fc_run *r, const fc_run *from)
{
    fc_deltas *d = &r->state.deltas;
    const fc_deltas *s = &from->state.deltas;
    for (int t = 0; t < r->setup->tasks.n; t++) {
        int k = same_task(r->setup, t, from->setup);
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
static fc_status run_source(fc_run *from, const char *dir, fc_error *err)
{
    char lock[4200], command[] = "fcil", verb[] = "run";
    char *argv[] = {command, verb};
    const fc_run_how how = {.resume = true, .argc = 2, .argv = argv};
    bool done;
    int fd = -1;
    snprintf(lock, sizeof lock, "%s.lock", dir);
    if (from->scratch.ranks.me == 0) {
        fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0 || flock(fd, LOCK_EX) != 0) /* a file system without locks: twice the work */
            fc_progress_line(&from->scratch.progress, FC_NORMAL, "warning: %s cannot be locked",
                             lock);
    }
    fc_status s = fc_run_done(&done, from, dir, err);
    if (s == FC_OK && !done)
        s = fc_run_in(from, dir, &how, err);
    if (fd >= 0)
        close(fd);
    return s;
}

/* The config of the other run, as this one wants it. */
static fc_status load_source(fc_config *c, const fc_config *mine, fc_error *err)
{
    FC_TRY(fc_config_load(c, mine->tasks.from, NULL, 0, err));
    c->data.root = mine->data.root;
    c->run.threads = mine->run.threads;
    c->log.report = false;
    if (!*c->tasks.from)
        return FC_OK;
    fc_config_free(c);
    return fc_fail(err, FC_EUSAGE, "tasks.from: %s has tasks.from itself", mine->tasks.from);
}

/* Looks at the other run without starting it. */
static fc_status look(fc_setup *s, fc_config *c, fc_console console, fc_error *err)
{
    fc_setup from;
    fc_ranks ranks = fc_ranks_world();
    fc_progress progress;
    fc_progress_init(&progress, ranks.me == 0 ? console : (fc_console){0}, 0, 0);
    FC_TRY(fc_setup_open(&from, c, &ranks, &progress, err));
    fc_status status = check_source(s, &from, err);
    memcpy(s->source_hash, from.hash, sizeof s->source_hash);
    fc_setup_close(&from);
    return status == FC_OK ? fc_setup_name(s, err) : status;
}

fc_status fc_task_source_look(fc_setup *s, fc_console console, fc_error *err)
{
    fc_config c;
    if (!*s->cfg->tasks.from)
        return FC_OK;
    if (!s->cfg->task_rule)
        return fc_fail(err, FC_EUSAGE,
                       "tasks.from: tasks.merge says how its tasks are merged, and is not set");
    FC_TRY(load_source(&c, s->cfg, err));
    fc_status status = look(s, &c, console, err);
    fc_config_free(&c);
    return status;
}

static fc_status make_and_take(fc_run *r, fc_run *from, fc_error *err)
{
    char key[9], dir[4096];
    FC_TRY(fc_cache_key(key, from->setup->cfg, err));
    FC_TRY(fc_cache_path(dir, sizeof dir, "tasks-%s", key, err));
    fc_progress_line(&r->scratch.progress, FC_NORMAL, "tasks.from: %s in %s",
                     r->setup->cfg->tasks.from, dir);
    FC_TRY(run_source(from, dir, err));
    take_tasks(r, from);
    return FC_OK;
}

fc_status fc_task_source_take(fc_run *r, fc_error *err)
{
    fc_config c;
    fc_setup setup;
    fc_run from;
    if (!*r->setup->source_hash)
        return FC_OK;
    FC_TRY(load_source(&c, r->setup->cfg, err));
    fc_status s = fc_run_open(&from, &setup, &c, r->scratch.progress.console, NULL, err);
    if (s == FC_OK) {
        s = make_and_take(r, &from, err);
        fc_run_close(&from, &setup);
    }
    fc_config_free(&c);
    return s;
}
