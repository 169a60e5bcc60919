/* What a rule of merging is: the updates and the job that it is given, and the one const struct by
 * which its file describes it. A rule has one or both of two forms:
 *
 *   folded    begin, fold, finish: over parameters as clients send them, one update at a time, so
 *             that memory does not grow with their number (averages, closed forms)
 *   combine   over task vectors (core/merge/combine.h), in any space (core/merge/space.h): clients
 *             of a round, tasks of a run, or files
 *
 * A rule is pure: no evaluation, no logging, no files. State and sums are double; the result is
 * cast to fc_real once. */
#ifndef FC_RULE_H
#define FC_RULE_H

#include "core/base/arena.h"
#include "core/base/opt.h"
#include "core/base/params.h"
#include "core/base/status.h"
#include "core/merge/combine.h"
#include "core/merge/space.h"
#include "core/vit/stats.h"

/* What one client sends. */
typedef struct fc_update {
    int client;              /* id, for messages */
    size_t n_samples;        /* training samples of this client in this task */
    const fc_params *params; /* its trained block; only the groups of the job are read */
    const fc_grams *grams;   /* NULL unless the rule needs them; finished (fc_grams_finish) */
    /* NULL unless the rule needs it: Fisher information, a mean over samples. Tensor by tensor as
     * params, but for pairs that of B A (d_out, d_in), slot by slot (fc_fisher_layout). */
    const fc_params *fisher;
} fc_update;

/* One merge of a round. Everything here outlives it. */
typedef struct fc_merge_job {
    const fc_params *base; /* the server's block at the start of the round: what groups outside
                              `groups` keep, and the common A (B) of a B-round (A-round) */
    unsigned groups;       /* bits 1 << fc_group that were trained and are merged */
    int slots;             /* adapted linear layers, 0 if none */
    const int *slot_A,
        *slot_B; /* (slots) spec index of A and B of each slot; NULL if none (full fine-tuning) */
    const int
        *slot_W; /* (slots) spec index of the full weight (RegMean on full fine-tuning), or NULL */
    int head_W;  /* spec index of head.weight, -1 if none; its Gram is slot number `slots` */
    const fc_grams *shape; /* layout of the Grams (values unused), NULL without */
    bool weighted; /* averages and Fisher information weigh by n_samples, else uniform over clients
                      with n_samples > 0 */
    const void *options; /* the rule's own options struct */
    int clients;         /* most updates that will be folded */
    fc_space space;      /* of combine */
    fc_key key;          /* seed, task and round of random masks */
    /* LoRA with A and B trained together: what is merged is the change of B A, by combine. Its
     * result goes into sum, with B = 0 and A as in base; or, where sum is NULL, the best B A of
     * their rank for base plus result. Otherwise tensors are merged as they are. */
    bool product;
    fc_real *sum;             /* a backbone block; slots are added to it */
    const size_t *sum_offset; /* (slots) where slot i begins in sum */
    double *lost;             /* out, may be NULL: |what truncation lost|_F / |B A before it|_F */
} fc_merge_job;

enum { /* needs */
       FC_MERGE_NEEDS_GRAMS = 1,
       FC_MERGE_NEEDS_FISHER = 2,
       FC_MERGE_NEEDS_IMAGES = 4 /* unlabelled ones of each update, and the network */
};
enum {                         /* laws, tested for every row of the table */
       FC_LAW_ONE_CLIENT = 1,  /* one client -> its own update (full-rank Grams) */
       FC_LAW_EQUAL_FIXED = 2, /* equal updates are a fixed point */
       FC_LAW_ORDER = 4,       /* client order does not matter (to rounding) */
       FC_LAW_SCALE = 8        /* all weights (n_samples, Grams) times c -> the same */
};

typedef struct fc_merge_method {
    const char *name, *paper, *help;
    unsigned needs, laws;
    const fc_opt *options; /* rows for the config section `merge`; n_options 0 if none */
    int n_options;
    size_t options_size;
    /* --- folded; NULL: none */
    /* *state from arena. */
    fc_status (*begin)(void **state, const fc_merge_job *job, fc_arena *arena, fc_error *err);
    /* Adds one update to the sums. A non-finite number in it: FC_EFAIL naming client and tensor,
     * state then unusable. */
    fc_status (*fold)(void *state, const fc_merge_job *job, const fc_update *u, fc_error *err);
    /* Writes the merged groups into out (layout of job->base; other groups copied from base). May
     * run the slots in parallel; same bits for any number of threads. */
    fc_status (*finish)(void *state, const fc_merge_job *job, fc_params *out, fc_error *err);
    /* --- combine; NULL: none */
    fc_combine *combine;
    const char *full_only; /* why combine works in full space only; NULL: it works in any */
    /* The merged task vector is scale * sum_i w_i tau_i, w_i the weights of the set where `weighs`
     * is set, else 1; total = sum_i w_i. Such a rule needs memory for one update. NULL: the rule
     * looks at all updates at once. */
    double (*scale)(const void *options, double total);
    bool weighs;
    /* Rules that need Fisher information: the merged task vector is, entry by entry,
     * sum_i w_i tau_i / sum_i w_i, and this turns the Fisher information F_i of a tensor into w_i
     * (up to a factor that all updates share). norm: ||F_i||_2 over all tensors. In a round it
     * takes memory for two updates. NULL: the rule has no such weights. */
    void (*entry_weights)(double *w, size_t n, double norm, const void *options);
    bool factors; /* merges A and B of LoRA as they are, also where the method trains both */
    bool experts; /* neither form: keeps the updates apart, and the network chooses between them as
                     it runs (sim/train/vit_merge.h) */
} fc_merge_method;

#endif
