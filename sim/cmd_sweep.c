/* fcil sweep: many runs from one file. */
#include "core/opt.h"
#include "sim/cmd.h"
#include "sim/compare.h"
#include "sim/sweep_collect.h"
#include "sim/sweep_load.h"
#include "sim/sweep_plan.h"
#include "sim/sweep_run.h"
#include "sim/sweep_slurm.h"
#include "sim/sweep_state.h"
#include "sim/sweep_status.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "fcil sweep plan SWEEP [key=value ...] [--json]    table of the runs, their time and memory\n"
    "fcil sweep run SWEEP [key=value ...] [options]    do them; call it again to go on, and as "
    "often\n"
    "                                                  at the same time as there are machines\n"
    "fcil sweep status SWEEP [--watch] [--json]        what became of them\n"
    "fcil sweep print SWEEP                            a command line for each unfinished run\n"
    "fcil sweep slurm SWEEP [options]                  a script for sbatch: one job per run\n"
    "fcil sweep collect SWEEP [--metric NAME,...]      tables of the finished ones\n"
    "\n"
    "  --out DIR        folder of all runs: <out>/<name>/<method>-s<seed>-<id> (default: run.out)\n"
    "  --data DIR       data directory\n"
    "  --threads N      threads of this worker, which its jobs share (default: all cores)\n"
    "  --jobs J         runs at the same time (default 1)\n"
    "  --shard I/N      do the I-th of N parts only, I = 1 to N\n"
    "  --only ID        do this run only\n"
    "  --retry-failed   try failed runs once more\n"
    "  --stale S        seconds without a sign of life after which another worker's run is taken\n"
    "                   over (default 60)\n"
    "  --metric NAMES   columns of the tables, of fcil list metrics\n"
    "  of slurm:\n"
    "  --shards N       N jobs that do a part each, instead of one per run (at most 1000)\n"
    "  --threads N      CPUs of a job (default: as many as here)\n"
    "  --time T --mem M --partition P    as sbatch takes them (default: from a prediction)\n"
    "  -o FILE          instead of standard output\n"
    "\n"
    "key=value sets an option of all runs. README, \"Sweeps\": the file.\n";

/* A whole number from 1 to high that fills text up to `end`. */
static bool whole(int *n, const char **text, long high, char end)
{
    char *rest;
    long v = strtol(*text, &rest, 10);
    if (**text < '0' || **text > '9' || *rest != end || v < 1 || v > high)
        return false;
    *n = (int)v;
    *text = rest + (end != '\0');
    return true;
}

fc_status fc_args_worker(fc_worker_options *o, const fc_args *a, fc_error *err)
{
    *o = (fc_worker_options){.jobs = 1,
                             .of = 1,
                             .only = a->only,
                             .retry_failed = a->retry_failed,
                             .stale_s = FC_CLAIM_STALE_S,
                             .console = {a->quiet ? FC_QUIET : FC_NORMAL, a->colour}};
    const char *text = a->jobs;
    if (text && !whole(&o->jobs, &text, 4096, '\0'))
        return fc_fail(err, FC_EUSAGE, "--jobs: found '%.60s', expected 1 to 4096", a->jobs);
    text = a->shard;
    if (text && !(whole(&o->shard, &text, 1000000, '/') && whole(&o->of, &text, 1000000, '\0') &&
                  o->shard <= o->of))
        return fc_fail(err, FC_EUSAGE, "--shard: found '%.60s', expected I/N with I from 1 to N",
                       a->shard);
    if (text)
        o->shard--;
    int stale;
    text = a->stale;
    if (text && !whole(&stale, &text, 1000000, '\0'))
        return fc_fail(err, FC_EUSAGE, "--stale: found '%.60s', expected seconds", a->stale);
    if (text)
        o->stale_s = stale;
    return FC_OK;
}

static fc_status run(const fc_sweep *s, const fc_args *a, fc_error *err)
{
    fc_worker_options o;
    FC_TRY(fc_args_worker(&o, a, err));
    return fc_sweep_work(s, &o, err);
}

static fc_status plan(const fc_sweep *s, const fc_args *a, fc_error *err)
{
    return fc_sweep_plan(s, a->json, err);
}

static fc_status slurm(const fc_sweep *s, const fc_args *a, fc_error *err)
{
    fc_slurm_options o = {.time = a->time,
                          .mem = a->mem,
                          .partition = a->partition,
                          .override = a->override,
                          .n_override = a->n_override,
                          .file = a->output};
    const char *text = a->shards;
    if (text && !whole(&o.shards, &text, FC_SLURM_SHARDS_MAX, '\0'))
        return fc_fail(err, FC_EUSAGE, "sweep slurm: --shards: found '%.60s', expected 1 to %d",
                       a->shards, FC_SLURM_SHARDS_MAX);
    return fc_sweep_slurm(s, &o, err);
}

static fc_status collect(const fc_sweep *s, const fc_args *a, fc_error *err)
{
    return fc_sweep_collect(s, a->metric ? a->metric : FC_METRICS_DEFAULT, err);
}

static fc_status status(const fc_sweep *s, const fc_args *a, fc_error *err)
{
    return fc_sweep_status(s, a->json, a->watch, err);
}

static fc_status print(const fc_sweep *s, const fc_args *a, fc_error *err)
{
    return fc_sweep_print(s, a->retry_failed, a->override, a->n_override, err);
}

static const struct {
    const char *name, *flags;
    fc_status (*run)(const fc_sweep *s, const fc_args *a, fc_error *err);
} parts[] = {
    {"plan", "--out --data --threads --json", plan},
    {"run", "--out --data --threads --jobs --shard --only --stale --retry-failed --quiet --color",
     run},
    {"status", "--out --data --threads --watch --json", status},
    {"print", "--out --data --threads --retry-failed", print},
    {"slurm", "--out --data --threads --shards --time --mem --partition -o", slurm},
    {"collect", "--out --data --metric", collect},
};
enum { N_PARTS = sizeof parts / sizeof *parts };

static fc_status run_part(int part, int argc, char **argv, fc_error *err)
{
    fc_args a;
    fc_sweep s;
    FC_TRY(fc_args_parse(&a, argc, argv, parts[part].flags, err));
    fc_status st = FC_OK;
    if (a.help)
        fputs(usage, stdout);
    else if (!a.config || a.n_extra)
        st = fc_fail(err, FC_EUSAGE, "sweep %s: %s%.60s, expected one SWEEP and key=value",
                     parts[part].name, a.config ? "a second word " : "no file given",
                     a.config ? a.extra[0] : "");
    else if ((st = fc_sweep_load(&s, a.config, a.override, a.n_override, err)) == FC_OK) {
        st = parts[part].run(&s, &a, err);
        fc_sweep_free(&s);
    }
    fc_args_free(&a);
    return st;
}

fc_status fc_cmd_sweep(int argc, char **argv, fc_error *err)
{
    const char *names[N_PARTS], *part = argc > 1 ? argv[1] : "";
    char all[200] = "";
    if (strcmp(part, "--help") == 0 || strcmp(part, "-h") == 0) {
        fputs(usage, stdout);
        return FC_OK;
    }
    for (int i = 0; i < N_PARTS; i++) {
        names[i] = parts[i].name;
        if (strcmp(part, names[i]) == 0)
            return run_part(i, argc - 1, argv + 1, err);
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%s", i ? ", " : "", names[i]);
    }
    const char *near = fc_nearest(part, names, N_PARTS);
    return fc_fail(err, FC_EUSAGE, "sweep: found '%.60s', expected one of %s%s%s%s", part, all,
                   near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}
