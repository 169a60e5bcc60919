/* One experiment: data, model, method and all mutable state of it. */
#ifndef FC_RUN_H
#define FC_RUN_H

#include "core/deltas.h"
#include "core/merge/merge.h"
#include "core/metrics.h"
#include "datasets/dataset.h"
#include "datasets/partition.h"
#include "datasets/tasks.h"
#include "sim/checkpoint.h"
#include "sim/devices.h"
#include "sim/eval.h"
#include "sim/fit_fisher.h"
#include "sim/message.h"
#include "sim/methods/method.h"
#include "sim/progress.h"
#include "sim/ranks.h"
#include "sim/reporter.h"
#include "sim/runlog.h"

/* Where the run stands: `next_round` rounds of `next_task` are done; next_round == fed.rounds: its
 * end is due. */
typedef struct fc_position {
    int64_t next_task, next_round, seq, steps;
    int64_t bytes_up, bytes_down;
    int64_t clients_late, clients_lost; /* updates that were not merged */
} fc_position;

struct fc_run {
    fc_config *cfg;
    const fc_method *method;
    fc_net net;
    char hash[9];
    const char *weights_path; /* "" = random */
    char weights_sha256[65];

    fc_dataset data;
    fc_tasks tasks;
    fc_partition partition;
    fc_devices devices;
    int max_side; /* of any image */

    /* Const after set-up. */
    fc_params w0;
    fc_gram_plan grams;
    fc_grams gram_shape; /* slots and head; n = 0: the method sends none */
    int slots;
    int *slot_A, *slot_B, *slot_W;
    size_t *slot_offset; /* (slots) of its weight in a backbone block */
    fc_progress progress;

    /* The server's state: all that a checkpoint holds. */
    fc_params global;
    fc_deltas deltas;
    fc_real *folded; /* (w0.n) what the rounds of this task added to the weights that clients train
                        on; NULL: the method does not (fc_method.folds) */
    char source_hash[9]; /* of the run of tasks.from, whose deltas and rows are all there before
                            the first task and nothing is trained; "": none */
    fc_real *task_head;  /* (C, D), then (C): head rows of the finished tasks as they were learnt;
                            NULL without tasks.merge */
    fc_acc_matrix acc;
    fc_eval eval; /* the last evaluation */
    fc_position at;
    double sim_s;    /* simulated clock; 0 without a model of devices */
    double clock[2]; /* wall and CPU seconds of earlier processes */
    int64_t log_offset[FC_LOG_N];

    /* Derived, rebuilt when needed: W0 plus finished tasks. */
    fc_packed packed_train;   /* of w_train; empty in full fine-tuning */
    fc_packed packed_scratch; /* of the Gram or evaluated model, forward only */
    fc_real *w_train;         /* what clients train on; == w0.p unless the method adds to it */
    fc_real *w_buffer;        /* owned copy behind w_train, or NULL */
    fc_real *w_scratch;       /* Gram model, then evaluated model (LoRA only) */

    fc_crew crew;
    fc_fisher_room fisher; /* of the crew's clients; part.n = 0: the rule needs none */
    int threads;           /* of this rank */
    fc_ranks ranks;        /* rank 0 is the server */
    int *rank_threads;     /* (ranks.n), and their sum */
    int all_threads;
    fc_runlog log;
    fc_reporter reporter;
    double start_wall, start_cpu;
    fc_arena arena;
};

/* Everything up to the first round: data, weights, tasks, partition, memory. Nothing is written. */
fc_status fc_run_open(fc_run *r, fc_config *cfg, fc_console console, fc_error *err);
void fc_run_close(fc_run *r); /* accepts {0} */

/* The run directory <out>/<name>/<method>-s<seed>-<hash>, from r->arena. */
const char *fc_run_dir(fc_run *r, fc_error *err);

/* run_dir.c: an opened run in its directory, to the end: the files of its start, the loop, the
 * marker DONE, FAILED or STOPPED. With resume it goes on from its last checkpoint, or
 * (*done_before) finds itself done and restores what is there. */
typedef struct fc_run_how {
    bool resume;
    int argc; /* for the manifest */
    char **argv;
} fc_run_how;
fc_status fc_run_in(fc_run *r, const char *dir, const fc_run_how *how, bool *done_before,
                    fc_error *err);

/* What rank 0 starts from, new or restored (s: how that went), to all ranks. */
fc_status fc_run_share(fc_run *r, fc_status s, fc_error *err);

/* The task/round loop from where r stands to the end, in an opened run directory. */
fc_status fc_run_loop(fc_run *r, fc_error *err);

/* State of the newest checkpoint in dir; *found false if there is none. */
fc_status fc_run_restore(fc_run *r, const char *dir, bool *found, fc_error *err);
/* Opens the files of a run: new ones, or (resumed) as they were at the restored checkpoint. */
fc_status fc_run_start(fc_run *r, const char *dir, bool resumed, fc_error *err);

/* Save the state with `task` tasks and `round` rounds of the next one done. */
fc_status fc_run_checkpoint(fc_run *r, int task, int round, fc_error *err);
/* Size of a checkpoint, which is put together in memory. */
size_t fc_run_state_bytes(fc_run *r);
/* What a checkpoint of this run must match. */
fc_ckpt_id fc_run_ckpt_id(const fc_run *r);
fc_status fc_run_summary(fc_run *r, fc_error *err);

/* --- parts, each in a file of its own ----------------------------------------------------------
 */

/* setup.c */
/* Starts the threads of a config and returns their number; warns of more threads than cores, and of
 * a BLAS that allows one only. */
int fc_threads_open(const fc_config *c, fc_progress *progress);
/* Kernels and precision of a config; warns where bf16 is emulated. */
fc_status fc_engine_open(fc_engine *e, const fc_config *c, fc_progress *progress, fc_error *err);
fc_transform fc_transform_of(const fc_config *c, int image);
fc_optim_config fc_optim_of(const fc_config *c, unsigned groups);
int fc_dataset_side(const fc_dataset *d); /* longest side of any image */
fc_status fc_data_open(fc_dataset *d, const fc_config *c, fc_error *err);
fc_status fc_tasks_open(fc_tasks *t, const fc_dataset *d, const fc_config *c, fc_arena *arena,
                        fc_error *err);
fc_status fc_partition_open(fc_partition *p, const fc_dataset *d, const fc_tasks *t,
                            const fc_config *c, fc_arena *arena, fc_error *err);

/* backbone.c: weights and shape of a config: a file, pretrained on the spot (cached), or random. */
fc_status fc_backbone_open(fc_run *r, fc_error *err);

/* w_train packed, or NULL in full fine-tuning, where each client packs its own weights. */
const fc_packed *fc_run_packed(const fc_run *r);

/* client.c */
typedef struct fc_client_job {
    int task, round;       /* round == fed.rounds: Grams at the end of the task */
    unsigned groups;       /* trained; 0 at the end of the task */
    bool grams, fisher;    /* are taken, and sent */
    const fc_real *gram_w; /* backbone of the Gram model, and scale of B A in it */
    const fc_packed *gram_packed;
    fc_real gram_scale;
} fc_client_job;
/* Train a client (or take its Grams) and pack what it sends. */
fc_status fc_client_run(fc_message *out, fc_message_head *head, fc_run *r, fc_trainer *t,
                        const fc_client_job *job, int client, fc_error *err);
size_t fc_client_samples(const fc_run *r, int t, int client);
int fc_client_classes(const fc_run *r, int t, int client); /* distinct ones among its samples */
/* What a trained client sends of it: see fc_fit_fisher_client. */
fc_status fc_client_fisher(const fc_params **sent, const fc_run *r, fc_trainer *t, const fc_fit *f,
                           fc_error *err);
/* Its work in FLOP. */
double fc_client_flop(const fc_run *r, const fc_client_job *job, int client);

/* server.c: the start of a task (fresh LoRA), what follows from the state (training weights), one
 * round, the end of a task. */
fc_status fc_server_begin_task(fc_run *r, int t, fc_error *err);
void fc_server_prepare_task(fc_run *r);
fc_status fc_server_round(fc_run *r, int t, int round, fc_error *err);
fc_status fc_server_end_task(fc_run *r, int t, fc_error *err);
/* The merge of a round of so many updates, at most. */
fc_merge_job fc_server_merge_job(const fc_run *r, int t, int round, int clients);
unsigned fc_server_groups(const fc_run *r, int round);
/* Is there a test after this round of task t (round == fed.rounds: at the end of a task, beside the
 * one of its last round)? */
bool fc_server_evaluates(const fc_run *r, int t, int round);
/* The model that is tested after a round, or (task_end) when a task has ended and its delta is
 * among r->deltas. LoRA methods build its backbone in r->w_scratch: W0 + finished tasks + scale B
 * A, or what they make of the tasks. */
fc_status fc_server_model(fc_model *m, fc_run *r, bool task_end, fc_error *err);
/* Bytes to one client at the start of a round of task t (round == fed.rounds: the end of the task).
 */
fc_status fc_server_bytes_down(size_t *bytes, const fc_run *r, int t, int round, fc_error *err);

/* estimate.c: work of the whole run in FLOP, and what of it is done at r->at. */
double fc_estimate_flop(const fc_run *r, double *done);
/* What a run costs that was opened and not started. */
typedef struct fc_estimate {
    double train_flop, eval_flop, seconds, s_per_flop;
    double memory_mib; /* peak of a process that does nothing else */
    double bytes_up, bytes_down;
    double sim_s; /* simulated seconds; 0 without a model of devices */
    long clients_late, clients_lost;
    bool tasks_first; /* those of tasks.from have to be there, and are not counted */
} fc_estimate;
/* s_per_flop: of all threads; 0: measured in about a second. */
fc_status fc_estimate_make(fc_estimate *e, fc_run *r, double s_per_flop, fc_error *err);

#endif
