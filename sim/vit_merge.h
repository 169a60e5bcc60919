/* What a rule makes of task vectors of a ViT: one backbone, or a base with experts that the network
 * chooses between as it runs. For tasks of a run (sim/task_merge.h) and for files.
 *
 * Rules that need Grams or Fisher information take what the set has; where it has none, and for
 * rules that need images, they are made here from images of each task, which nobody labelled. */
#ifndef FC_VIT_MERGE_H
#define FC_VIT_MERGE_H

#include "core/merge/merge.h"
#include "core/merge/rule_emr.h"
#include "core/merge/smile.h"
#include "core/merge/wemoe.h"
#include "sim/fit.h"
#include "sim/task_images.h"

typedef struct fc_vit_merge_job {
    const fc_merge_method *rule;
    const void *options; /* the rule's */
    fc_space space;
    const fc_params *w0;   /* the base */
    const fc_tv_set *in;   /* tensors bear the names of w0's */
    const int *tensor;     /* (in->tensors) which of w0's each is */
    const fc_real *head_w; /* (net->classes, D) rows of all tasks */
    const fc_real *head_b;
    const fc_task_images *task; /* (in->n); NULL: there are no images */
    const fc_net *net;
    fc_crew *crew;         /* idle; see fc_vit_merge_acts and fc_vit_merge_grams */
    const fc_split *split; /* of the samples */
    uint64_t seed;
    fc_progress *progress;
} fc_vit_merge_job;

typedef struct fc_vit_merged {
    fc_real *w;         /* (w0->n) the merged backbone, or what the experts stand beside */
    double *const *tau; /* (in->tensors) the merged update that is in w; NULL with experts */
    fc_smile *smile;
    fc_wemoe *wemoe;
    fc_emr *emr;         /* the model of task s is w plus expert s */
    const fc_tv_set *of; /* the same with update s */
    const int *tensor;   /* (of->tensors) */
} fc_vit_merged;

/* Is it one model for each task, so that a test has to know the task? */
static inline bool fc_vit_merge_per_task(const fc_vit_merged *m)
{
    return m->emr || m->of;
}

/* w (holds m->w) becomes the model of task s. */
fc_status fc_vit_merge_expert(fc_real *w, const fc_vit_merged *m, const fc_params *w0, int s,
                              fc_error *err);

/* Does the rule work on such a set at all: FC_EUSAGE with the reason if not. images: are there
 * any? factors: are the updates LoRA pairs? */
fc_status fc_vit_merge_check(const fc_merge_method *rule, const fc_space *space, bool factors,
                             bool images, fc_error *err);

/* What activations of the crew need beside what training takes, for n updates; and does the crew
 * need Grams of all slots, full ones? */
fc_acts_size fc_vit_merge_acts(const fc_merge_method *rule, const void *options, int n);
bool fc_vit_merge_needs_grams(const fc_merge_method *rule);

/* FLOP of what is done on images, of n tasks with so many images and classes each. */
double fc_vit_merge_flop(const fc_merge_method *rule, const void *options, const fc_net *net, int n,
                         int samples, int classes);

/* out->w has room for w0->n numbers; the rest is put into the arena. Same bits for any number of
 * threads. Errors: those of the rule; FC_ESTOP where a stop was requested. */
fc_status fc_vit_merge_make(fc_vit_merged *out, const fc_vit_merge_job *job, fc_arena *arena,
                            fc_error *err);

#endif
