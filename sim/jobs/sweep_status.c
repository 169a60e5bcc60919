#include "sim/jobs/sweep_status.h"

#include "sim/io/outfile.h"
#include "sim/io/progress.h"
#include "sim/io/text.h"
#include "sim/jobs/sweep_halving.h"
#include "sim/jobs/sweep_position.h"
#include "sim/jobs/sweep_table.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { DONE, RUNNING, STALE, STOPPED, FAILED, WAITING, LATER, N_STATES };
static const char *const state_names[N_STATES] = {
    [DONE] = "done",     [RUNNING] = "running", [STALE] = "stale", [STOPPED] = "stopped",
    [FAILED] = "failed", [WAITING] = "waiting", [LATER] = "later"};

/* A run as people see it. */
typedef struct shown {
    int state;
    double part; /* of its rounds that are logged */
    fc_sweep_position at;
} shown;

/* All runs that can still come to an end, failed ones left out. */
typedef struct whole {
    int runs[N_STATES];
    double rows, of, seconds; /* rows of rounds.csv, and what they took */
} whole;

/* Is there no sign of life? The age of a claim is right only as far as the clocks agree; who looks
 * several times sees it change. */
static bool is_silent(const fc_run_view *r)
{
    double silent_s = r->seen.changes > 1 ? r->silent_s : fmax(r->claim.age_s, r->silent_s);
    return r->claim.dead || silent_s > FC_CLAIM_STALE_S;
}

static shown look_at(whole *all, fc_sweep_view *v, int i)
{
    const fc_run_view *r = &v->run[i];
    const long rows = v->sweep->run[i].rows;
    shown s = {.state = r->state == FC_RUN_DONE      ? DONE
                        : r->state == FC_RUN_FAILED  ? FAILED
                        : !r->wanted                 ? LATER
                        : r->state == FC_RUN_CLAIMED ? (is_silent(r) ? STALE : RUNNING)
                        : r->generation >= 0         ? STOPPED
                                                     : WAITING,
               .at = fc_sweep_position_of(v, i)};
    s.part = (double)s.at.rows / (double)rows;
    all->runs[s.state]++;
    if (s.state != FAILED && s.state != LATER) {
        all->rows += (double)s.at.rows;
        all->of += (double)rows;
        all->seconds += s.at.seconds;
    }
    return s;
}

/* If as many runs as now go on at a time, and a row takes as long as those so far; NaN: unknown. */
static double seconds_left(const whole *all)
{
    bool known = all->rows > 0 && all->runs[RUNNING] > 0;
    return known ? (all->of - all->rows) * all->seconds / all->rows / all->runs[RUNNING] : NAN;
}

static void print_state(const fc_sweep_view *v, int i, const shown *s)
{
    const fc_run_view *r = &v->run[i];
    fc_sweep_print_values(v->sweep, &v->sweep->run[i]);
    printf("  %-7s", state_names[s->state]);
    if (s->state == DONE)
        printf("  %.2f", r->metric);
    if (s->state == FAILED)
        printf("  %s", r->why);
    if (s->state == RUNNING || s->state == STALE)
        printf("  %s", r->claim.host);
    if (s->at.task)
        printf("  task %d, round %d (%.0f %%)", s->at.task, s->at.round, floor(100 * s->part));
    if (s->state == STALE)
        printf("  no sign of life%s", r->claim.dead ? ": its process has ended" : "");
    putchar('\n');
}

/* Rows, at most `room`, and counts; *closed: nothing goes on any more. Where there is not room for
 * all, runs that are at work, or ended badly, come before those that are done or wait. */
static void print_states(bool *closed, fc_sweep_view *v, int room)
{
    const bool all_fit = v->sweep->n_runs <= room;
    const fc_halving *h = &v->sweep->halving;
    whole all = {0};
    const int *n = all.runs;
    char left[32];
    fc_sweep_print_values(v->sweep, NULL);
    printf("  state    %s, or what it is at\n", h->rungs ? h->metric : "FAA");
    for (int i = 0; i < v->sweep->n_runs; i++) {
        shown s = look_at(&all, v, i);
        bool quiet = s.state == DONE || s.state == WAITING;
        if (s.state != LATER && (all_fit || !quiet) && room-- > 0) /* a search needs few of LATER */
            print_state(v, i, &s);
    }
    const char *comma = "\n";
    for (int k = 0; k < N_STATES; k++)
        if (n[k] && k != LATER) {
            printf("%s%d %s", comma, n[k], state_names[k]);
            comma = ", ";
        }
    if (!isnan(seconds_left(&all)))
        printf("; %.0f %% of the rounds, %s left", floor(100 * all.rows / all.of),
               fc_duration(left, seconds_left(&all)));
    putchar('\n');
    *closed = n[RUNNING] + n[STALE] + n[STOPPED] + n[WAITING] == 0;
}

static fc_status print_states_json(fc_sweep_view *v, fc_error *err)
{
    json_t *runs = json_array();
    whole all = {0};
    for (int i = 0; i < v->sweep->n_runs; i++) {
        const fc_run_view *r = &v->run[i];
        shown s = look_at(&all, v, i);
        json_t *o = fc_sweep_run_json(v->sweep, &v->sweep->run[i]);
        json_object_set_new(o, "state", json_string(state_names[s.state]));
        if (s.state == DONE && !isnan(r->metric))
            json_object_set_new(o, "metric", json_real(r->metric));
        if (s.state == FAILED)
            json_object_set_new(o, "reason", fc_out_json_text(r->why));
        if (s.state == RUNNING || s.state == STALE)
            json_object_set_new(o, "host", fc_out_json_text(r->claim.host));
        if (s.at.task) {
            json_object_set_new(o, "task", json_integer(s.at.task));
            json_object_set_new(o, "round", json_integer(s.at.round));
            json_object_set_new(o, "part", json_real(s.part));
        }
        json_array_append_new(runs, o);
    }
    json_t *o = json_pack("{s:o, s:o}", "name", fc_out_json_text(v->sweep->name), "runs", runs);
    if (!isnan(seconds_left(&all)))
        json_object_set_new(o, "seconds_left", json_real(seconds_left(&all)));
    bool ok = o && json_dumpf(o, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(12)) == 0;
    putchar('\n');
    json_decref(o);
    return ok ? FC_OK : fc_fail(err, FC_EFAIL, "sweep status: cannot make the JSON text");
}

/* On a terminal: from the top of an empty screen, no more than fits; long lines are cut off. */
static void print_frame(bool *closed, fc_sweep_view *v, bool watch)
{
    enum { LINES_DEFAULT = 24, OTHER_LINES = 4 }; /* head, empty line, counts, and the cursor's */
    struct winsize w;
    bool known = watch && ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_row > OTHER_LINES;
    int lines = known ? w.ws_row : LINES_DEFAULT;
    fputs(watch ? "\033[?7l\033[H\033[J" : "", stdout);
    print_states(closed, v, watch ? lines - OTHER_LINES : INT_MAX);
    fputs(watch ? "\033[?7h" : "", stdout);
    fflush(stdout);
}

fc_status fc_sweep_status(const fc_sweep *s, bool json, bool watch, fc_error *err)
{
    fc_sweep_view v;
    const struct timespec pause = {.tv_sec = 2};
    fc_status st = fc_sweep_view_open(&v, s, false, err);
    watch = watch && isatty(STDOUT_FILENO);
    for (bool closed = false; st == FC_OK && !closed;) {
        fc_halving_look(&v);
        if (json) {
            st = print_states_json(&v, err);
            break;
        }
        print_frame(&closed, &v, watch);
        if (!watch)
            break;
        if (!closed)
            nanosleep(&pause, NULL);
    }
    fc_sweep_view_close(&v);
    return st;
}

fc_status fc_sweep_print(const fc_sweep *s, bool failed, char *const *word, int n, fc_error *err)
{
    fc_sweep_view v;
    char program[FC_PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    program[length > 0 ? length : 0] = '\0';
    fc_status st = fc_sweep_view_open(&v, s, false, err);
    if (st == FC_OK)
        fc_halving_look(&v);
    for (int i = 0; st == FC_OK && i < s->n_runs; i++) {
        const fc_run_view *r = &v.run[i];
        if (!r->wanted || r->state == FC_RUN_DONE || (r->state == FC_RUN_FAILED && !failed))
            continue;
        fc_print_word(stdout, *program ? program : "fcil");
        fputs(" sweep run ", stdout);
        fc_print_word(stdout, s->path);
        printf(" --only %s%s", s->run[i].id, failed ? " --retry-failed" : "");
        for (int k = 0; k < n; k++) {
            putchar(' ');
            fc_print_word(stdout, word[k]);
        }
        putchar('\n');
    }
    fc_sweep_view_close(&v);
    return st;
}
