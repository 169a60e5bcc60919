/* FCIL methods: a registry (method_table.def), one file each (method_<name>.c).
 *
 * A method says what is trained, merged and evaluated; the task/round loop of sim/run.c does the
 * rest. NULL members mean the default that their comment states. */
#ifndef FC_METHOD_H
#define FC_METHOD_H

#include "core/vit/deltas.h"
#include "core/base/opt.h"
#include "core/vit/stats.h"
#include "core/base/status.h"
#include "core/vit/vit.h"
#include "sim/config/config.h"

#include <stdbool.h>

/* One array of the server's state that a checkpoint holds. */
typedef struct fc_state_field {
    const char *name;
    int dtype; /* fc_dtype */
    size_t n;
    void *data;
} fc_state_field;

/* Which Grams the clients take. */
typedef struct fc_gram_plan {
    double alpha_slots,
        alpha_head; /* weight of the off-diagonals; 0 = only the diagonal is taken */
    int passes;     /* over the client's data */
} fc_gram_plan;

struct fc_method {
    const char *name, *paper, *help;
    const char *rule; /* default of merge.rule */
    fc_train_mode mode;
    bool single_task;      /* joint: all classes in one task */
    bool centralised;      /* joint: one client holds all data */
    const fc_opt *options; /* rows of the config section `method` */
    int n_options;
    size_t options_size;
    /* Default: no Grams. */
    fc_gram_plan (*grams)(const fc_config *c);
    /* Groups trained, sent and merged in round `round` of a task (bits 1 << fc_group). Default: all
     * groups of the mode. */
    unsigned (*groups)(const fc_config *c, int round);
    /* LoRA: do the clients' models (train_base, gram_base) hold the finished tasks, so that the
     * server has to send them? Default: no. */
    bool (*sends_deltas)(const fc_config *c);
    /* LoRA: the weights that the clients train on; add to w (starts as W0). Default: W0. */
    void (*train_base)(const fc_config *c, const fc_deltas *d, fc_real *w);
    /* LoRA: the model evaluated after a round is w + *scale * B A; add the finished tasks' part to
     * w (starts as W0). Default: W0, scale 1. */
    void (*eval_base)(const fc_config *c, const fc_deltas *d, fc_real *w, fc_real *scale);
    /* LoRA with Grams: the model under which the Grams are taken, as eval_base. Default: the
     * training model. */
    void (*gram_base)(const fc_config *c, const fc_deltas *d, fc_real *w, fc_real *scale);
    bool task_grams; /* clients send the Grams of the slots again at the end of a task; they go into
                        fc_deltas */
    /* The model evaluated at the end of task t, after its delta was pushed: add to w (starts as
     * W0). Default: what was evaluated after the last round. */
    fc_status (*task_base)(const fc_config *c, const fc_deltas *d, fc_real *w, fc_error *err);
    /* Full fine-tuning: does each task start from the pretrained backbone? Default: from the model
     * of the last one. */
    bool (*restarts)(const fc_config *c);
    /* LoRA: A and B are trained together, and the rule merges what their products change. */
    bool products;
    /* With products: does the merged update go into the weights that clients train on, A and B
     * starting anew each round? Default: no, into the best A and B of their rank. */
    bool (*folds)(const fc_config *c);
};

extern const fc_method *const fc_method_table[];
extern const int fc_method_count;
const fc_method *fc_method_find(const char *name); /* NULL if unknown */

#endif
