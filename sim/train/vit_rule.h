/* Rules that are more than a function of task vectors: they look at images, or keep experts beside
 * the backbone. One const struct in one file each (sim/vit_rule_<name>.c) and one row in
 * vit_rule_table.def; the name is that of the rule's row in core/merge.
 *
 * sim/train/vit_merge.h asks a rule what it needs and has it make its model,
 * sim/models/expert_file.h has it write and read its experts. What several rules share stands below
 * the table. */
#ifndef FC_VIT_RULE_H
#define FC_VIT_RULE_H

#include "core/merge/merge.h"
#include "core/merge/rules/rule_emr.h"
#include "core/merge/rules/smile.h"
#include "core/merge/rules/wemoe.h"
#include "sim/train/entropy.h"
#include "sim/train/expert_tensors.h"

typedef struct fc_vit_rule fc_vit_rule;

/* What is merged, and with what. */
typedef struct fc_vit_merge_job {
    const fc_merge_method *rule;
    const void *options; /* the rule's */
    fc_space space;
    const fc_params *w0;        /* the base */
    const fc_tv_set *in;        /* tensors bear the names of w0's */
    const int *tensor;          /* (in->tensors) which of w0's each is */
    const fc_real *head_w;      /* (net->classes, D) rows of all tasks */
    const fc_real *head_b;      /* (net->classes) */
    const fc_task_images *task; /* (in->n); NULL: there are no images */
    const fc_net *net;
    fc_crew *crew;         /* idle; see fc_vit_merge_acts and fc_vit_merge_needs_grams */
    const fc_split *split; /* of the samples */
    uint64_t seed;
    fc_progress *progress;
} fc_vit_merge_job;

/* What comes of it. */
typedef struct fc_vit_merged {
    const fc_vit_rule *rule; /* NULL: a function of task vectors */
    fc_real *w;              /* (w0->n) the merged backbone, or what the experts stand beside */
    double *const *tau;      /* (in->tensors) the merged update that is in w; NULL with experts */
    /* experts, of the rule that has them */
    const fc_smile *smile; /* (slots) */
    const fc_wemoe *wemoe;
    const fc_emr *emr;   /* the model of task s is w plus expert s */
    const fc_tv_set *of; /* the same with update s */
    const int *tensor;   /* (of->tensors) */
} fc_vit_merged;

/* A merge while it is made. out->w is the base, and the rest of out is 0. */
typedef struct fc_vit_making {
    fc_vit_merged *out;
    const fc_vit_merge_job *job;
    fc_arena *arena; /* of what stays in out */
} fc_vit_making;

struct fc_vit_rule {
    const char *name;
    bool grams; /* full Grams of all slots are made on the way: the crew needs room for them */
    /* Activations of the crew beside what training takes, for n updates. NULL: none. */
    fc_acts_size (*acts)(const void *options, int n);
    /* FLOP of what is done on images, of n tasks with so many each. NULL: what the statistics take
     * that the rule needs. */
    double (*flop)(const void *options, const fc_net *net, int n, int samples);
    fc_status (*make)(const fc_vit_making *k, fc_error *err);
    /* w, which holds m->w, becomes the model of task s. NULL: there is one model for all tasks. */
    fc_status (*expert)(fc_real *w, const fc_vit_merged *m, const fc_params *w0, int s,
                        fc_error *err);
    /* Numbers that the model keeps beside one backbone. NULL: none. */
    size_t (*extra)(const fc_vit_merged *m, const fc_vit_shape *shape);
    /* --- its experts as a file (sim/models/expert_file.h); write NULL: there are no such files */
    /* Activations that n experts need beside to run. NULL: none. */
    fc_acts_size (*expert_acts)(const fc_vit_merged *m, const fc_vit_shape *shape, int n);
    fc_status (*write)(fc_expert_writer *w, const fc_vit_merged *m, fc_error *err);
    fc_status (*read)(fc_vit_merged *m, const fc_expert_reader *r, fc_error *err);
};

extern const fc_vit_rule *const fc_vit_rule_table[];
extern const int fc_vit_rule_count;
const fc_vit_rule *fc_vit_rule_find(const char *name); /* NULL: none of these */

/* --- what rules share --------------------------------------------------------------------------
 */

/* A task vector of zeros like those of the job: (in->tensors), each (rows, cols). NULL: no memory.
 */
double **fc_vit_rule_tau(const fc_vit_making *k, fc_error *err);

/* out->w = w0 + tau. Errors: FC_EFAIL names tensor and element of a number that is not finite. */
fc_status fc_vit_rule_put(const fc_vit_making *k, double *const *tau, fc_error *err);

/* w += update i of the set, rounded once where w is the base. tensor: as in fc_vit_merge_job. */
fc_status fc_vit_rule_add_update(fc_real *w, const fc_params *w0, const fc_tv_set *in,
                                 const int *tensor, int i, fc_error *err);

/* The job's network with the backbone w. */
fc_model fc_vit_rule_model(const fc_vit_merge_job *j, const fc_real *w);

/* Training on the job's images. */
fc_entropy_job fc_vit_rule_entropy(const fc_vit_merge_job *j, int steps, int batch);

#endif
