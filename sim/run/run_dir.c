#include "sim/run/run_dir.h"

#include "core/base/file.h"
#include "sim/fed/plan.h"
#include "sim/fed/saved.h"
#include "sim/record/manifest.h"
#include "sim/run/loop.h"

#include <stdio.h>
#include <string.h>

static bool exists(const char *dir, const char *name)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return fc_file_exists(path);
}

static fc_status write_text(const char *dir, const char *name, const char *text, fc_error *err)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return fc_file_write_atomic(path, text, strlen(text), err);
}

/* config.yaml, manifest.json and partition.csv: written once, when the run starts. */
static fc_status write_start(fc_run *r, const char *dir, const fc_run_how *how, fc_error *err)
{
    fc_config *c = r->setup->cfg;
    const char *dump = fc_config_dump(c, false, err);
    if (!dump)
        return FC_EFAIL;
    FC_TRY(write_text(dir, "config.yaml", dump, err));
    fc_manifest m = {.argc = how->argc,
                     .argv = how->argv,
                     .threads = r->setup->threads,
                     .ranks = r->scratch.ranks.n,
                     .isa = r->setup->net.engine.isa->name,
                     .precision = r->setup->net.engine.bf16 ? "bf16" : "f32",
                     .data_name = r->setup->data.name,
                     .data_path = r->setup->data.path,
                     .data_sha256 = r->setup->data.sha256,
                     .weights_path = r->setup->weights_path,
                     .weights_sha256 = r->setup->weights_sha256,
                     .partition_sha256 = r->setup->partition.sha256,
                     .config_hash = r->setup->hash,
                     .trace_sha256 = r->setup->devices.sha256};
    FC_TRY(fc_manifest_write(dir, &m, err));
    if (!c->log.partition)
        return FC_OK;
    char path[4200];
    snprintf(path, sizeof path, "%s/partition.csv", dir);
    return fc_partition_csv(path, &r->setup->partition, &r->setup->data, &r->setup->tasks, err);
}

/* DONE, or FAILED with the reason, or STOPPED. */
static fc_status mark_end(fc_run *r, fc_status s, fc_error *err)
{
    if (s == FC_OK)
        return fc_runlog_mark(r->scratch.log.dir, FC_MARK_DONE, "", err);
    if (s == FC_ESTOP) {
        fc_runlog_mark(r->scratch.log.dir, FC_MARK_STOPPED, "run again with --resume\n", NULL);
        *err = (fc_error){0};
        return fc_fail(err, FC_ESTOP, "stopped; to go on: the same command with --resume");
    }
    fc_runlog_mark(r->scratch.log.dir, FC_MARK_FAILED, err->msg, NULL);
    return s;
}

static fc_status finish_run(fc_run *r, fc_status s, fc_error *err)
{
    fc_progress_end(&r->scratch.progress);
    s = mark_end(r, s, err);
    fc_reporter_end(&r->scratch.reporter);
    return s;
}

/* A new run, or one that goes on from its last checkpoint. */
static fc_status start_run(fc_run *r, const char *dir, const fc_run_how *how, fc_error *err)
{
    bool found = false;
    if (exists(dir, "config.yaml") && !how->resume)
        return fc_fail(err, FC_EUSAGE,
                       "%s: holds a run of this config already; --resume goes on with it, removing "
                       "the folder starts it over",
                       dir);
    FC_TRY(fc_mkdirs(dir, err));
    if (how->resume)
        FC_TRY(fc_run_restore(r, dir, &found, err));
    FC_TRY(fc_run_start(r, dir, found, err));
    if (!found)
        FC_TRY(write_start(r, dir, how, err));
    if (found)
        fc_progress_line(&r->scratch.progress, FC_NORMAL,
                         "resumed after %d of %d tasks and %d of %d rounds",
                         (int)r->state.at.next_task, r->setup->tasks.n, (int)r->state.at.next_round,
                         r->setup->cfg->fed.rounds);
    else if (how->resume)
        fc_progress_line(&r->scratch.progress, FC_NORMAL, "nothing to resume in %s: starting", dir);
    const fc_merge_job job = fc_plan_merge_job(r->setup, &r->state.global, r->state.folded, 0, 0,
                                               fc_plan_cohort_max(r->setup));
    size_t kept = fc_merge_kept_bytes(r->setup->cfg->rule, &job);
    if (kept > 0)
        fc_progress_line(&r->scratch.progress, FC_NORMAL,
                         "merge rule %s keeps all updates of a round: %.1f MiB",
                         r->setup->cfg->rule->name, (double)kept / 1048576);
    if (r->setup->cfg->log.report)
        fc_reporter_init(&r->scratch.reporter, dir, &r->scratch.progress);
    return FC_OK;
}

fc_status fc_run_done(bool *done, fc_run *r, const char *dir, fc_error *err)
{
    bool server = r->scratch.ranks.me == 0, found;
    *done = server && exists(dir, fc_run_mark_name[FC_MARK_DONE]);
    FC_TRY(fc_ranks_share(&r->scratch.ranks, FC_OK, done, sizeof *done, err));
    if (!*done)
        return FC_OK;
    fc_progress_line(&r->scratch.progress, FC_NORMAL, "%s: done already", dir);
    fc_status s = server ? fc_run_restore(r, dir, &found, err) : FC_OK;
    return fc_run_share(r, s, err);
}

fc_status fc_run_in(fc_run *r, const char *dir, const fc_run_how *how, fc_error *err)
{
    bool server = r->scratch.ranks.me == 0;
    fc_status s = server ? start_run(r, dir, how, err) : FC_OK;
    FC_TRY(fc_run_share(r, s, err));
    s = fc_ranks_agree(&r->scratch.ranks, fc_run_loop(r, err), err);
    return server ? finish_run(r, s, err) : s;
}
