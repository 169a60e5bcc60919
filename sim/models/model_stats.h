/* Statistics of a model on data, in a safetensors file that fcil stats writes and fcil merge reads:
 *
 *   gram.<weight>    (n, n) X^T X of the inputs of a linear layer, F64
 *   fisher.<tensor>  (as the tensor) diagonal Fisher information (core/vit/fisher.h), F64
 *
 * metadata: samples, the images that both are made of (Grams: a sum over them, Fisher: their mean).
 */
#ifndef FC_MODEL_STATS_H
#define FC_MODEL_STATS_H

#include "core/base/safetensors.h"
#include "core/vit/stats.h"
#include "core/vit/vit.h"

/* grams: full ones of all slots and the head, or NULL; F: laid out as `layout`, the backbone and
 * the head (FC_TRAIN_FULL), or NULL. Errors: FC_EFAIL for a number that is not finite; nothing is
 * written then. */
fc_status fc_model_stats_write(const char *path, const fc_grams *grams, const double *F,
                               const fc_params *layout, size_t samples, fc_error *err);

typedef struct fc_model_stats {
    fc_st file;
    double samples;
} fc_model_stats;

/* Errors: FC_EDATA. */
fc_status fc_model_stats_open(fc_model_stats *s, const char *path, fc_error *err);
void fc_model_stats_close(fc_model_stats *s); /* accepts {0} */

/* *out = the Gram of a weight with n columns, or the Fisher information of a tensor of n numbers,
 * in the arena; NULL if the file has none. Errors: FC_EDATA for another size, or a number that is
 * not finite. */
fc_status fc_model_stats_gram(const double **out, const fc_model_stats *s, const char *weight,
                              int n, fc_arena *arena, fc_error *err);
fc_status fc_model_stats_fisher(const double **out, const fc_model_stats *s, const char *tensor,
                                size_t n, fc_arena *arena, fc_error *err);

#endif
