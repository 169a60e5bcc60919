/* A run in its directory: what is written there before the first round, the loop, and how it ended.
 */
#include "core/file.h"
#include "sim/cohort.h"
#include "sim/manifest.h"
#include "sim/run.h"
#include "sim/task_source.h"

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
    fc_config *c = r->cfg;
    const char *dump = fc_config_dump(c, false, err);
    if (!dump)
        return FC_EFAIL;
    FC_TRY(write_text(dir, "config.yaml", dump, err));
    fc_manifest m = {.argc = how->argc,
                     .argv = how->argv,
                     .threads = r->threads,
                     .ranks = r->ranks.n,
                     .isa = r->net.engine.isa->name,
                     .precision = r->net.engine.bf16 ? "bf16" : "f32",
                     .data_name = r->data.name,
                     .data_path = r->data.path,
                     .data_sha256 = r->data.sha256,
                     .weights_path = r->weights_path,
                     .weights_sha256 = r->weights_sha256,
                     .partition_sha256 = r->partition.sha256,
                     .config_hash = r->hash,
                     .trace_sha256 = r->devices.sha256};
    FC_TRY(fc_manifest_write(dir, &m, err));
    if (!c->log.partition)
        return FC_OK;
    char path[4200];
    snprintf(path, sizeof path, "%s/partition.csv", dir);
    return fc_partition_csv(path, &r->partition, &r->data, &r->tasks, err);
}

/* DONE, or FAILED with the reason, or STOPPED. */
static fc_status mark(fc_run *r, fc_status s, fc_error *err)
{
    if (s == FC_OK)
        return fc_runlog_mark(r->log.dir, FC_MARK_DONE, "", err);
    if (s == FC_ESTOP) {
        fc_runlog_mark(r->log.dir, FC_MARK_STOPPED, "run again with --resume\n", NULL);
        *err = (fc_error){0};
        return fc_fail(err, FC_ESTOP, "stopped; to go on: the same command with --resume");
    }
    fc_runlog_mark(r->log.dir, FC_MARK_FAILED, err->msg, NULL);
    return s;
}

static fc_status finish(fc_run *r, fc_status s, fc_error *err)
{
    fc_progress_end(&r->progress);
    s = mark(r, s, err);
    fc_reporter_end(&r->reporter);
    return s;
}

/* A new run, or one that goes on from its last checkpoint. */
static fc_status start(fc_run *r, const char *dir, const fc_run_how *how, fc_error *err)
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
        fc_progress_line(&r->progress, FC_NORMAL,
                         "resumed after %d of %d tasks and %d of %d rounds", (int)r->at.next_task,
                         r->tasks.n, (int)r->at.next_round, r->cfg->fed.rounds);
    else if (how->resume)
        fc_progress_line(&r->progress, FC_NORMAL, "nothing to resume in %s: starting", dir);
    const fc_merge_job job = fc_server_merge_job(r, 0, 0, fc_cohort_max(r));
    size_t kept = fc_merge_kept_bytes(r->cfg->rule, &job);
    if (kept > 0)
        fc_progress_line(&r->progress, FC_NORMAL,
                         "merge rule %s keeps all updates of a round: %.1f MiB", r->cfg->rule->name,
                         (double)kept / 1048576);
    if (r->cfg->log.report)
        fc_reporter_init(&r->reporter, dir, &r->progress);
    return FC_OK;
}

fc_status fc_run_in(fc_run *r, const char *dir, const fc_run_how *how, bool *done_before,
                    fc_error *err)
{
    bool server = r->ranks.me == 0,
         done = server && how->resume && exists(dir, fc_run_mark_name[FC_MARK_DONE]), found;
    FC_TRY(fc_ranks_share(&r->ranks, FC_OK, &done, sizeof done, err));
    *done_before = done;
    if (done) {
        fc_progress_line(&r->progress, FC_NORMAL, "%s: done already", dir);
        fc_status s = server ? fc_run_restore(r, dir, &found, err) : FC_OK;
        return fc_run_share(r, s, err);
    }
    FC_TRY(fc_task_source_take(r, err));
    fc_status s = server ? start(r, dir, how, err) : FC_OK;
    FC_TRY(fc_run_share(r, s, err));
    s = fc_ranks_agree(&r->ranks, fc_run_loop(r, err), err);
    return server ? finish(r, s, err) : s;
}
