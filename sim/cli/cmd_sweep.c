/* fcil sweep: many runs from one file. */
#include "sim/cli/args.h"
#include "sim/cli/cmd.h"
#include "sim/jobs/sweep_collect.h"
#include "sim/jobs/sweep_plan.h"
#include "sim/jobs/sweep_run.h"
#include "sim/jobs/sweep_slurm.h"
#include "sim/jobs/sweep_state.h"
#include "sim/jobs/sweep_status.h"
#include "sim/report/metric.h"
#include "sim/sweep/sweep_load.h"

#include <stdbool.h>
#include <stdlib.h>

typedef struct options {
    fc_args args;
    int jobs, stale, shards;
    const char *shard, *only, *metric;
    bool retry_failed, watch;
    const char *time, *mem, *partition; /* as sbatch takes them */
} options;

enum {
    OUT,
    DATA,
    THREADS,
    JOBS,
    SHARD,
    ONLY,
    RETRY_FAILED,
    STALE,
    QUIET,
    COLOUR,
    WATCH,
    JSON,
    METRIC,
    SHARDS,
    CPUS,
    TIME,
    MEM,
    PARTITION,
    OUTPUT,
    N_FLAGS
};

#define TEXT(x) #x
#define TEXT_OF(x) TEXT(x)

static const fc_flag flags[N_FLAGS] = {
    [OUT] =
        FC_FLAG_SETTING("--out", "DIR", "run.out",
                        "folder of all runs: <out>/<name>/<method>-s<seed>-<id>; default: run.out"),
    [DATA] = FC_FLAG_DATA,
    [THREADS] = FC_FLAG_SETTING("--threads", "N", "run.threads",
                                "threads of a worker, which its jobs share; default: all cores"),
    [JOBS] =
        FC_FLAG_INT("--jobs", "J", options, jobs, "1", 1, FC_JOBS_MAX, "runs at the same time"),
    [SHARD] =
        FC_FLAG_TEXT("--shard", "I/N", options, shard, "do the I-th of N parts only, I = 1 to N"),
    [ONLY] = FC_FLAG_TEXT("--only", "ID", options, only, "do this run only"),
    [RETRY_FAILED] =
        FC_FLAG_BOOL("--retry-failed", options, retry_failed, "failed runs too, once more"),
    [STALE] = FC_FLAG_INT("--stale", "S", options, stale, TEXT_OF(FC_CLAIM_STALE_S), 1, 1000000,
                          "seconds without a sign of life after which another worker's run is "
                          "taken over"),
    [QUIET] = FC_FLAG_QUIET,
    [COLOUR] = FC_FLAG_COLOUR,
    [WATCH] = FC_FLAG_BOOL("--watch", options, watch,
                           "on a terminal, again and again until all are done or failed"),
    [JSON] = FC_FLAG_JSON("one JSON object instead of a table"),
    [METRIC] =
        FC_FLAG_TEXT("--metric", "NAMES", options, metric,
                     "columns of the tables, of fcil list metrics; default " FC_METRICS_DEFAULT),
    [SHARDS] = FC_FLAG_INT("--shards", "N", options, shards, NULL, 1, FC_SLURM_SHARDS_MAX,
                           "N jobs that do a part each, instead of one per run"),
    [CPUS] =
        FC_FLAG_SETTING("--threads", "N", "run.threads", "CPUs of a job; default: as many as here"),
    [TIME] = FC_FLAG_TEXT("--time", "T", options, time,
                          "as sbatch takes it; default: from a prediction"),
    [MEM] =
        FC_FLAG_TEXT("--mem", "M", options, mem, "as sbatch takes it; default: from a prediction"),
    [PARTITION] = FC_FLAG_TEXT("--partition", "P", options, partition, "as sbatch takes it"),
    [OUTPUT] = FC_FLAG_OUTPUT("FILE", "instead of standard output")};

#define BIT(row) (UINT64_C(1) << (row))
#define WORKER (BIT(OUT) | BIT(DATA) | BIT(THREADS))

/* "I/N" */
static fc_status read_shard(fc_worker_options *o, const char *text, fc_error *err)
{
    enum { SHARDS_MAX = 1000000 };
    char *slash, *end = NULL;
    long part = strtol(text, &slash, 10), of = *slash == '/' ? strtol(slash + 1, &end, 10) : 0;
    bool digits =
        text[0] >= '0' && text[0] <= '9' && slash[0] && slash[1] >= '0' && slash[1] <= '9';
    if (!digits || !end || *end || !(part >= 1 && part <= of && of <= SHARDS_MAX))
        return fc_fail(err, FC_EUSAGE,
                       "sweep run: --shard: found '%.60s', expected I/N with I from 1 to N", text);
    o->shard = (int)part - 1;
    o->of = (int)of;
    return FC_OK;
}

static fc_status run_worker(const fc_sweep *s, const options *o, fc_error *err)
{
    fc_worker_options w = fc_worker_defaults(o->jobs, fc_args_console(&o->args, FC_NORMAL));
    w.only = o->only;
    w.retry_failed = o->retry_failed;
    w.stale_s = o->stale;
    if (o->shard)
        FC_TRY(read_shard(&w, o->shard, err));
    return fc_sweep_work(s, &w, err);
}

static fc_status write_slurm(const fc_sweep *s, const options *o, fc_error *err)
{
    const fc_slurm_options slurm = {.shards = o->shards,
                                    .time = o->time,
                                    .mem = o->mem,
                                    .partition = o->partition,
                                    .override = o->args.override,
                                    .n_override = o->args.n_override,
                                    .file = o->args.output};
    return fc_sweep_slurm(s, &slurm, err);
}

static fc_status run_part(const fc_args *a, fc_error *err);

enum { PLAN, RUN, STATUS, PRINT, SLURM, COLLECT, N_PARTS };
#define PART(name_, rows)                                                                          \
    {                                                                                              \
        .name = "sweep " name_, .run = run_part, .flag = flags, .n_flags = N_FLAGS, .takes = rows  \
    }
static const fc_verb parts[N_PARTS] = {
    [PLAN] = PART("plan", WORKER | BIT(JSON)),
    [RUN] = PART("run", WORKER | BIT(JOBS) | BIT(SHARD) | BIT(ONLY) | BIT(STALE) |
                            BIT(RETRY_FAILED) | BIT(QUIET) | BIT(COLOUR)),
    [STATUS] = PART("status", WORKER | BIT(WATCH) | BIT(JSON)),
    [PRINT] = PART("print", WORKER | BIT(RETRY_FAILED)),
    [SLURM] = PART("slurm", BIT(OUT) | BIT(DATA) | BIT(CPUS) | BIT(SHARDS) | BIT(TIME) | BIT(MEM) |
                                BIT(PARTITION) | BIT(OUTPUT)),
    [COLLECT] = PART("collect", BIT(OUT) | BIT(DATA) | BIT(METRIC))};

static fc_status run_part_on(const fc_sweep *s, const options *o, fc_error *err)
{
    const fc_args *a = &o->args;
    switch (a->verb - parts) {
    case PLAN:
        return fc_sweep_plan(s, a->json, err);
    case RUN:
        return run_worker(s, o, err);
    case STATUS:
        return fc_sweep_status(s, a->json, o->watch, err);
    case PRINT:
        return fc_sweep_print(s, o->retry_failed, a->override, a->n_override, err);
    case SLURM:
        return write_slurm(s, o, err);
    default:
        return fc_sweep_collect(s, o->metric ? o->metric : FC_METRICS_DEFAULT, err);
    }
}

static fc_status run_part(const fc_args *a, fc_error *err)
{
    fc_sweep s;
    if (!a->config || a->n_extra)
        return fc_fail(err, FC_EUSAGE, "%s: %s%.60s, expected one SWEEP and key=value",
                       a->verb->name, a->config ? "a second word " : "no file given",
                       a->config ? a->extra[0] : "");
    FC_TRY(fc_sweep_load(&s, a->config, a->override, a->n_override, err));
    fc_status st = run_part_on(&s, (const options *)a, err);
    fc_sweep_free(&s);
    return st;
}

static void print_sweep_help(void)
{
    fc_verbs_help(
        parts, N_PARTS,
        "fcil sweep plan SWEEP [key=value ...] [--json]    table of the runs, their time and "
        "memory\n"
        "fcil sweep run SWEEP [key=value ...] [options]    do them; call it again to go on, and as "
        "often\n"
        "                                                  at the same time as there are machines\n"
        "fcil sweep status SWEEP [--watch] [--json]        what became of them\n"
        "fcil sweep print SWEEP                            a command line for each unfinished run\n"
        "fcil sweep slurm SWEEP [options]                  a script for sbatch: one job per run\n"
        "fcil sweep collect SWEEP [--metric NAME,...]      tables of the finished ones\n"
        "\n",
        "\nkey=value sets an option of all runs. README, \"Sweeps\": the file.\n");
}

fc_status fc_cmd_sweep(int argc, char **argv, fc_error *err)
{
    options o = {0};
    return fc_verbs_run(parts, N_PARTS, print_sweep_help, &o.args, argc, argv, err);
}
