/* Joint training, the upper bound: one task with all classes, one client with all data, full
 * fine-tuning. Nothing is communicated. */
#include "sim/methods/method.h"

const fc_method fc_method_joint = {
    .name = "joint",
    .paper = "upper bound, no federation and no sequence of tasks",
    .help = "joint training: all classes and all data at once, every parameter is trained",
    .rule = "average",
    .trains = {.mode = FC_TRAIN_FULL},
    .single_task = true,
    .centralised = true};
