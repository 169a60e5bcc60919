/* fcil run CONFIG [key=value ...] */
#include "core/file.h"
#include "sim/cmd.h"
#include "sim/cohort.h"
#include "sim/manifest.h"
#include "sim/run.h"
#include "sim/signals.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

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
static fc_status write_start(fc_run *r, const char *dir, int argc, char **argv, fc_error *err)
{
    fc_config *c = r->cfg;
    const char *dump = fc_config_dump(c, false, err);
    if (!dump)
        return FC_EFAIL;
    FC_TRY(write_text(dir, "config.yaml", dump, err));
    fc_manifest m = {.argc = argc,
                     .argv = argv,
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

/* The task matrix and the curve, as people paste them. */
static void print_result(const fc_run *r, const char *dir, bool as_json)
{
    fc_metrics m = fc_metrics_of(&r->acc);
    if (as_json) {
        json_t *o = json_pack("{s:s, s:f, s:f, s:f, s:f}", "dir", dir, "faa", m.faa, "aia", m.aia,
                              "forgetting_max", m.forgetting_max, "bwt", m.bwt);
        json_dumpf(o, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(o);
        return;
    }
    printf("results: %s\nacc curve: [", dir);
    for (int t = 0; t < r->acc.done; t++)
        printf("%s%.2f", t ? ", " : "", fc_acc_micro(&r->acc, t));
    printf("]  AIA=%.2f  FAA=%.2f\n", m.aia, m.faa);
}

/* DONE, or FAILED with the reason, or STOPPED. */
static fc_status mark(fc_run *r, fc_status s, fc_error *err)
{
    if (s == FC_OK)
        return fc_runlog_mark(r->log.dir, "DONE", "", err);
    if (s == FC_ESTOP) {
        fc_runlog_mark(r->log.dir, "STOPPED", "run again with --resume\n", NULL);
        *err = (fc_error){0};
        return fc_fail(err, FC_ESTOP, "stopped; to go on: the same command with --resume");
    }
    fc_runlog_mark(r->log.dir, "FAILED", err->msg, NULL);
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
static fc_status start(fc_run *r, const char *dir, bool resume, int argc, char **argv,
                       fc_error *err)
{
    bool found = false;
    if (exists(dir, "config.yaml") && !resume)
        return fc_fail(err, FC_EUSAGE,
                       "%s: holds a run of this config already; --resume goes on with it, removing "
                       "the folder starts it over",
                       dir);
    FC_TRY(fc_mkdirs(dir, err));
    if (resume)
        FC_TRY(fc_run_restore(r, dir, &found, err));
    FC_TRY(fc_run_start(r, dir, found, err));
    if (!found)
        FC_TRY(write_start(r, dir, argc, argv, err));
    if (found)
        fc_progress_line(&r->progress, FC_NORMAL,
                         "resumed after %d of %d tasks and %d of %d rounds", (int)r->at.next_task,
                         r->tasks.n, (int)r->at.next_round, r->cfg->fed.rounds);
    else if (resume)
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

/* The results of a run that was finished before. */
static fc_status show_done(fc_run *r, const char *dir, bool as_json, fc_error *err)
{
    bool found;
    fc_progress_line(&r->progress, FC_NORMAL, "%s: done already", dir);
    FC_TRY(fc_run_restore(r, dir, &found, err));
    if (found) /* else somebody removed the checkpoints: the results stand */
        print_result(r, dir, as_json);
    return FC_OK;
}

static fc_status run(fc_run *r, const fc_args *a, int argc, char **argv, fc_error *err)
{
    bool server = r->ranks.me == 0;
    if (a->dry_run)
        return server ? fc_estimate_print(r, a->json, err) : FC_OK;
    const char *dir = a->dir ? a->dir : fc_run_dir(r, err);
    if (!dir)
        return err->code;
    bool done = server && a->resume && exists(dir, "DONE");
    FC_TRY(fc_ranks_share(&r->ranks, FC_OK, &done, sizeof done, err));
    if (done)
        return server ? show_done(r, dir, a->json, err) : FC_OK;
    fc_status s = server ? start(r, dir, a->resume, argc, argv, err) : FC_OK;
    FC_TRY(fc_run_share(r, s, err));
    s = fc_ranks_agree(&r->ranks, fc_run_loop(r, err), err);
    if (!server)
        return s;
    FC_TRY(finish(r, s, err));
    print_result(r, dir, a->json);
    return FC_OK;
}

fc_status fc_cmd_run(int argc, char **argv, fc_error *err)
{
    fc_args a;
    fc_config c;
    fc_run r;
    FC_TRY(fc_args_parse(
        &a, argc, argv,
        "--out --dir --data --threads --resume --dry-run --quiet --verbose --color --json", err));
    if (a.help) {
        fputs("usage: fcil run CONFIG [section.key=value ...] [options]\n\n"
              "Runs one experiment; its files go to <out>/<name>/<method>-s<seed>-<hash>.\n\n"
              "  --out DIR      same as run.out=DIR\n"
              "  --dir DIR      the folder of the run itself, instead of a name below --out\n"
              "  --data DIR     data directory, same as data.root=DIR (else $FCIL_DATA, ./data)\n"
              "  --threads N    same as run.threads=N, per rank; results do not depend on it\n"
              "  --resume       go on with a run that was stopped or killed\n"
              "  --dry-run      predict time, memory and bytes; run and write nothing\n"
              "  --quiet, --verbose\n"
              "  --color WHEN   colour of the progress display: auto (unless NO_COLOR is set), "
              "always, never\n"
              "  --json         result as one JSON object on stdout\n\n"
              "mpirun -n N fcil run ... spreads a run over N processes on one or more machines.\n"
              "fcil config explain lists every option.\n",
              stdout);
        fc_args_free(&a);
        return FC_OK;
    }
    fc_status s =
        a.config && !a.n_extra ? fc_config_load(&c, a.config, a.override, a.n_override, err)
        : a.config             ? fc_fail(err, FC_EUSAGE,
                                         "run: %s: a second word, expected one CONFIG and section.key=value",
                                         a.extra[0])
                               : fc_fail(err, FC_EUSAGE,
                                         "run: which config? usage: fcil run CONFIG [section.key=value ...]");
    bool loaded = s == FC_OK;
    fc_ranks ranks = fc_ranks_world();
    s = fc_ranks_agree(&ranks, s, err);
    if (s == FC_OK) {
        fc_signals_install();
        fc_console console = {a.quiet ? FC_QUIET : a.verbose ? FC_VERBOSE : FC_NORMAL, a.colour};
        s = fc_run_open(&r, &c, console, err);
        if (s == FC_OK) {
            s = run(&r, &a, argc, argv, err);
            fc_run_close(&r);
        }
    }
    if (loaded)
        fc_config_free(&c);
    fc_args_free(&a);
    return s;
}
