/* A model from a file, a data set, and the threads to run one on the other: what fcil eval and fcil
 * stats work with, and fcil merge where a rule needs images (sim/models/merge_network.h).
 *
 * file -> its metadata -> a config -> the data, its tasks (those that the head has rows for), the
 * network and a crew. */
#ifndef FC_MODEL_ON_DATA_H
#define FC_MODEL_ON_DATA_H

#include "sim/config/config.h"
#include "sim/io/progress.h"
#include "sim/models/expert_file.h"
#include "sim/models/model_file.h"
#include "sim/train/eval.h"

typedef struct fc_model_on_data {
    fc_config cfg;
    fc_model_file file;
    fc_net net;
    fc_dataset data;
    fc_tasks tasks; /* the classes that the model knows: all of the head's rows; with the images
                       held out that the run held out */
    fc_crew crew;
    fc_packed packed;
    fc_expert_file experts;
    fc_model model;
    fc_progress progress;
    fc_arena arena;
} fc_model_on_data;

typedef struct fc_model_on_data_options {
    const char *model, *base, *config; /* the latter two may be NULL */
    const fc_model_file *file;         /* the model, opened already; outlives this; NULL: open it */
    char *const *override;
    int n_override;
    bool grams;        /* full Grams of all slots and the head will be taken */
    fc_acts_size acts; /* what is wanted beside, where the file has no experts */
    fc_console console;
} fc_model_on_data_options;

/* Errors: of the config, the model, the data; FC_EDATA where classes of the model are not in the
 * data, or its head does not end where a task ends. */
fc_status fc_model_on_data_open(fc_model_on_data *d, const fc_model_on_data_options *o,
                                fc_error *err);
void fc_model_on_data_close(fc_model_on_data *d); /* accepts {0} */

/* Counts of the test images into e, whose arrays are in t's arena; answer as fc_test has it. A
 * model with EMR's experts is tested task by task, each with its own expert. Errors: FC_EDATA for a
 * loss that is not finite. */
fc_status fc_model_on_data_test(fc_eval *e, int *answer, fc_model_on_data *d, fc_error *err);

#endif
