/* Iso-CTS: see core/merge/rules/rule_iso.h. */
#include "core/linalg/gemm.h"
#include "core/merge/rule.h"
#include "core/merge/rules/rule_iso.h"
#include "core/merge/spectral.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

int fc_iso_cts_common(int *per_task, int q, int T, double fraction)
{
    int c = (int)(q * fraction);
    *per_task = (int)fmin(rint((double)(q - c) / T), q / T);
    return q - *per_task * T;
}

/* The Frobenius norm, or for factors a bound of it, |B| |A|. */
static double norm_bound(const fc_tv *tv, const fc_tv_shape *s)
{
    size_t m = (size_t)s->rows, n = (size_t)s->cols, r = (size_t)tv->rank;
    return r ? sqrt(fc_sum_squares(tv->B, m * r) * fc_sum_squares(tv->A, r * n))
             : sqrt(fc_sum_squares(tv->dense, m * n));
}

static int count_above(const fc_usv *x, int most, double floor)
{
    int k = 0;
    while (k < most && k < x->k && x->S[k] > floor)
        k++;
    return k;
}

/* res (m, cols) = X - U_c U_c^T X with the first c of the columns of U (m, ld). */
static fc_status project_out(double *res, const double *X, int m, int cols, const double *U, int c,
                             int ld, fc_arena *arena, fc_error *err)
{
    double *UX = fc_arena_alloc(arena, (size_t)c * (size_t)cols, sizeof *UX, err);
    if (!UX)
        return FC_EFAIL;
    memcpy(res, X, (size_t)m * (size_t)cols * sizeof *res);
    /* res = X - U_c (U_c^T X)    (m, c) (c, cols) */
    if (c > 0) {
        fc_dgemm(true, false, c, cols, m, 1, U, ld, X, cols, 0, UX, cols);
        fc_dgemm(false, false, m, cols, c, -1, U, ld, UX, cols, 1, res, cols);
    }
    return FC_OK;
}

/* The triplets of Delta - U_c U_c^T Delta; of factors only B changes. */
static fc_status residual_svd(fc_usv *x, const fc_tv *tv, const fc_tv_shape *s,
                              const fc_usv *common, int c, fc_arena *arena, fc_error *err)
{
    int cols = tv->rank ? tv->rank : s->cols;
    double *res = fc_arena_alloc(arena, (size_t)s->rows * (size_t)cols, sizeof *res, err);
    if (!res)
        return FC_EFAIL;
    FC_TRY(project_out(res, tv->rank ? tv->B : tv->dense, s->rows, cols, common->U, c, common->k,
                       arena, err));
    fc_tv left = *tv;
    *(tv->rank ? &left.B : &left.dense) = res;
    return fc_tv_svd(x, &left, s, arena, err);
}

static fc_status iso_cts_weight(double *out, const fc_tv_set *in, int t, const void *options,
                                fc_arena *arena, fc_error *err)
{
    const fc_iso_options *o = options;
    const fc_tv_shape *s = &in->shape[t];
    int m = s->rows, n = s->cols, q = fc_tv_least_side(s), per_task;
    int common = fc_iso_cts_common(&per_task, q, in->n, o->common_fraction);
    double top = 0;
    for (int i = 0; i < in->n; i++)
        top = fmax(top, norm_bound(fc_tv_at(in, i, t), s));

    fc_triplets stack;
    fc_usv M;
    FC_TRY(fc_triplets_init(&stack, m, n, q, arena, err));
    /* M = sum_i Delta_i = U S V^T; the first c of U are the common directions */
    FC_TRY(fc_tv_sum_svd(&M, in, t, NULL, arena, err));
    int c = count_above(&M, common, FC_SUPPORT * top);
    for (int i = 0; i < in->n && per_task > 0; i++) {
        fc_usv x;
        fc_mark mark = fc_arena_mark(arena);
        FC_TRY(residual_svd(&x, fc_tv_at(in, i, t), s, &M, c, arena, err));
        fc_triplets_add(&stack, &x, count_above(&x, per_task, FC_SUPPORT * top));
        fc_arena_release(arena, mark);
    }
    /* all stacked, and made orthogonal: U_hat (m, q), V_hat^T (q, n) */
    fc_triplets_add(&stack, &M, c);
    FC_TRY(fc_triplets_orthogonalise(&stack, s->name, arena, err));
    /* out = lambda mean(S) U_hat V_hat^T */
    fc_dgemm(false, false, m, n, q, o->lambda * fc_sum_singular(stack.S, q) / q, stack.U, q,
             stack.Vt, n, 0, out, n);
    return FC_OK;
}

fc_status fc_rule_iso_cts(double *const *out, const fc_tv_set *in, const void *options,
                          fc_arena *arena, fc_error *err)
{
    const fc_iso_options *o = options;
    (void)arena;
    return fc_each_weight(out, in, iso_cts_weight, o, o->lambda, err);
}

static const fc_opt rows[] = {
    {.key = "lambda",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_iso_options, lambda),
     .def = "1",
     .low = -1000,
     .high = 1000,
     .help = "factor on the merged task vector"},
    {.key = "common_fraction",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_iso_options, common_fraction),
     .def = "0.8",
     .low = 0,
     .high = 1,
     .help = "share of the directions that are common"},
};

const fc_merge_method fc_merge_iso_cts = {
    .name = "iso_cts",
    .paper = "Marczak et al., ICML 2025, arXiv 2502.04959",
    .help = "Iso-C over the common directions and those of each task's own",
    .laws = FC_LAW_ORDER,
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(fc_iso_options),
    .combine = fc_rule_iso_cts,
};
