#include "core/merge/rules/rule_cart.h"

#include "core/linalg/gemm.h"
#include "core/merge/rule.h"
#include "core/merge/spectral.h"

#include <math.h>
#include <stddef.h>

static fc_status cart_weight(double *out, const fc_tv_set *in, int t, const void *options,
                             fc_arena *arena, fc_error *err)
{
    const fc_cart_options *o = options;
    const fc_tv_shape *s = &in->shape[t];
    int q = fc_tv_least_side(s), k = (int)ceil(o->rank_fraction * q);
    double *p = fc_arena_alloc(arena, (size_t)in->n, sizeof *p, err);
    if (!p)
        return FC_EFAIL;
    /* out = lambda mu, mu = 1/T sum_i Delta_i */
    fc_tv_sum(out, o->lambda / in->n, in, t);
    for (int i = 0; i < in->n; i++) {
        fc_usv x; /* of Delta_i - mu = sum_j p_j Delta_j */
        fc_mark mark = fc_arena_mark(arena);
        for (int j = 0; j < in->n; j++)
            p[j] = (j == i) - 1.0 / in->n;
        FC_TRY(fc_tv_sum_svd(&x, in, t, p, arena, err));
        /* out += lambda scale U_k diag(S_k) V_k^T    (m, k) (k, n) */
        int kept = k < x.k ? k : x.k;
        for (int a = 0; a < x.m; a++)
            for (int b = 0; b < kept; b++)
                x.U[(size_t)a * (size_t)x.k + (size_t)b] *= x.S[b];
        fc_dgemm(false, false, x.m, x.n, kept, o->lambda * o->scale, x.U, x.k, x.Vt, x.n, 1, out,
                 x.n);
        fc_arena_release(arena, mark);
    }
    return FC_OK;
}

fc_status fc_rule_cart(double *const *out, const fc_tv_set *in, const void *options,
                       fc_arena *arena, fc_error *err)
{
    const fc_cart_options *o = options;
    FC_TRY(fc_combine_range("CART: rank_fraction", o->rank_fraction, 0, 1, err));
    (void)arena;
    return fc_each_weight(out, in, cart_weight, o, o->lambda, err);
}

static const fc_opt rows[] = {
    {.key = "residual",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_cart_options, scale),
     .def = "0.1",
     .low = -1000,
     .high = 1000,
     .help = "factor on the residuals"},
    {.key = "rank_fraction",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_cart_options, rank_fraction),
     .def = "0.04",
     .low = 0,
     .high = 1,
     .help = "share of the singular values of a residual that are kept"},
    {.key = "lambda",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_cart_options, lambda),
     .def = "1",
     .low = -1000,
     .high = 1000,
     .help = "factor on the result"},
};

const fc_merge_method fc_merge_cart = {
    .name = "cart",
    .paper = "Choi et al., arXiv 2412.12153",
    .help = "mean of the task vectors plus their residuals, cut to a low rank",
    .laws = FC_LAW_ONE_CLIENT | FC_LAW_EQUAL_FIXED | FC_LAW_ORDER,
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(fc_cart_options),
    .combine = fc_rule_cart,
};
