/* The verbs of the command line. argv[0] is the verb. main prints err->msg and exits with the
 * status. */
#ifndef FC_CMD_H
#define FC_CMD_H

#include "core/status.h"
#include "sim/progress.h"

fc_status fc_cmd_run(int argc, char **argv, fc_error *err);
fc_status fc_cmd_pretrain(int argc, char **argv, fc_error *err);
fc_status fc_cmd_data(int argc, char **argv, fc_error *err);
fc_status fc_cmd_list(int argc, char **argv, fc_error *err);
fc_status fc_cmd_config(int argc, char **argv, fc_error *err);
fc_status fc_cmd_bench(int argc, char **argv, fc_error *err);
fc_status fc_cmd_sweep(int argc, char **argv, fc_error *err);
fc_status fc_cmd_plot(int argc, char **argv, fc_error *err);
fc_status fc_cmd_report(int argc, char **argv, fc_error *err);
fc_status fc_cmd_verify(int argc, char **argv, fc_error *err);
fc_status fc_cmd_export(int argc, char **argv, fc_error *err);
fc_status fc_cmd_eval(int argc, char **argv, fc_error *err);
fc_status fc_cmd_stats(int argc, char **argv, fc_error *err);
fc_status fc_cmd_merge(int argc, char **argv, fc_error *err);

/* What every verb that reads a config takes:
 *   CONFIG [section.key=value ...] [--out DIR] [--data DIR] [--threads N] [--resume] [--dry-run]
 * [--quiet|--verbose] [--color auto|always|never] [--json]
 * --out, --data and --threads are spellings of run.out, data.root and run.threads. */
typedef struct fc_args {
    const char *config; /* first word without '=' and '-'; NULL if absent */
    char **override; /* (n_override) "section.key=value", in order; spelled-out options appended */
    int n_override;
    char **extra; /* further words */
    int n_extra;
    int resume, dry_run, quiet, verbose, json, help, retry_failed, watch, recorded;
    const char *output;                       /* -o FILE */
    const char *dir;                          /* --dir DIR */
    const char *jobs, *shard, *only, *stale;  /* of fcil sweep, as text */
    const char *metric, *x, *bars, *baseline; /* of fcil plot and report */
    const char **label;                       /* (n_label) each --label */
    int n_label;
    const char **stats; /* (n_stats) each --stats of fcil merge */
    int n_stats;
    const char *to, *base;                       /* of fcil export, eval and merge */
    const char *samples, *fisher;                /* of fcil stats, as text */
    const char *rule, *rank;                     /* of fcil merge, as text */
    fc_colour colour;                            /* --color WHEN */
    const char *shards, *time, *mem, *partition; /* of fcil sweep slurm, as text */
} fc_args;
/* allowed: space-separated list of the flags this verb takes, e.g. "--resume --dry-run -o"; WORDS
 * in front of them: every word is a word, key=value too. Unknown flag: FC_EUSAGE with the nearest.
 * The arrays are malloc'ed; fc_args_free. */
fc_status fc_args_parse(fc_args *a, int argc, char **argv, const char *allowed, fc_error *err);
void fc_args_free(fc_args *a);

/* What --jobs, --shard, --only, --stale and --retry-failed ask of the worker of a sweep. */
struct fc_worker_options;
fc_status fc_args_worker(struct fc_worker_options *o, const fc_args *a, fc_error *err);

#endif
