/* Training of a backbone from scratch: every parameter, all classes, one place. */
#ifndef FC_PRETRAIN_H
#define FC_PRETRAIN_H

#include "core/base/params.h"
#include "core/vit/vit.h"
#include "sim/config/config.h"
#include "sim/io/progress.h"

/* Trains on data.*, with train.* (epochs, batch, optimizer, lr, weight decay, schedule, warm-up),
 * holds out pretrain.hold_out training images per class, keeps the checkpoint with the best
 * held-out accuracy, and writes it to path (timm names, its head too). The test images are never
 * used. On fc_threads() threads. */
fc_status fc_pretrain(fc_config *c, const char *path, fc_console console, fc_error *err);

#endif
