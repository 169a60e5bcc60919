/* Iso-C: see core/merge/rules/rule_iso.h. */
#include "core/merge/rule.h"
#include "core/merge/rules/rule_iso.h"
#include "core/merge/spectral.h"

#include <stddef.h>

static fc_status iso_c_weight(double *out, const fc_tv_set *in, int t, const void *options,
                              fc_arena *arena, fc_error *err)
{
    const fc_iso_options *o = options;
    fc_usv x;
    /* sum_i Delta_i = U S V^T, out = lambda mean(S) U V^T */
    FC_TRY(fc_tv_sum_svd(&x, in, t, NULL, arena, err));
    fc_flatten_spectrum(out, &x,
                        o->lambda * fc_sum_singular(x.S, x.k) / fc_tv_least_side(&in->shape[t]));
    return FC_OK;
}

fc_status fc_rule_iso_c(double *const *out, const fc_tv_set *in, const void *options,
                        fc_arena *arena, fc_error *err)
{
    const fc_iso_options *o = options;
    (void)arena;
    return fc_each_weight(out, in, iso_c_weight, o, o->lambda, err);
}

static const fc_opt rows[] = {
    {.key = "lambda",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_iso_options, lambda),
     .def = "1",
     .low = -1000,
     .high = 1000,
     .help = "factor on the merged task vector"},
};

const fc_merge_method fc_merge_iso_c = {
    .name = "iso_c",
    .paper = "Marczak et al., ICML 2025, arXiv 2502.04959",
    .help = "sum of the task vectors with all singular values set to their mean",
    .laws = FC_LAW_ORDER,
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(fc_iso_options),
    .combine = fc_rule_iso_c,
};
