/* EMR-Merging (Huang et al., NeurIPS 2024): one unified task vector, and for each update a mask and
 * a factor that bring it near the update again. Entry by entry, with sums over updates and g = -1
 * where the sum is 0:
 *
 *     g = sign(sum_i tau_i)    mask_i = [tau_i g > 0]    u = g max_i (mask_i |tau_i|)
 *     rescaler_i = sum_t mean |tau_i| / sum_t mean |mask_i u|     over tensors t: sums of means
 *     expert_i   = rescaler_i mask_i u
 *
 * Not one model but n, so not an fc_combine; no options. Where mask_i u is 0 everywhere the factor
 * is 1 (the reference code divides by 0). */
#ifndef FC_RULE_EMR_H
#define FC_RULE_EMR_H

#include "core/base/params.h"
#include "core/merge/combine.h"

typedef struct fc_emr {
    int n, tensors;
    const fc_tv_shape *shape; /* (tensors), the set's */
    double **unified;         /* (tensors), each (rows, cols) */
    unsigned char **mask;     /* (n, tensors), each a bit per entry: bit e % 8 of byte e / 8 */
    double *rescaler;         /* (n) */
} fc_emr;

/* Memory of emr from the arena: one dense task vector and one bit per entry and update. Beyond in
 * and emr: one tensor for each thread, for factors. Errors: see fc_combine. */
fc_status fc_emr_merge(fc_emr *emr, const fc_tv_set *in, fc_arena *arena, fc_error *err);

/* out (rows, cols) = expert_i of one tensor. */
void fc_emr_expert(double *out, const fc_emr *emr, int update, int tensor);

/* w += expert_i of all tensors, found by their names in the layout of w (fc_vit_layout): with w =
 * W_0 the model of update i, one at a time. Nothing is allocated. Errors FC_EUSAGE: a tensor that
 * the layout has not, or with other dims; w is then unchanged. */
fc_status fc_emr_apply(fc_real *w, const fc_params *layout, const fc_emr *emr, int update,
                       fc_error *err);

#endif
