/* Fisher information (core/vit/fisher.h) of a model on images of a split: F = mean_x E_y (d log p(y
 * | x) / d theta)^2, one number for each parameter. For clients, which send it (sim/fed/client.c),
 * for tasks that are merged (sim/train/vit_merge.h) and for fcil stats. */
#ifndef FC_FIT_FISHER_H
#define FC_FIT_FISHER_H

#include "core/vit/fisher.h"
#include "sim/train/fit.h"

/* Scratch of one thread, both of the layout of F. */
typedef struct fc_fisher_worker {
    fc_params grad;
    fc_real *sum; /* over a slice */
} fc_fisher_worker;

/* *out (threads). Memory from the arena. */
fc_status fc_fisher_workers(fc_fisher_worker **out, const fc_params *layout, int threads,
                            fc_arena *arena, fc_error *err);

typedef struct fc_fisher_job {
    const fc_net *net;
    fc_crew *crew;
    const fc_model *m;
    fc_fisher_kind kind;
    int lo, hi; /* logits of the task */
    const fc_split *split;
    const uint32_t *sample;
    size_t n;              /* >= 1; published: 256 */
    fc_progress *progress; /* may be NULL */
} fc_fisher_job;

/* F (layout->n), laid out as FC_TRAIN_FULL (fc_train_layout): the mean over the samples, not
 * augmented. Sums of FC_SLICE images in fc_real, over them in double and in order: same bits for
 * any number of threads. By the piece that `thread` of the crew's pool runs (the others help), with
 * the worker of each thread. Errors: FC_ESTOP when a stop was requested. */
fc_status fc_fit_fisher(double *F, const fc_params *layout, const fc_fisher_job *j,
                        const fc_fisher_worker *worker, int thread, fc_error *err);

/* The same on all threads of an idle crew. While it runs: twice the layout for each thread. Errors:
 * also memory. */
fc_status fc_fit_fisher_alone(double *F, const fc_params *layout, const fc_fisher_job *j,
                              fc_error *err);

/* Room for the Fisher information that the clients of a crew send. */
typedef struct fc_fisher_room {
    fc_params full, part;     /* layouts: as FC_TRAIN_FULL, and of what is sent (fc_fisher_layout);
                                 part.n = 0: nothing is */
    fc_fisher_worker *worker; /* (threads) */
    double **F;               /* (trainers) full */
    fc_params *sent;          /* (trainers) part */
} fc_fisher_room;

/* Memory from the arena. */
fc_status fc_fisher_room_init(fc_fisher_room *room, const fc_net *net, const fc_crew *crew,
                              fc_arena *arena, fc_error *err);

/* *sent = what the client sends whose model t->local is, after f: by at most `most` of its samples,
 * drawn at random (0: all); 0 without a sample. Valid until the next call for t. Errors: FC_ESTOP.
 */
fc_status fc_fit_fisher_client(const fc_params **sent, const fc_fisher_room *room, fc_trainer *t,
                               const fc_fit *f, fc_fisher_kind kind, size_t most, fc_error *err);

#endif
