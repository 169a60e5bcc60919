/* The script of a job array. Slurm's manual: sbatch(1), scontrol(1). */
#define _GNU_SOURCE /* realpath */
#include "sim/jobs/sweep_slurm.h"

#include "core/base/file.h"
#include "core/base/threads.h"
#include "sim/io/outfile.h"
#include "sim/io/text.h"
#include "sim/jobs/sweep_plan.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* before, text in single quotes as the shell and sbatch read them, after. */
static void put_quoted(FILE *f, const char *before, const char *text, const char *after)
{
    fputs(before, f);
    fc_print_quoted(f, text);
    fputs(after, f);
}

/* #SBATCH --name=text. Slurm gives '\' and '%' a meaning of their own. */
static fc_status put_option(FILE *f, const char *name, const char *text, const char *after,
                            fc_error *err)
{
    for (const char *c = text; *c; c++)
        if (iscntrl((unsigned char)*c) || *c == '\\' || *c == '%')
            return fc_fail(err, FC_EUSAGE,
                           "sweep slurm: '%.300s' cannot be sbatch's --%s: it holds a backslash, a "
                           "'%%' or a control character",
                           text, name);
    fprintf(f, "#SBATCH --%s=", name);
    put_quoted(f, "", text, after);
    return FC_OK;
}

static const char job[] =
    "# Two minutes before the time is up this shell gets USR1 and hands it on; fcil then saves a\n"
    "# checkpoint and exits with 75. The signal ends the shell's wait too, so it waits again.\n"
    "trap 'usr1=1; kill -USR1 \"$!\" 2> /dev/null' USR1\n"
    "\"${run[@]}\" --threads \"$SLURM_CPUS_PER_TASK\" &\n"
    "until usr1=; wait \"$!\"; code=$?; [[ -z $usr1 ]]; do :; done\n"
    "\n"
    "# Back into the queue. 138: USR1 came before fcil was listening.\n"
    "if [[ $code == 75 || $code == 138 ]] && ((${SLURM_RESTART_COUNT:-0} < 100)); then\n"
    "    scontrol requeue \"${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID\"\n"
    "fi\n"
    "exit \"$code\"\n";

/* Absolute paths. */
typedef struct paths {
    char program[FC_PATH_MAX], sweep[FC_PATH_MAX], out[FC_PATH_MAX], log[FC_PATH_MAX],
        folder[FC_PATH_MAX];
} paths;

static fc_status find_paths(paths *p, const fc_sweep *s, fc_error *err)
{
    FC_TRY(fc_out_path(p->log, err, "%s/%s/.sweep/slurm", s->out, s->name));
    FC_TRY(fc_mkdirs(p->log, err));
    if (!realpath("/proc/self/exe", p->program) || !realpath(s->path, p->sweep) ||
        !realpath(s->out, p->out) || !getcwd(p->folder, sizeof p->folder))
        return fc_fail(err, FC_EFAIL, "sweep slurm: cannot make paths absolute: %s",
                       strerror(errno));
    return fc_out_path(p->log, err, "%s/%s/.sweep/slurm", p->out, s->name);
}

/* What one element asks for. */
typedef struct request {
    int shards;
    int cpus;
    char time[32], mem[32];
} request;

/* Twice the time of the longest shard and five minutes, for another machine may be slower; half as
 * much memory again and 128 MiB for what the job consists of beside the run. */
static fc_status predict_request(request *q, const fc_sweep *s, fc_error *err)
{
    fc_arena arena = {0};
    double longest = 0, largest = 0;
    fc_estimate *cost = fc_arena_alloc(&arena, (size_t)s->n_runs, sizeof *cost, err);
    fc_status st = cost ? fc_sweep_costs(cost, s, err) : FC_EFAIL;
    for (int shard = 0; shard < q->shards && st == FC_OK; shard++) {
        double seconds = 0;
        for (int i = shard; i < s->n_runs; i += q->shards) {
            seconds += cost[i].seconds;
            largest = fmax(largest, cost[i].memory_mib);
        }
        longest = fmax(longest, seconds);
    }
    snprintf(q->time, sizeof q->time, "%.0f", ceil(2 * longest / 60) + 5);
    snprintf(q->mem, sizeof q->mem, "%.0fM", ceil(1.5 * largest) + 128);
    fc_arena_free(&arena);
    return st;
}

static fc_status put_job_script(FILE *f, const fc_sweep *s, const fc_slurm_options *o,
                                const request *q, const paths *p, fc_error *err)
{
    fputs(
        "#!/bin/bash\n"
        "# Written by fcil sweep slurm. Submit it with sbatch, whose own options win over these.\n",
        f);
    FC_TRY(put_option(f, "job-name", s->name, "\n", err));
    fprintf(f, "#SBATCH --array=1-%d --nodes=1 --ntasks=1 --cpus-per-task=%d\n", q->shards,
            q->cpus);
    FC_TRY(put_option(f, "time", o->time ? o->time : q->time, "\n", err));
    FC_TRY(put_option(f, "mem", o->mem ? o->mem : q->mem, "\n", err));
    if (o->partition)
        FC_TRY(put_option(f, "partition", o->partition, "\n", err));
    fputs("#SBATCH --signal=B:USR1@120 --requeue --open-mode=append\n", f);
    FC_TRY(put_option(f, "chdir", p->folder, "\n", err));
    FC_TRY(put_option(f, "output", p->log, "/%A_%a.log\n\n", err));
    put_quoted(f, "run=(", p->program, " sweep run ");
    put_quoted(f, "", p->sweep, "");
    for (int i = 0; i < o->n_override; i++)
        if (strncmp(o->override[i], "run.out=", 8) != 0 &&
            strncmp(o->override[i], "run.threads=", 12) != 0)
            put_quoted(f, " ", o->override[i], "");
    put_quoted(f, " --out ", p->out, "");
    /* parts of a search would wait for each other in every rung, also for those still in the queue
     */
    if (!s->halving.rungs)
        fprintf(f, " --shard \"$SLURM_ARRAY_TASK_ID/%d\"", q->shards);
    fputs(")\n\n", f);
    fputs(job, f);
    return FC_OK;
}

fc_status fc_sweep_slurm(const fc_sweep *s, const fc_slurm_options *o, fc_error *err)
{
    paths p;
    fc_draft script;
    int jobs = s->n_runs / (s->halving.rungs ? s->halving.rungs : 1);
    request q = {.shards = o->shards ? o->shards : jobs,
                 .cpus = s->threads ? s->threads : fc_threads_default()};
    if (q.shards > FC_SLURM_SHARDS_MAX)
        q.shards = FC_SLURM_SHARDS_MAX;
    FC_TRY(find_paths(&p, s, err));
    if (!o->time || !o->mem)
        FC_TRY(predict_request(&q, s, err));
    FC_TRY(fc_draft_begin(&script, err));
    fc_status st = put_job_script(script.f, s, o, &q, &p, err);
    if (o->file)
        return fc_draft_save(&script, st, o->file, err);
    if (st == FC_OK)
        st = fc_draft_end(&script, err);
    if (st == FC_OK)
        fputs(script.text, stdout);
    fc_draft_free(&script);
    return st;
}
