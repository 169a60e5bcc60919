/* What a run has learnt as files that other programs read: its model with timm's names, its LoRA
 * deltas in PEFT's format. Both say in their metadata what sim/models/model_meta.h lists. Called by
 * fcil export, on a run that is opened and restored. */
#ifndef FC_EXPORT_H
#define FC_EXPORT_H

#include "sim/fed/state.h"

/* The model that the run tested last, with the rows of the head of all tasks seen, as one
 * safetensors file; with its experts (sim/models/expert_file.h) where it has some. Errors: FC_EDATA
 * if no round is done; FC_EUSAGE for a model for each task. */
fc_status fc_export_timm(fc_run *r, const char *path, fc_error *err);

/* Tasks with an adapter: those that are finished, and the one that is going on. */
int fc_export_tasks(const fc_run *r);

/* The delta of task t and its rows of the head as an adapter folder; of a task that is going on,
 * what the server has. base: name or path of the backbone for its config. Errors: FC_EUSAGE if the
 * method trains no LoRA. */
fc_status fc_export_peft(fc_run *r, int t, const char *base, const char *dir, fc_error *err);

/* The backbone that the run started from, where its weights are in no file. */
fc_status fc_export_base(fc_run *r, const char *path, fc_error *err);

#endif
