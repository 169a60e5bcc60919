/* Training of a backbone from scratch: every parameter, all classes, one place. */
#ifndef FC_PRETRAIN_H
#define FC_PRETRAIN_H

#include "core/params.h"
#include "core/vit.h"
#include "sim/config.h"
#include "sim/progress.h"

/* Random backbone of the config's shape (section backbone). */
fc_status fc_backbone_random(fc_params *w, fc_vit_shape *s, const fc_config *c, fc_arena *arena,
                             fc_error *err);

/* Trains on data.*, with train.* (epochs, batch, optimizer, lr, weight decay, schedule, warm-up),
 * holds out pretrain.hold_out training images per class, keeps the checkpoint with the best
 * held-out accuracy, and writes it to path (timm names, its head too). The test images are never
 * used. On fc_threads() threads. */
fc_status fc_pretrain(fc_config *c, const char *path, fc_console console, fc_error *err);

#endif
