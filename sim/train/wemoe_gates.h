/* WEMoE (core/merge/rules/wemoe.h) of ViTs: its gates trained on unlabelled images
 * (sim/train/entropy.h). As for AdaMerging the caller, the rule's row in
 * sim/train/vit_rule_wemoe.c, says which images. */
#ifndef FC_WEMOE_GATES_H
#define FC_WEMOE_GATES_H

#include "core/merge/rules/wemoe.h"
#include "sim/train/entropy.h"

typedef struct fc_wemoe_gates_job {
    fc_wemoe *wemoe;   /* its gates are trained, in place; batch_reduce averages over a slice */
    const fc_model *m; /* the network, packed or not; its wemoe is set here */
    double lr;         /* 1e-4; Adam (0.9, 0.999, 1e-8) */
    fc_entropy_job entropy; /* the crew's activations have room for the experts (plan's acts) */
} fc_wemoe_gates_job;

/* FLOP of all steps. */
double fc_wemoe_gates_flop(const fc_wemoe_gates_job *j);

/* Memory while it runs: the gates three times, and once for each thread. Errors: memory; those of
 * fc_entropy_run. Same bits for any number of threads. */
fc_status fc_wemoe_gates_run(fc_entropy_result *result, const fc_wemoe_gates_job *j, fc_error *err);

#endif
