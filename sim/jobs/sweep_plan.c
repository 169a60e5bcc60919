#include "sim/jobs/sweep_plan.h"

#include "core/base/file.h"
#include "sim/config/config.h"
#include "sim/config/config_parts.h"
#include "sim/io/outfile.h"
#include "sim/jobs/sweep_table.h"
#include "sim/run/experiment.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs of one kind cost the same. */
typedef struct kind {
    const char *key, *speed; /* options that decide the work, and those of them that decide how fast
                                it is done */
    fc_estimate cost;
} kind;

typedef struct plan {
    const fc_sweep *s;
    kind *kind; /* (n_kinds) */
    int n_kinds;
    int *of; /* (runs) kind of each */
    fc_arena arena;
} plan;

/* What a process that tries a kind has to say. */
typedef struct answer {
    fc_status status;
    fc_error error;
    fc_estimate cost;
} answer;

/* --- kinds --------------------------------------------------------------------------------------
 */

static bool is_in(const char *word, const char *const *list, int n)
{
    for (int i = 0; i < n; i++)
        if (strcmp(word, list[i]) == 0)
            return true;
    return false;
}

/* Does the work depend on this option (or, with speed, the time that a piece of work takes)? Seeds
 * and beta move images from one client to another; learning rates and weights change numbers. */
static bool decides(const fc_config_field *f, bool speed)
{
    static const char *const numbers[] = {"train", "method", "merge", "task_merge"};
    static const char *const network[] = {"run", "data", "backbone"};
    static const char *const step[] = {"name", "batch", "lora_rank", "optimizer"};
    if (!fc_config_changes_results(f) && f->opt->type != FC_OPT_INPUT)
        return false;
    if (f->opt->type == FC_OPT_SEED || strcmp(f->opt->key, "beta") == 0 ||
        (f->opt->type == FC_OPT_REAL && is_in(f->section, numbers, 4)))
        return false;
    return !speed || is_in(f->section, network, 3) || is_in(f->opt->key, step, 4);
}

/* "section.key=value\n..." of the options that decide. */
static const char *key_of_kind(fc_config *c, bool speed, fc_arena *arena, fc_error *err)
{
    int n;
    const char *key = NULL;
    fc_draft text;
    const fc_config_field *f = fc_config_fields(c, &n, err);
    if (!f || fc_draft_begin(&text, err) != FC_OK)
        return NULL;
    for (int i = 0; i < n; i++)
        if (decides(&f[i], speed)) {
            const char *value = fc_opt_print(f[i].base, f[i].opt, &c->arena, err);
            fprintf(text.f, "%s.%s=%s\n", f[i].section, f[i].opt->key, value ? value : "");
        }
    if (fc_draft_end(&text, err) == FC_OK)
        key = fc_arena_strdup(arena, text.text, err);
    fc_draft_free(&text);
    return key;
}

/* --- trying one ---------------------------------------------------------------------------------
 */

static void try_run(answer *a, const fc_sweep_run *r, double s_per_flop)
{
    fc_config c;
    fc_experiment e;
    a->status = fc_config_load(&c, r->config, r->override, r->n_override, &a->error);
    if (a->status != FC_OK)
        return;
    a->status = fc_experiment_open(&e, &c, (fc_console){0}, &a->error);
    if (a->status == FC_OK) {
        a->status = fc_estimate_make(&a->cost, &e.run, s_per_flop, &a->error);
        fc_experiment_close(&e);
    }
    fc_config_free(&c);
}

/* In a child: its peak of memory is that of this run alone. */
static fc_status ask_child(fc_estimate *cost, const fc_sweep_run *r, double s_per_flop,
                           fc_error *err)
{
    answer a = {0};
    int end[2], status = 0;
    pid_t pid = -1;
    if (pipe(end) != 0 || (pid = fork()) < 0)
        return fc_fail(err, FC_EFAIL, "cannot start a process: %s", strerror(errno));
    if (pid == 0) {
        try_run(&a, r, s_per_flop);
        _exit(write(end[1], &a, sizeof a) == (ssize_t)sizeof a ? 0 : 1);
    }
    close(end[1]);
    ssize_t n = read(end[0], &a, sizeof a); /* at most PIPE_BUF: all or nothing */
    close(end[0]);
    waitpid(pid, &status, 0);
    if (n != (ssize_t)sizeof a)
        return fc_fail(err, FC_EFAIL, "run %s: killed by signal %d while it was tried", r->id,
                       WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    if (a.status != FC_OK)
        return fc_fail(err, a.status, "run %s: %s", r->id, a.error.msg);
    *cost = a.cost;
    return FC_OK;
}

/* The kind of run r: one that is known, or a new one. */
static fc_status find_run_kind(int *index, plan *p, const fc_sweep_run *r, fc_error *err)
{
    fc_config c;
    kind k = {0};
    double s_per_flop = 0;
    FC_TRY(fc_config_load(&c, r->config, r->override, r->n_override, err));
    k.key = key_of_kind(&c, false, &p->arena, err);
    k.speed = k.key ? key_of_kind(&c, true, &p->arena, err) : NULL;
    fc_config_free(&c);
    if (!k.speed)
        return FC_EFAIL;
    for (*index = 0; *index < p->n_kinds; ++*index) {
        const kind *old = &p->kind[*index];
        if (strcmp(old->key, k.key) == 0)
            return FC_OK;
        if (strcmp(old->speed, k.speed) == 0)
            s_per_flop = old->cost.s_per_flop;
    }
    FC_TRY(ask_child(&k.cost, r, s_per_flop, err));
    p->kind[p->n_kinds++] = k;
    return FC_OK;
}

static fc_status find_kinds(plan *p, fc_error *err)
{
    size_t n = (size_t)p->s->n_runs;
    p->of = fc_arena_alloc(&p->arena, n, sizeof *p->of, err);
    p->kind = fc_arena_alloc(&p->arena, n, sizeof *p->kind, err);
    if (!p->of || !p->kind)
        return FC_EFAIL;
    fflush(stdout); /* or the children would have it too */
    for (size_t i = 0; i < n; i++)
        FC_TRY(find_run_kind(&p->of[i], p, &p->s->run[i], err));
    return FC_OK;
}

/* --- the table ----------------------------------------------------------------------------------
 */

static const fc_estimate *cost_of_run(const plan *p, int run)
{
    return &p->kind[p->of[run]].cost;
}

static const char *memory_text(char buf[32], double mib)
{
    snprintf(buf, 32, mib < 1024 ? "%.0f MiB" : "%.1f GiB", mib < 1024 ? mib : mib / 1024);
    return buf;
}

static void print_runs(const plan *p)
{
    const fc_sweep *s = p->s;
    char time[32], size[32];
    for (int i = -1; i < s->n_runs; i++) { /* -1: the head */
        if (i >= 0 && s->run[i].rung > 0)
            continue;
        fc_sweep_print_values(s, i < 0 ? NULL : &s->run[i]);
        printf("  %12s  %9s\n", i < 0 ? "time" : fc_duration(time, cost_of_run(p, i)->seconds),
               i < 0 ? "memory" : memory_text(size, cost_of_run(p, i)->memory_mib));
    }
}

/* What one rung takes, of whose settings `keep` are run: on average, as nobody knows which. */
static double rung_seconds(int *runs, const plan *p, int rung, int settings, int keep)
{
    double seconds = 0;
    int n = 0;
    for (int i = 0; i < p->s->n_runs; i++)
        if (p->s->run[i].rung == rung) {
            seconds += cost_of_run(p, i)->seconds;
            n++;
        }
    double part = settings ? (double)keep / settings : 0;
    *runs = (int)lround(n * part);
    return seconds * part;
}

/* Seconds of the whole sweep; a line per rung after the first if print. */
static double total_seconds(int *runs, const plan *p, bool print)
{
    const fc_halving *h = &p->s->halving;
    int keep = p->s->n_settings;
    char time[32];
    double seconds = rung_seconds(runs, p, 0, 1, 1);
    for (int rung = 1; rung < h->rungs; rung++) {
        int n;
        keep = (int)ceil(h->keep * keep - 1e-9);
        double more = rung_seconds(&n, p, rung, p->s->n_settings, keep);
        if (print)
            printf("then, with %s=%s, the best %d of all settings by %s: %d runs, %s\n", h->budget,
                   h->value[rung], keep, h->metric, n, fc_duration(time, more));
        seconds += more;
        *runs += n;
    }
    return seconds;
}

static void print_plan(const plan *p)
{
    const fc_sweep *s = p->s;
    char time[32], size[32];
    double largest = 0;
    bool first = false;
    int runs;
    print_runs(p);
    putchar('\n');
    double seconds = total_seconds(&runs, p, true);
    for (int i = 0; i < s->n_runs; i++) {
        largest = fmax(largest, cost_of_run(p, i)->memory_mib);
        first = first || cost_of_run(p, i)->tasks_first;
    }
    printf("%d run%s of %d setting%s", runs, runs == 1 ? "" : "s", s->n_settings,
           s->n_settings == 1 ? "" : "s");
    if (s->excluded)
        printf(", %d excluded by where", s->excluded);
    if (s->duplicates)
        printf(", %d left out that are the same as others", s->duplicates);
    printf("\nabout %s on this machine (%.2f h), up to %s per job\n", fc_duration(time, seconds),
           seconds / 3600, memory_text(size, largest));
    if (first)
        puts("the tasks of tasks.from are learnt before that where the cache has them not, and not "
             "counted");
}

static fc_status print_plan_json(const plan *p, fc_error *err)
{
    const fc_sweep *s = p->s;
    int n;
    json_t *runs = json_array();
    for (int i = 0; i < s->n_runs; i++) {
        json_t *o = fc_sweep_run_json(s, &s->run[i]);
        json_object_set_new(o, "seconds", json_real(cost_of_run(p, i)->seconds));
        json_object_set_new(o, "memory_mib", json_real(cost_of_run(p, i)->memory_mib));
        json_array_append_new(runs, o);
    }
    double seconds = total_seconds(&n, p, false);
    json_t *o = json_pack("{s:o, s:o, s:i, s:f, s:i, s:i}", "name", fc_out_json_text(s->name),
                          "runs", runs, "n_runs", n, "seconds", seconds, "excluded", s->excluded,
                          "duplicates", s->duplicates);
    bool ok = o && json_dumpf(o, stdout, JSON_INDENT(1)) == 0;
    putchar('\n');
    json_decref(o);
    return ok ? FC_OK : fc_fail(err, FC_EFAIL, "sweep plan: cannot make the JSON text");
}

fc_status fc_sweep_costs(fc_estimate *cost, const fc_sweep *s, fc_error *err)
{
    plan p = {.s = s};
    fc_status st = find_kinds(&p, err);
    for (int i = 0; i < s->n_runs && st == FC_OK; i++)
        cost[i] = *cost_of_run(&p, i);
    fc_arena_free(&p.arena);
    return st;
}

fc_status fc_sweep_plan(const fc_sweep *s, bool json, fc_error *err)
{
    plan p = {.s = s};
    fc_status st = find_kinds(&p, err);
    if (st == FC_OK && json)
        st = print_plan_json(&p, err);
    else if (st == FC_OK)
        print_plan(&p);
    fc_arena_free(&p.arena);
    return st;
}
