/* Local training: one model, one list of samples, some epochs. Used by clients and by pretraining.
 *
 * A batch is cut into slices of FC_SLICE images, which all threads that have nothing better to do
 * share (sim/parallel/pool.h). Each slice has its own gradient, and the slices are added in order,
 * so that the bits do not depend on how many threads there are. */
#ifndef FC_FIT_H
#define FC_FIT_H

#include "core/base/rng.h"
#include "core/vit/optim.h"
#include "core/vit/vit.h"
#include "datasets/transform.h"
#include "sim/io/progress.h"
#include "sim/methods/piece.h"
#include "sim/parallel/pool.h"

/* Images of a slice, and of an item of a Gram pass. */
enum { FC_SLICE = 8, FC_GRAM_ITEM = 8 * FC_SLICE };

/* What all models of a run share; const while clients train. */
typedef struct fc_net {
    fc_vit_shape shape;
    fc_train_mode mode;
    int rank, classes;
    fc_engine engine; /* isa and precision */
    fc_transform transform;
    const fc_split *train;
    const int *logit; /* (dataset classes) logit of each class */
} fc_net;

/* Scratch of one thread. */
typedef struct fc_worker {
    fc_acts *acts;
    fc_resampler *resampler;
    fc_real *x;         /* (FC_SLICE, 3, S, S) */
    fc_real *dlogits;   /* (FC_SLICE, classes) */
    int *label;         /* (FC_SLICE) logit index of the label */
    fc_real *grad;      /* of one slice; NULL if batches have one slice */
    fc_grams grams;     /* of one item of a Gram pass; n = 0 without */
    double loss;        /* of one slice */
    fc_acts *teacher;   /* of a teacher's forward pass; NULL unless the plan has one */
    fc_real *dfeatures; /* (FC_SLICE, width); NULL unless the plan wants terms of slices */
} fc_worker;

typedef struct fc_crew fc_crew;

/* One client in flight: its parameters, their gradient and its optimiser. */
typedef struct fc_trainer {
    const fc_net *net;
    fc_crew *crew;
    int thread; /* of the crew, which it runs on */
    fc_params local;
    fc_packed packed; /* of local, in full fine-tuning */
    fc_real *grad;
    fc_optim optim;
    fc_grams grams;   /* n = 0 without */
    uint32_t *second; /* (batch) of a second batch; NULL unless the plan wants it */
    uint32_t *order;  /* samples in the order of the epoch */
    size_t order_max;
} fc_trainer;

/* The threads of a run and all their buffers. */
struct fc_crew {
    fc_pool pool;
    fc_worker *worker;   /* (pool.threads): of each thread */
    fc_trainer *trainer; /* (trainers): of each of the first threads */
    int trainers;
    fc_arena arena;
};

typedef struct fc_crew_plan {
    const fc_net *net;
    const fc_params *like; /* what is trained */
    int threads, clients;  /* no more trainers than clients */
    int batch;             /* largest */
    size_t samples;        /* longest list */
    const fc_grams *grams; /* layout, or NULL */
    int max_side;          /* of any image */
    bool second_batch;     /* a loss term has one */
    bool slice_terms;      /* loss terms of logits and features, */
    bool teacher;          /* one of them with a teacher */
    fc_acts_size acts;     /* what models with experts want beside: experts, gate_k, gates, whole */
} fc_crew_plan;

/* Images that a net sees, and the logits of their classes. */
void fc_net_sees(fc_net *net, const fc_split *train, const fc_transform *transform,
                 const int *logit, int classes);

/* For one model that all threads work on, with images of any side up to max_side. To be added: how
 * long lists and batches are, where it is trained; Grams; what experts want. */
fc_crew_plan fc_crew_plan_one(const fc_net *net, const fc_params *like, int threads, int max_side);

/* The crew must not move until fc_crew_free. */
fc_status fc_crew_init(fc_crew *c, const fc_crew_plan *plan, fc_error *err);
void fc_crew_free(fc_crew *c); /* accepts {0} */

/* Beside an image's own forward and backward pass: a teacher's forward pass, a second image. */
typedef struct fc_fit_extra {
    bool teacher, second;
} fc_fit_extra;

typedef struct fc_fit {
    const fc_real *w;        /* frozen backbone (unused in full fine-tuning) */
    const fc_packed *packed; /* of w, or NULL */
    unsigned groups;         /* trained groups */
    fc_optim_config optim;
    fc_schedule schedule;
    double warmup; /* fraction of the steps */
    int epochs, batch;
    int lo, hi; /* logits of the current task */
    bool no_decay_1d;
    fc_piece_client *at; /* (pieces) at work on this client: their loss terms are added to the
                            images' own */
    int pieces;
    fc_fit_extra extra;              /* what of their work is counted */
    const fc_packed *teacher_packed; /* of the teacher, in full fine-tuning */
    const uint32_t *sample;
    size_t n;
    fc_key key;            /* seed, task, round, client */
    fc_progress *progress; /* may be NULL */
    const char *what;      /* for messages: "task 3, round 2, client 7" */
    /* After each epoch; NULL: nothing. */
    fc_status (*epoch_end)(void *ctx, fc_trainer *t, int epoch, double loss, fc_error *err);
    void *ctx;
} fc_fit;

typedef struct fc_fit_result {
    long steps;
    double loss_first, loss_last, loss_mean;
} fc_fit_result;

/* Train t->local in place. Errors: FC_EFAIL when the loss is not finite (says where and the likely
 * cause), FC_ESTOP when a stop was requested (after the current step). */
fc_status fc_fit_run(fc_fit_result *out, fc_trainer *t, const fc_fit *f, fc_error *err);

/* Grams of the inputs of the layers of model m over `passes` augmented passes of the samples (0:
 * one pass, not augmented), finished. Images are taken in the order of the list: a sum needs no
 * shuffle. out has the layout of the crew's Grams or of the first slots of it. */
fc_status fc_fit_grams(fc_grams *out, fc_trainer *t, const fc_model *m, const uint32_t *sample,
                       size_t n, int passes, fc_key key, fc_progress *progress, fc_error *err);

/* What fc_fit_grams_alone works on. */
typedef struct fc_gram_job {
    const fc_net *net;
    fc_crew *crew; /* idle; its Grams have the layout of the result, or begin with it */
    const fc_model *m;
    const fc_split *split;
    const uint32_t *sample; /* (n), not augmented */
    size_t n;
    fc_progress *progress; /* may be NULL */
} fc_gram_job;

/* Grams of one model, by all threads of an idle crew. Errors: FC_ESTOP when a stop was requested.
 */
fc_status fc_fit_grams_alone(fc_grams *out, const fc_gram_job *j, fc_error *err);

/* Load images sample[0 .. n-1] of split into w->x and their logits into w->label; epoch < 0: test
 * transform. */
void fc_worker_load(fc_worker *w, const fc_net *net, const fc_split *split, const uint32_t *sample,
                    int n, fc_key key, int epoch);

/* The model of f with the trained block as it is now, packed. */
fc_model fc_fit_model(fc_trainer *t, const fc_fit *f);

/* Gradient of the mean loss over all images of f, once each and augmented as in the first epoch,
 * without the terms of pieces, into out (t->local.n; 0 where nothing is trained). Errors: FC_ESTOP.
 */
fc_status fc_fit_gradient(fc_real *out, fc_trainer *t, const fc_fit *f, fc_error *err);

/* FLOP of one training step per image. */
double fc_fit_flop(const fc_net *net, unsigned groups);
double fc_fit_flop_with(const fc_net *net, unsigned groups, const fc_fit_extra *extra);

#endif
