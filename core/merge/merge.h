/* Server-side merging: a registry of rules (merge_table.def), one file each (merge_<name>.c).
 *
 * A merge is pure: no evaluation, no logging, no files. Updates are folded one at a time in
 * client-id order, so that a rule that can reduce (all of them here) needs memory for one update
 * only. State and sums are double; the result is cast to fc_real once. */
#ifndef FC_MERGE_H
#define FC_MERGE_H

#include "core/arena.h"
#include "core/opt.h"
#include "core/params.h"
#include "core/stats.h"
#include "core/status.h"

/* What one client sends. */
typedef struct fc_update {
    int client;              /* id, for messages */
    size_t n_samples;        /* training samples of this client in this task */
    const fc_params *params; /* its trained block; only the groups of the job are read */
    const fc_grams *grams;   /* NULL unless the rule needs them; finished (fc_grams_finish) */
} fc_update;

/* One merge, e.g. of one round. Everything here outlives it. */
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
    bool weighted; /* averages weigh by n_samples, else uniform over clients with n_samples > 0 */
    const void *options; /* the rule's own options struct */
} fc_merge_job;

enum { /* needs */ FC_MERGE_NEEDS_GRAMS = 1 };
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
    /* *state from arena. */
    fc_status (*begin)(void **state, const fc_merge_job *job, fc_arena *arena, fc_error *err);
    /* Adds one update to the sums. A non-finite number in it: FC_EFAIL naming client and tensor,
     * state then unusable. */
    fc_status (*fold)(void *state, const fc_merge_job *job, const fc_update *u, fc_error *err);
    /* Writes the merged groups into out (layout of job->base; other groups copied from base). May
     * run the slots in parallel; same bits for any number of threads. */
    fc_status (*finish)(void *state, const fc_merge_job *job, fc_params *out, fc_error *err);
} fc_merge_method;

extern const fc_merge_method *const fc_merge_table[];
extern const int fc_merge_count;
const fc_merge_method *fc_merge_find(const char *name); /* NULL if unknown */

#endif
