/* Training on images without labels: what makes the predictions of a merged model certain. The loop
 * of AdaMerging (sim/train/adamerging.h) and of gates between experts.
 *
 * Each step takes `batch` images of every task and lowers the sum over the tasks of their mean
 * entropy (fc_entropy), each task over its own rows of the head. The lists of samples are gone
 * through in a new random order each time; images are not augmented. Batches are cut into slices of
 * FC_SLICE images, whose gradients are added in order: same bits for any number of threads. */
#ifndef FC_ENTROPY_H
#define FC_ENTROPY_H

#include "sim/train/fit.h"
#include "sim/train/task_images.h"

typedef struct fc_entropy_job {
    const fc_net *net;
    fc_crew *crew;         /* idle; its workers have activations for backward and net->classes */
    const fc_split *split; /* of the samples */
    const fc_task_images *task; /* (tasks) each of at least one image */
    int tasks;
    int steps, batch; /* >= 0, >= 1; published for AdaMerging and WEMoE: 1000 and 16 */
    uint64_t seed;
    fc_progress *progress; /* may be NULL */
    const char *what;      /* for messages: "AdaMerging" */
} fc_entropy_job;

/* What is trained. grads and add must not allocate; grads runs on many threads at once. */
typedef struct fc_entropy_model {
    void *ctx;
    double flop; /* of one image, forward and backward */
    size_t n;    /* numbers of its gradient; each thread has room for one */
    /* The network of the coming step. Its parts stay as they are until step. */
    fc_status (*prepare)(void *ctx, fc_model *m, fc_error *err);
    /* Which gradients of the network `gradient` (n), all 0, is: that of one slice. */
    fc_grads (*grads)(void *ctx, fc_real *gradient);
    /* The gradient of a slice goes into the sum of the step (first: is the sum); in order. */
    void (*add)(void *ctx, const fc_real *gradient, bool first);
    /* The sum is complete: one step of the optimiser. */
    fc_status (*step)(void *ctx, fc_error *err);
} fc_entropy_model;

typedef struct fc_entropy_result {
    double first, last; /* mean entropy over tasks and images, of the first and the last step; NaN
                           without steps */
} fc_entropy_result;

/* FLOP of all steps, for the total of the progress display. */
double fc_entropy_flop(const fc_entropy_job *a, const fc_entropy_model *m);

/* All steps, from outside the crew's pool. Errors: those of the callbacks; FC_EFAIL where the
 * entropy is not finite (says at which step); FC_ESTOP when a stop was requested, after the step
 * under way. */
fc_status fc_entropy_run(fc_entropy_result *out, const fc_entropy_job *a, const fc_entropy_model *m,
                         fc_error *err);

#endif
