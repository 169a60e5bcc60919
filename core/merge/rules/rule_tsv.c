#include "core/merge/rules/rule_tsv.h"

#include "core/linalg/gemm.h"
#include "core/merge/rule.h"
#include "core/merge/spectral.h"

#include <stddef.h>

static fc_status tsv_weight(double *out, const fc_tv_set *in, int t, const void *options,
                            fc_arena *arena, fc_error *err)
{
    const fc_tsv_options *o = options;
    const fc_tv_shape *s = &in->shape[t];
    int m = s->rows, n = s->cols, q = fc_tv_least_side(s);
    int k = (int)(q * (1.0 / in->n)); /* this product, as published: 49 * (1.0 / 49) is below 1 */
    if (k == 0)
        return fc_fail(err, FC_EUSAGE,
                       "TSV-Merge, tensor %s (%d x %d): %d updates leave no singular vector to "
                       "each, expected at most %d",
                       s->name, m, n, in->n, q);
    fc_triplets stack;
    FC_TRY(fc_triplets_init(&stack, m, n, in->n * k, arena, err));
    for (int i = 0; i < in->n; i++) {
        fc_usv x;
        fc_mark mark = fc_arena_mark(arena);
        /* Delta_i = U_i S_i V_i^T, its first k triplets */
        FC_TRY(fc_tv_svd(&x, fc_tv_at(in, i, t), s, arena, err));
        int rank = fc_svd_rank(&x);
        fc_triplets_add(&stack, &x, rank < k ? rank : k);
        fc_arena_release(arena, mark);
    }
    /* U~ (m, T k), V~^T (T k, n) <- polar factors */
    FC_TRY(fc_triplets_orthogonalise(&stack, s->name, arena, err));
    /* out = lambda U~ diag(S~) V~^T */
    for (int i = 0; i < stack.most; i++)
        for (int j = 0; j < n; j++)
            stack.Vt[(size_t)i * (size_t)n + (size_t)j] *= stack.S[i];
    fc_dgemm(false, false, m, n, stack.most, o->lambda, stack.U, stack.most, stack.Vt, n, 0, out,
             n);
    return FC_OK;
}

fc_status fc_rule_tsv(double *const *out, const fc_tv_set *in, const void *options, fc_arena *arena,
                      fc_error *err)
{
    const fc_tsv_options *o = options;
    (void)arena;
    return fc_each_weight(out, in, tsv_weight, o, o->lambda, err);
}

static const fc_opt rows[] = {
    {.key = "lambda",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_tsv_options, lambda),
     .def = "1",
     .low = -1000,
     .high = 1000,
     .help = "factor on the merged task vector"},
};

const fc_merge_method fc_merge_tsv = {
    .name = "tsv",
    .paper = "Gargiulo et al., CVPR 2025, arXiv 2412.00081",
    .help = "first singular vectors of each task vector, made orthogonal to those of the others",
    .laws = FC_LAW_ORDER,
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(fc_tsv_options),
    .combine = fc_rule_tsv,
};
