/* The loop of a worker: one thread that waits for its children, says that it is alive, and looks
 * for the next run. */
#define _GNU_SOURCE /* strsignal, sigtimedwait */
#include "sim/jobs/sweep_run.h"

#include "core/base/file.h"
#include "core/base/threads.h"
#include "sim/jobs/sweep_halving.h"
#include "sim/jobs/sweep_position.h"
#include "sim/jobs/sweep_work.h"
#include "sim/parallel/signals.h"
#include "sim/record/reporter.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const double tick_s = 0.5, look_s = 2, count_s = 2;
static const char taken_over[] = "  (taken over by another worker)";

/* A child at work; run is NULL where the place is free. */
typedef struct job {
    const fc_sweep_run *run;
    pid_t pid;
    fc_claim claim;
    bool lost; /* somebody took the run over, or published it */
    double begin;
} job;

typedef struct worker {
    const fc_sweep *s;
    const fc_worker_options *o;
    fc_sweep_view view;
    job *job;     /* (o->jobs) */
    int *retried; /* (runs) failures up to this generation are tried again */
    int threads, running;
    bool stopping, waits; /* waits: for others, which was said */
    double last_beat, last_look, last_count;
    sigset_t mask; /* of a child */
    fc_progress progress;
    fc_error *err;
} worker;

/* --- children -----------------------------------------------------------------------------------
 */

/* Threads of job place j: all of them together use what this process has. */
static int threads_of(const worker *w, int j)
{
    int n = w->threads / w->o->jobs + (j < w->threads % w->o->jobs);
    return n > 0 ? n : 1;
}

/* The words of `fcil run`. */
static char **child_argv(const fc_sweep_run *r, const char *dir, const char *threads,
                         fc_arena *arena, fc_error *err)
{
    const char *const head[] = {"fcil", "run", r->config};
    const char *const tail[] = {"--dir", dir, "--resume", "--quiet", "--threads", threads};
    size_t n = sizeof head / sizeof *head, m = sizeof tail / sizeof *tail, k = 0;
    size_t most = n + (size_t)r->n_override + m;
    char **argv = fc_arena_alloc(arena, most + 1, sizeof *argv, err);
    for (size_t i = 0; argv && i < most; i++) {
        const char *word = i < n          ? head[i]
                           : i < most - m ? r->override[i - n]
                                          : tail[i - (most - m)];
        if (!(argv[k++] = fc_arena_strdup(arena, word, err)))
            return NULL;
    }
    return argv;
}

/* In the child, which takes the copy of a large checkpoint off its parent; never returns. */
static void become_child(const worker *w, const job *b, bool released, char **argv, int log,
                         pid_t parent)
{
    fc_error err = {0};
    sigprocmask(SIG_SETMASK, &w->mask, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a worker that is killed leaves no orphans */
    if (getppid() != parent)
        _exit(FC_EFAIL);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    /* of a worker under mpirun, whose runs are no ranks of that job: what main.c looks for */
    unsetenv("OMPI_COMM_WORLD_SIZE");
    unsetenv("PMI_SIZE");
    unsetenv("PMIX_RANK");
    if (fc_work_inherit(&w->view, b->run->id, b->claim.generation, released, &err) == FC_OK) {
        execv("/proc/self/exe", argv);
        fc_fail(&err, FC_EFAIL, "cannot start /proc/self/exe: %s", strerror(errno));
    }
    dprintf(STDERR_FILENO, "fcil: %s\n", err.msg);
    _exit(FC_EFAIL);
}

/* released: the owner of the generation before let go of it. */
static fc_status spawn_child(worker *w, int j, bool released, fc_error *err)
{
    fc_arena arena = {0};
    job *b = &w->job[j];
    char dir[FC_PATH_MAX], path[FC_PATH_MAX], threads[16];
    FC_TRY(fc_work_path(dir, &w->view, b->run->id, b->claim.generation, false, err));
    FC_TRY(fc_work_path(path, &w->view, b->run->id, b->claim.generation, true, err));
    fc_status st = FC_OK;
    snprintf(threads, sizeof threads, "%d", threads_of(w, j));
    char **argv = child_argv(b->run, dir, threads, &arena, err);
    int log = argv ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666) : -1;
    pid_t parent = getpid();
    if (!argv)
        st = FC_EFAIL;
    else if (log < 0)
        st = fc_fail(err, FC_EFAIL, "%s: cannot create: %s", path, strerror(errno));
    else if ((b->pid = fork()) < 0)
        st = fc_fail(err, FC_EFAIL, "cannot start a process: %s", strerror(errno));
    else if (b->pid == 0)
        become_child(w, b, released, argv, log, parent);
    if (log >= 0)
        close(log);
    fc_arena_free(&arena);
    b->begin = fc_wall();
    return st;
}

static void say_run(worker *w, const char *what, const fc_sweep_run *r, const char *more)
{
    char label[256];
    fc_sweep_label(label, sizeof label, w->s, r);
    fc_progress_line(&w->progress, FC_NORMAL, "%-9s %s%s", what, label, more);
}

/* --- the end of a child -------------------------------------------------------------------------
 */

/* The last line of its messages that is an error, or how it ended. */
static void reason_of(char why[512], const worker *w, const job *b, int status)
{
    char path[FC_PATH_MAX], line[1100];
    if (WIFSIGNALED(status))
        snprintf(why, 512, "killed by signal %d%s", WTERMSIG(status),
                 WTERMSIG(status) == SIGKILL ? " (out of memory?)" : "");
    else
        snprintf(why, 512, "exit code %d", WEXITSTATUS(status));
    if (fc_work_path(path, &w->view, b->run->id, b->claim.generation, true, NULL) != FC_OK)
        return;
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "fcil: ", 6) == 0 && !WIFSIGNALED(status))
            snprintf(why, 512, "%.511s", line + 6);
    }
    if (f)
        fclose(f);
}

/* No fault of the run: it would go well with more room, and so would nothing without. */
static bool is_no_room(const char *why)
{
    return strstr(why, strerror(ENOSPC)) || strstr(why, strerror(EDQUOT));
}

static fc_status record_failure(worker *w, job *b, int status)
{
    char why[512], path[FC_PATH_MAX], text[600];
    reason_of(why, w, b, status);
    if (is_no_room(why)) {
        say_run(w, "stopped", b->run, "");
        return fc_fail(w->err, FC_EFAIL, "%s; with more room, the same command goes on", why);
    }
    say_run(w, "failed", b->run, "");
    fc_progress_line(&w->progress, FC_QUIET, "          %s", why);
    if (WIFEXITED(status) && WEXITSTATUS(status) == FC_ECKPT) /* it would fail again */
        fc_work_remove(&w->view, b->run->id, b->claim.generation);
    FC_TRY(fc_out_path(path, w->err, "%s/%s", w->view.failed, b->run->id));
    int n = snprintf(text, sizeof text, "generation %d\n%s\n", b->claim.generation, why);
    return fc_file_write_atomic(path, text, (size_t)n, w->err);
}

/* A published run: its page was written in the work folder, so now again, with the paths of this
 * one. The claims go last: while they are there, the next worker does it again. */
static void settle_run(worker *w, const fc_sweep_run *r)
{
    char page[FC_PATH_MAX];
    fc_reporter reporter;
    bool has_page = fc_out_find(page, r->dir, "report.html");
    fc_reporter_init(&reporter, has_page ? r->dir : NULL, &w->progress);
    fc_reporter_end(&reporter);
    fc_work_clean(&w->view, r->id);
}

static fc_status publish_run(worker *w, job *b)
{
    bool first;
    char duration[32], more[64];
    FC_TRY(fc_work_publish(&first, &w->view, b->run, b->claim.generation, w->err));
    if (!first) {
        say_run(w, "let go", b->run, taken_over);
        return FC_OK;
    }
    settle_run(w, b->run);
    fc_halving_look(&w->view);
    snprintf(more, sizeof more, "  %s %.2f in %s",
             w->s->halving.rungs ? w->s->halving.metric : "FAA",
             w->view.run[b->run - w->s->run].metric, fc_duration(duration, fc_wall() - b->begin));
    say_run(w, "finished", b->run, more);
    return FC_OK;
}

/* The run is somebody else's now: published, or claimed in a higher generation. */
static bool is_lost(job *b)
{
    struct stat st;
    return b->lost || stat(b->run->dir, &st) == 0 || !fc_claim_beat(&b->claim);
}

static fc_status child_ended(worker *w, job *b, int status)
{
    fc_status st = FC_OK;
    bool done = WIFEXITED(status) && WEXITSTATUS(status) == FC_OK;
    /* with a checkpoint, or by the signal itself as it did not listen yet */
    bool stopped = WIFEXITED(status) ? WEXITSTATUS(status) == FC_ESTOP : fc_stop_requested();
    if (b->lost || (!done && is_lost(b))) {
        say_run(w, "let go", b->run, taken_over);
        fc_work_remove(&w->view, b->run->id, b->claim.generation);
    } else if (done) {
        st = publish_run(w, b);
    } else {
        if (stopped)
            say_run(w, "stopped", b->run, "");
        else
            st = record_failure(w, b, status);
    }
    fc_claim_release(&b->claim);
    b->run = NULL;
    w->running--;
    w->last_look = w->last_count = -INFINITY; /* the next one at once */
    return st;
}

static fc_status collect_children(worker *w)
{
    for (int j = 0; j < w->o->jobs; j++) {
        int status;
        if (w->job[j].run && waitpid(w->job[j].pid, &status, WNOHANG) == w->job[j].pid)
            FC_TRY(child_ended(w, &w->job[j], status));
    }
    return FC_OK;
}

static void signal_children(worker *w, int signal)
{
    for (int j = 0; j < w->o->jobs; j++)
        if (w->job[j].run)
            kill(w->job[j].pid, signal);
}

/* --- the next run -------------------------------------------------------------------------------
 */

static bool is_mine(const worker *w, int i)
{
    return w->o->only ? strcmp(w->s->run[i].id, w->o->only) == 0 : i % w->o->of == w->o->shard;
}

/* Failed, and not to be tried again. */
static bool has_failed(const worker *w, int i)
{
    const fc_run_view *r = &w->view.run[i];
    return r->state == FC_RUN_FAILED && r->failed_generation > w->retried[i];
}

/* Nothing is left to do for it. */
static bool is_closed(const worker *w, int i)
{
    return w->view.run[i].state == FC_RUN_DONE || has_failed(w, i);
}

static bool runs_here(const worker *w, int i)
{
    for (int j = 0; j < w->o->jobs; j++)
        if (w->job[j].run == &w->s->run[i])
            return true;
    return false;
}

/* Does the owner of a claim give no sign of life? */
static bool is_stale(const worker *w, int i)
{
    const fc_run_view *r = &w->view.run[i];
    return r->claim.dead || r->silent_s >= w->o->stale_s;
}

/* Claim run i in its next generation and start it in place j. *started: false if somebody else was
 * faster. */
static fc_status start_run(bool *started, worker *w, int i, int j)
{
    const fc_run_view *r = &w->view.run[i];
    job *b = &w->job[j];
    struct stat st;
    char failed[FC_PATH_MAX];
    int g = r->generation + 1;
    *b = (job){0};
    FC_TRY(fc_claim_take(started, &b->claim, w->view.claims, w->s->run[i].id, g, w->err));
    if (!*started)
        return FC_OK;
    b->run = &w->s->run[i];
    if (stat(b->run->dir, &st) == 0) { /* published since we looked */
        settle_run(w, b->run);
        *b = (job){0};
        *started = false;
        return FC_OK;
    }
    fc_status s = fc_out_path(failed, w->err, "%s/%s", w->view.failed, b->run->id);
    if (s == FC_OK)
        s = spawn_child(w, j, r->claim.released, w->err);
    if (s != FC_OK) {
        fc_claim_release(&b->claim);
        *b = (job){0};
        return s;
    }
    unlink(failed);
    w->running++;
    w->last_count = -INFINITY;
    say_run(w, g ? "resumed" : "started", b->run, "");
    return FC_OK;
}

/* Fill the free places. */
static fc_status start_runs(worker *w)
{
    int j = 0;
    for (int i = 0; i < w->s->n_runs; i++) {
        const fc_run_view *r = &w->view.run[i];
        while (j < w->o->jobs && w->job[j].run)
            j++;
        if (j == w->o->jobs)
            return FC_OK;
        if (!is_mine(w, i) || !r->wanted || is_closed(w, i) || runs_here(w, i))
            continue;
        if (r->state == FC_RUN_CLAIMED && !is_stale(w, i))
            continue;
        bool started;
        FC_TRY(start_run(&started, w, i, j));
    }
    return FC_OK;
}

/* Is all done that this worker may do? A search opens its next rung once everybody's runs of this
 * one are closed. */
static bool is_finished(const worker *w)
{
    for (int i = 0; i < w->s->n_runs; i++) {
        bool counts = is_mine(w, i) || (w->s->halving.rungs && !w->o->only);
        if (counts && w->view.run[i].wanted && !is_closed(w, i))
            return false;
    }
    return true;
}

static fc_status look_for_runs(worker *w)
{
    w->last_look = fc_wall();
    fc_halving_look(&w->view);
    FC_TRY(start_runs(w));
    if (w->running == 0 && !w->waits && !is_finished(w)) {
        fc_progress_line(&w->progress, FC_NORMAL, "waiting for runs of other workers");
        w->waits = true;
    }
    return FC_OK;
}

/* --- the loop -----------------------------------------------------------------------------------
 */

/* Say that we are alive; let go of what others took over. */
static void beat_claims(worker *w)
{
    w->last_beat = fc_wall();
    for (int j = 0; j < w->o->jobs; j++) {
        job *b = &w->job[j];
        if (b->run && !b->lost && !fc_claim_beat(&b->claim)) {
            b->lost = true;
            kill(b->pid, SIGKILL);
        }
    }
}

/* Counts of this worker's part. */
static void count_runs(int n[4], int *failed, const worker *w)
{
    memset(n, 0, 4 * sizeof *n);
    *failed = 0;
    for (int i = 0; i < w->s->n_runs; i++)
        if (is_mine(w, i) && w->view.run[i].wanted) {
            n[w->view.run[i].state]++;
            *failed += has_failed(w, i);
        }
}

/* Work of this worker's part in rows of rounds.csv, so that a long run counts before its end.
 * Failed runs are left out. */
static void count_rows(double *done, double *total, worker *w)
{
    *done = *total = 0;
    for (int i = 0; i < w->s->n_runs; i++)
        if (is_mine(w, i) && w->view.run[i].wanted && !has_failed(w, i)) {
            *done += (double)fc_sweep_position_of(&w->view, i).rows;
            *total += (double)w->s->run[i].rows;
        }
}

static void draw_counts(worker *w)
{
    int n[4], failed;
    double done, now = fc_wall();
    if (!w->progress.terminal || now - w->last_count < count_s)
        return;
    w->last_count = now;
    fc_halving_look(&w->view);
    count_runs(n, &failed, w);
    count_rows(&done, &w->progress.total, w);
    fc_progress_stage(&w->progress,
                      (fc_counter){"done", n[FC_RUN_DONE] + failed, n[0] + n[1] + n[2] + n[3]},
                      (fc_counter){"running", w->running, w->o->jobs}, 0);
    fc_progress_add(&w->progress, done - w->progress.done, 0, NAN);
}

/* Until a child ends, or the time is over; a signal wakes it too. */
static void wait_a_tick(void)
{
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    struct timespec t = {.tv_nsec = (long)(tick_s * 1e9)};
    sigtimedwait(&child, NULL, &t);
}

static fc_status work_one_tick(worker *w)
{
    double now = fc_wall();
    FC_TRY(collect_children(w));
    if (now - w->last_beat >= fmin(w->o->stale_s / 12, 5))
        beat_claims(w);
    if (!w->stopping && w->running < w->o->jobs && now - w->last_look >= look_s)
        FC_TRY(look_for_runs(w));
    return FC_OK;
}

static fc_status work_until_closed(worker *w)
{
    fc_status st = look_for_runs(w);
    while (w->running > 0 || (st == FC_OK && !w->stopping && !is_finished(w))) {
        draw_counts(w);
        wait_a_tick();
        if (!w->stopping && (fc_stop_requested() || st != FC_OK)) {
            w->stopping = true;
            signal_children(w, SIGTERM); /* each saves a checkpoint */
        }
        fc_status now = work_one_tick(w);
        st = st == FC_OK ? now : st;
    }
    return st;
}

/* What failed in this worker's part, each with its reason. */
static fc_status report_failures(worker *w)
{
    int n[4], failed;
    count_runs(n, &failed, w);
    if (failed == 0)
        return FC_OK;
    for (int i = 0; i < w->s->n_runs; i++)
        if (is_mine(w, i) && w->view.run[i].wanted && has_failed(w, i)) {
            char label[256];
            fc_sweep_label(label, sizeof label, w->s, &w->s->run[i]);
            fc_progress_line(&w->progress, FC_QUIET, "failed    %s\n          %s", label,
                             w->view.run[i].why);
        }
    return fc_fail(w->err, FC_EFAIL, "%d of %d runs failed; --retry-failed tries them again",
                   failed, n[0] + n[1] + n[2] + n[3]);
}

/* What there is to do, and warnings. */
static void greet_user(worker *w)
{
    int n[4], failed;
    double rows, of;
    count_runs(n, &failed, w);
    count_rows(&rows, &of, w);
    int all = n[0] + n[1] + n[2] + n[3], done = n[FC_RUN_DONE];
    fc_progress_init(&w->progress, w->o->console, of, rows);
    w->progress.counts_only = true;
    const char *plural = w->threads > 1 ? "s" : "";
    fc_progress_line(&w->progress, FC_NORMAL,
                     "%d run%s: %d done, %d failed, %d running elsewhere; %d job%s on %d thread%s",
                     all, all == 1 ? "" : "s", done, failed, n[FC_RUN_CLAIMED], w->o->jobs,
                     w->o->jobs > 1 ? "s" : "", w->threads, plural);
    if (w->o->jobs > w->threads)
        fc_progress_line(&w->progress, FC_NORMAL, "warning: %d jobs share %d thread%s", w->o->jobs,
                         w->threads, plural);
    if (w->s->on_test_images)
        fc_progress_line(&w->progress, FC_NORMAL,
                         "warning: this search chooses on the test images; "
                         "data.validation_per_class holds out training images for it");
}

static fc_status prepare_worker(worker *w)
{
    size_t n = (size_t)w->s->n_runs;
    FC_TRY(fc_sweep_view_open(&w->view, w->s, true, w->err));
    w->job = fc_arena_alloc(&w->view.arena, (size_t)w->o->jobs, sizeof *w->job, w->err);
    w->retried = fc_arena_alloc(&w->view.arena, n, sizeof *w->retried, w->err);
    if (!w->job || !w->retried)
        return FC_EFAIL;
    w->threads = w->s->threads ? w->s->threads : fc_threads_default();
    fc_halving_look(&w->view);
    for (size_t i = 0; i < n; i++) {
        const fc_run_view *r = &w->view.run[i];
        struct stat st;
        if (stat(w->s->run[i].dir, &st) == 0 && !S_ISDIR(st.st_mode))
            return fc_fail(w->err, FC_EFAIL, "%s: is a file, expected a folder of a run or nothing",
                           w->s->run[i].dir);
        bool again = w->o->retry_failed && r->state == FC_RUN_FAILED;
        w->retried[i] = again ? r->failed_generation : -1;
    }
    const fc_sweep_run *only = w->o->only ? fc_sweep_find(w->s, w->o->only) : NULL;
    if (w->o->only && (!only || !w->view.run[only - w->s->run].wanted))
        return fc_fail(w->err, FC_EUSAGE, "sweep run: --only %.40s: %s", w->o->only,
                       only ? "the search has not chosen this run"
                            : "no run of this sweep (fcil sweep plan lists them)");
    greet_user(w);
    for (int i = 0; i < w->s->n_runs; i++)
        if (w->view.run[i].state == FC_RUN_DONE && w->view.run[i].generation >= 0)
            settle_run(w, &w->s->run[i]); /* its worker was killed in between */
    return FC_OK;
}

fc_worker_options fc_worker_defaults(int jobs, fc_console console)
{
    return (fc_worker_options){
        .jobs = jobs, .of = 1, .stale_s = FC_CLAIM_STALE_S, .console = console};
}

fc_status fc_sweep_work(const fc_sweep *s, const fc_worker_options *o, fc_error *err)
{
    worker w = {.s = s, .o = o, .err = err, .last_look = -INFINITY, .last_count = -INFINITY};
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    fc_signals_install();
    sigprocmask(SIG_BLOCK, &child, &w.mask);
    fc_status st = prepare_worker(&w);
    if (st == FC_OK)
        st = work_until_closed(&w);
    fc_progress_end(&w.progress);
    if (st == FC_OK)
        st = w.stopping && !is_finished(&w)
                 ? fc_fail(err, FC_ESTOP, "stopped; to go on: the same command")
                 : report_failures(&w);
    sigprocmask(SIG_SETMASK, &w.mask, NULL);
    fc_sweep_view_close(&w.view);
    return st;
}
