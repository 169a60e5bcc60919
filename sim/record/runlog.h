/* The files of a run directory: CSV (RFC 4180, fixed header, '.' decimals, one flush per row),
 * events.jsonl, TensorBoard's event file, acc_matrix.csv and summary.json. */
#ifndef FC_RUNLOG_H
#define FC_RUNLOG_H

#include "core/base/metrics.h"
#include "core/base/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { FC_LOG_ROUNDS, FC_LOG_TASKS, FC_LOG_CLIENTS, FC_LOG_EVENTS, FC_LOG_TENSORBOARD, FC_LOG_N };

typedef struct fc_log_options {
    bool clients;     /* clients.csv */
    bool tensorboard; /* events.out.tfevents.0.fcil */
    int rounds;       /* of a task: TensorBoard's steps are rounds of the run */
} fc_log_options;

typedef struct fc_runlog {
    char dir[4096];
    fc_log_options options;
    FILE *file[FC_LOG_N]; /* NULL where switched off */
} fc_runlog;

/* rounds.csv: a column per field, in this order and of these names. Round numbers from 1; the row
 * of the end of a task has round = rounds + 1. acc .. loss are empty when the round was not
 * evaluated (total == 0), train_loss when nothing was trained (NaN), sim_s without a model of the
 * clients' devices (NaN), merge_* but at the end of a task with tasks.merge (NaN). clients_dropped
 * are late or lost. */
typedef struct fc_round_row {
    int task, round;
    long step; /* optimiser steps of all clients so far */
    double acc, acc_task_mean;
    long correct, total;
    double loss, train_loss;
    int clients_ok, clients_dropped;
    uint64_t bytes_down, bytes_up, bytes_down_cum, bytes_up_cum;
    double train_s, merge_s, eval_s, wall_s, cpu_s, rss_mib;
    double sim_s, sim_s_cum;         /* simulated seconds: of the round, since the start */
    double merge_scale, merge_extra; /* of the model of tasks.merge: factor on its update, numbers
                                        that it keeps beside one backbone */
} fc_round_row;

/* The name of a column, for those who read the file; the compiler knows that there is one. */
#define FC_ROUND_COLUMN(field) (sizeof((fc_round_row){0}.field) ? #field : "")

/* clients.csv: a column per field, in this order and of these names. train_loss of a round is the
 * mean of loss_mean over its ok clients, weighted by n_samples. */
typedef struct fc_client_row {
    int task, round, client;
    const char *status; /* ok, late or lost: late and lost clients are not trained */
    size_t n_samples;
    int n_classes;
    long steps;
    double loss_first, loss_last, loss_mean; /* mean: over all steps, by samples; NaN = empty */
    uint64_t bytes_down, bytes_up;
    double train_s;
    double
        sim_s; /* simulated seconds until the update arrives or the client is lost; NaN = empty */
} fc_client_row;

#define FC_CLIENT_COLUMN(field) (sizeof((fc_client_row){0}.field) ? #field : "")

/* tasks.csv: after_task,eval_task,correct,total,acc,acc_masked */
typedef struct fc_task_row {
    int after_task, eval_task;
    long correct, total;
    long correct_masked;
} fc_task_row;

/* Open for appending; dir must exist. A new run (offset NULL) removes what an older one left there
 * (checkpoints, marks, matrix, summary) and starts the files with their headers; a resumed run cuts
 * each file to offset[i] bytes (FC_ECKPT if it is shorter or missing, or has another header). A
 * file that is switched off has offset 0. A second process on dir is refused (FC_EFAIL). */
fc_status fc_runlog_open(fc_runlog *log, const char *dir, const int64_t offset[FC_LOG_N],
                         const fc_log_options *options, fc_error *err);
void fc_runlog_close(fc_runlog *log); /* accepts {0} */
/* Is a process writing the run in dir? Where the file system has no locks: no. */
bool fc_runlog_busy(const char *dir);
/* Sizes in bytes after flush and fsync: what a checkpoint stores. */
fc_status fc_runlog_sync(fc_runlog *log, int64_t offset[FC_LOG_N], fc_error *err);

/* Task, round and client numbers are written as given. A failed write (disk full) is FC_EFAIL
 * naming the file and the reason.
 *
 * With TensorBoard, a round also writes the scalars acc, acc_task_mean, loss, train_loss,
 * bytes_down_cum and bytes_up_cum (those there are), under task_end/ at the end of a task; a task
 * row writes task_end/task_<eval_task>, and the summary faa and aia. step = rounds of the run so
 * far. */
fc_status fc_runlog_round(fc_runlog *log, const fc_round_row *row, fc_error *err);
fc_status fc_runlog_client(fc_runlog *log, const fc_client_row *row, fc_error *err);
fc_status fc_runlog_task(fc_runlog *log, const fc_task_row *row, fc_error *err);
/* One JSON object per line: {"event": name, "task": t, "round": r, "text": ...}: no times, so that
 * a resumed run writes the same bytes. */
fc_status fc_runlog_event(fc_runlog *log, const char *event, int task, int round, const char *text,
                          fc_error *err);

/* acc_matrix.csv, rewritten atomically: header after_task,task_1,...,task_T,acc,acc_task_mean;
 * empty cells above the diagonal. */
fc_status fc_runlog_matrix(const fc_runlog *log, const fc_acc_matrix *m, fc_error *err);

/* summary.json, atomically: keys of product.md. */
typedef struct fc_summary {
    const fc_acc_matrix *acc;
    uint64_t bytes_up, bytes_down;
    long clients_late, clients_lost;
    double sim_s; /* NaN = null */
    double wall_s, cpu_s, rss_mib;
    uint64_t seed, seed_order, seed_partition, seed_init, seed_train, seed_device;
    const char *method, *rule, *name, *config_hash;
    long steps;
} fc_summary;
fc_status fc_runlog_summary(fc_runlog *log, const fc_summary *s, fc_error *err);

/* How a run ended: the name of an otherwise empty file in its folder. */
typedef enum fc_run_mark { FC_MARK_DONE, FC_MARK_FAILED, FC_MARK_STOPPED, FC_MARKS } fc_run_mark;
extern const char *const fc_run_mark_name[FC_MARKS];

/* Writes that file, with text in it, and removes the other two. */
fc_status fc_runlog_mark(const char *dir, fc_run_mark mark, const char *text, fc_error *err);

#endif
