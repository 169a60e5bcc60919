/* Head only, the floor to beat: frozen features, FedAvg of the linear classifier. */
#include "sim/methods/method.h"

const fc_method fc_method_head_only = {
    .name = "head_only",
    .paper = "floor, FedAvg of a linear classifier on frozen features",
    .help = "frozen backbone, only the linear head is trained and averaged",
    .rule = "average",
    .trains = {.mode = FC_TRAIN_HEAD}};
