/* FCIL methods: a registry (method_table.def), one file each (method_<name>.c).
 *
 * A method owns its part of a round: what is trained, which models are trained on and tested, how a
 * task ends, how classes are predicted, and a piece (sim/methods/piece.h) with arrays, loss terms,
 * statistics and a server step. It sees its own options and a fc_method_setup, never the run. The
 * loop (sim/run/loop.c) and the server (sim/fed/server.c) do the rest. NULL members mean the
 * default that their comment states. */
#ifndef FC_METHOD_H
#define FC_METHOD_H

#include "core/vit/deltas.h"
#include "core/vit/stats.h"
#include "sim/methods/piece.h"

/* Which Grams the clients take. */
typedef struct fc_gram_plan {
    double alpha_slots,
        alpha_head; /* weight of the off-diagonals; 0 = only the diagonal is taken */
    int passes;     /* over the client's data; 0: no Grams */
    bool task_end;  /* those of the slots once more when a task is over; they go into fc_deltas */
} fc_gram_plan;

/* What is trained, and how it goes on. LoRA: every task has a fresh A, and B = 0. */
typedef struct fc_trained {
    fc_train_mode mode;
    bool restarts; /* full fine-tuning: each task starts from the pretrained backbone, not from the
                      model of the last one */
    bool products; /* LoRA: A and B are trained together, the rule merges what B A changes by */
    bool folds;    /* with products: the merged update goes into the weights that clients train on,
                      A and B start anew each round; else into the best A and B of their rank */
} fc_trained;

typedef struct fc_method {
    const char *name, *paper, *help;
    const char *rule; /* default of merge.rule */
    fc_trained trains;
    bool single_task;      /* joint: all classes in one task */
    bool centralised;      /* joint: one client holds all data */
    const fc_opt *options; /* rows of the config section `method` */
    int n_options;
    size_t options_size;
    /* --- trained part */
    /* Where it depends on options: s has these, the rule and the sizes of the run, but no layout
     * yet. Default: `trains`. */
    fc_trained (*trained)(const fc_method_setup *s);
    /* Groups trained, sent and merged in round `round` of a task (bits 1 << fc_group). Default: all
     * groups of the mode. */
    unsigned (*groups)(const fc_method_setup *s, int round);
    /* --- models */
    /* LoRA: do the clients' models (train_base, gram_base) hold the finished tasks, so that the
     * server has to send them? Default: no. */
    bool (*sends_deltas)(const fc_method_setup *s);
    /* LoRA: the weights that the clients train on; add to w (starts as W0). Default: W0. */
    void (*train_base)(const fc_method_setup *s, const fc_deltas *d, fc_real *w);
    /* LoRA: the model evaluated after a round is w + *scale * B A; add the finished tasks' part to
     * w (starts as W0). Default: W0, scale 1. */
    void (*eval_base)(const fc_method_setup *s, const fc_deltas *d, fc_real *w, fc_real *scale);
    /* --- statistics */
    /* Default: no Grams. */
    fc_gram_plan (*grams)(const fc_method_setup *s);
    /* LoRA with Grams: the model under which the Grams are taken, as eval_base. Default: the
     * training model. */
    void (*gram_base)(const fc_method_setup *s, const fc_deltas *d, fc_real *w, fc_real *scale);
    /* --- end of a task */
    /* The model evaluated at the end of task t, after its delta was pushed: add to w (starts as
     * W0). Default: what was evaluated after the last round. */
    fc_status (*task_base)(const fc_method_setup *s, const fc_deltas *d, fc_real *w, fc_error *err);
    /* --- predict */
    /* Default: the logits are the scores. */
    fc_predict *predict;
    /* --- everything else; NULL: nothing of it */
    const fc_piece *piece;
} fc_method;

extern const fc_method *const fc_method_table[];
extern const int fc_method_count;
const fc_method *fc_method_find(const char *name); /* NULL if unknown */

#endif
