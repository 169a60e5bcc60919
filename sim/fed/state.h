/* One experiment in three parts: what is set up (const once opened), what changes and a checkpoint
 * holds, and what can be made again. */
#ifndef FC_STATE_H
#define FC_STATE_H

#include "core/base/metrics.h"
#include "core/vit/deltas.h"
#include "datasets/dataset.h"
#include "datasets/partition.h"
#include "datasets/tasks.h"
#include "sim/config/config.h"
#include "sim/fed/devices.h"
#include "sim/io/progress.h"
#include "sim/methods/method.h"
#include "sim/parallel/ranks.h"
#include "sim/record/checkpoint.h"
#include "sim/record/client_store.h"
#include "sim/record/reporter.h"
#include "sim/record/runlog.h"
#include "sim/train/eval.h"
#include "sim/train/fit_fisher.h"

/* A piece that is on in this run, and what it declares. */
typedef struct fc_piece_use {
    const fc_piece *piece;
    const void *options;
    fc_array_spec array[FC_ARRAYS_MAX];
    int n_arrays;
} fc_piece_use;

/* Data, network, tasks, partition, devices, options: opened by sim/run/setup.c, then const. */
typedef struct fc_setup {
    fc_config *cfg;
    const fc_method *method;
    fc_net net;
    char hash[9];             /* names the run: of all that can change its results */
    const char *weights_path; /* "" = random */
    char weights_sha256[65];
    char source_hash[9]; /* of the run of tasks.from, whose deltas and rows are all there before the
                            first task and nothing is trained; "": none */

    fc_dataset data;
    fc_tasks tasks;
    fc_partition partition;
    fc_devices devices;
    int max_side; /* of any image */

    fc_params w0;
    fc_params layout; /* of the block that is trained (p NULL) */
    fc_params fisher; /* layout of the Fisher information that clients send (p NULL); n = 0: none */
    fc_gram_plan grams;
    fc_grams gram_shape; /* slots and head; n = 0: the method sends none */
    int slots;
    int *slot_A, *slot_B, *slot_W;
    size_t *slot_offset;   /* (slots) of its weight in a backbone block */
    fc_method_setup about; /* all this as methods see it */
    fc_trained trained;
    fc_piece_use piece[FC_PIECES_MAX];
    int n_pieces;
    size_t own_numbers;  /* of the arrays of one client; 0: clients keep nothing */
    size_t sent_numbers; /* of the arrays that one client sends */
    bool gradient;       /* clients take the gradient of all their images before they train */
    bool slice_terms;    /* pieces have loss terms of logits or features */
    bool second_batch;   /* one of them has a second batch */
    bool has_teacher;    /* one of them has a teacher */
    bool task_grams;     /* clients send the Grams of the slots once more at the end of a task */
    bool keeps_rows;     /* head rows of the finished tasks are kept as they were learnt */
    int threads;         /* of this rank */
    fc_arena arena;
} fc_setup;

/* Where the run stands: `next_round` rounds of `next_task` are done; next_round == fed.rounds: its
 * end is due. */
typedef struct fc_position {
    int64_t next_task, next_round, seq, steps;
    int64_t bytes_up, bytes_down;
    int64_t clients_late, clients_lost; /* updates that were not merged */
} fc_position;

/* All that a checkpoint holds: fc_state_fields lists it once. */
typedef struct fc_state {
    fc_params global;
    fc_deltas deltas;
    fc_real *folded;    /* (w0.n) what the rounds of this task added to the weights that clients
                           train on; NULL unless setup.trained.folds */
    fc_real *stack;     /* factors of the clients of the last round, where they go down in place of
                           what it folded (sim/fed/down.h); NULL: nowhere */
    fc_real *task_head; /* (C, D), then (C): head rows of the finished tasks as they were learnt;
                           NULL unless setup.keeps_rows */
    fc_acc_matrix acc;
    fc_eval eval;                                 /* the last evaluation */
    fc_array array[FC_PIECES_MAX][FC_ARRAYS_MAX]; /* of the server, as the pieces declare them */
    /* Record of each client's arrays in the file of clients (sim/record/client_store.h), -1: none
     * yet, now and before the last round that changed them; NULL unless setup.own_numbers. */
    int64_t *client_record, *client_before;
    fc_position at;
    double sim_s;    /* simulated clock; 0 without a model of devices */
    double clock[2]; /* wall and CPU seconds of earlier processes */
    int64_t log_offset[FC_LOG_N];
} fc_state;

/* What can be made again: packed weights, buffers, threads, open files. */
typedef struct fc_scratch {
    fc_packed packed_train;   /* of w_train; empty in full fine-tuning */
    fc_packed packed_start;   /* of a teacher, in full fine-tuning */
    fc_packed packed_scratch; /* of the Gram or evaluated model, forward only */
    fc_real *w_train;         /* what clients train on; == w0.p unless the method adds to it */
    fc_real *w_buffer;        /* owned copy behind w_train, or NULL */
    fc_real *w_scratch;       /* Gram model, then evaluated model (LoRA only) */
    fc_params received;       /* the trained block as every client holds it: written by messages */
    fc_real **sent, **gradient; /* (trainers) buffers of fc_setup.sent_numbers, and of the block */
    fc_client_store store;
    fc_crew crew;
    fc_fisher_room fisher; /* of the crew's clients; part.n = 0: the rule needs none */
    fc_progress progress;
    fc_ranks ranks; /* rank 0 is the server */
    fc_runlog log;
    fc_reporter reporter;
    double start_wall, start_cpu;
    fc_arena arena;
} fc_scratch;

/* What each client of a round does; round == fed.rounds: at the end of the task. */
typedef struct fc_work {
    int task, round;
    unsigned groups;    /* trained; 0 at the end of the task */
    bool grams, fisher; /* are taken, and sent */
    bool statistics;    /* of pieces are taken */
} fc_work;

typedef struct fc_run {
    const fc_setup *setup;
    fc_state state;
    fc_scratch scratch;
} fc_run;

size_t fc_client_samples(const fc_setup *s, int t, int client);
int fc_client_classes(const fc_setup *s, int t, int client); /* distinct ones among its samples */

/* Numbers of fc_state.task_head. */
size_t fc_task_head_size(const fc_setup *s);
/* The head rows of task t as they are now. */
void fc_task_head_keep(fc_state *st, const fc_setup *s, int t);

/* w_train packed, or NULL in full fine-tuning, where each client packs its own weights. */
const fc_packed *fc_run_packed(const fc_run *r);

#endif
