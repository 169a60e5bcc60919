/* What a rule makes of task vectors of a ViT: one backbone, or a base with experts that the network
 * chooses between as it runs. Called for tasks of a run (sim/fed/task_merge.h) and for files
 * (sim/models/merge_network.h). Rules with a row in vit_rule_table.def make their model themselves
 * (sim/train/vit_rule.h); the others are functions of task vectors (core/merge/combine.h).
 *
 * Rules that need Grams or Fisher information take what the set has; where it has none, and for
 * rules that need images, they are made here from images of each task, which nobody labelled. */
#ifndef FC_VIT_MERGE_H
#define FC_VIT_MERGE_H

#include "sim/train/vit_rule.h"

/* Is it one model for each task, so that a test has to know the task? */
bool fc_vit_merge_per_task(const fc_vit_merged *m);

/* w (holds m->w) becomes the model of task s. */
fc_status fc_vit_merge_expert(fc_real *w, const fc_vit_merged *m, const fc_params *w0, int s,
                              fc_error *err);

/* Numbers that the model keeps beside one backbone. */
size_t fc_vit_merge_extra(const fc_vit_merged *m, const fc_vit_shape *shape);

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

/* About the bytes that a merge of n updates of `numbers` numbers takes while it is made, beside
 * these, out->w and the crew: the merged update, the statistics that the rule needs, and for each
 * thread scratch as large as an update (malloc keeps what a rule gives back). */
double fc_vit_merge_bytes(const fc_merge_method *rule, const fc_net *net, const fc_params *w0,
                          size_t numbers, int n, int threads);

/* out->w has room for w0->n numbers; the rest is put into the arena. Same bits for any number of
 * threads. Errors: those of the rule; FC_ESTOP where a stop was requested. */
fc_status fc_vit_merge_make(fc_vit_merged *out, const fc_vit_merge_job *job, fc_arena *arena,
                            fc_error *err);

#endif
