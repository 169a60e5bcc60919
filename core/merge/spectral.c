#include "core/merge/spectral.h"

#include "core/base/parallel.h"
#include "core/linalg/gemm.h"

#include <string.h>

/* The first dense update of tensor t, n where there is none. */
static int first_dense(const fc_tv_set *in, int t)
{
    int i = 0;
    while (i < in->n && fc_tv_at(in, i, t)->rank > 0)
        i++;
    return i;
}

/* Sum of the ranks of all updates. */
static int total_rank(const fc_tv_set *in, int t)
{
    int R = 0;
    for (int i = 0; i < in->n; i++)
        R += fc_tv_at(in, i, t)->rank;
    return R;
}

fc_status fc_tv_need_factors(const fc_tv_set *in, int t, fc_error *err)
{
    int i = first_dense(in, t);
    return i == in->n ? FC_OK
                      : fc_fail(err, FC_EUSAGE,
                                "update %d, tensor %s: found a dense update, expected LoRA factors",
                                i, in->shape[t].name);
}

void fc_tv_weighted_sum(double *out, const fc_tv_set *in, int t, const double *p)
{
    const fc_tv_shape *s = &in->shape[t];
    memset(out, 0, fc_tv_size(s) * sizeof *out);
    for (int i = 0; i < in->n; i++)
        fc_tv_add(out, p ? p[i] : 1, fc_tv_at(in, i, t), s);
}

fc_status fc_tv_stack(fc_tv *out, const fc_tv_set *in, int t, const double *p, fc_arena *arena,
                      fc_error *err)
{
    const fc_tv_shape *s = &in->shape[t];
    FC_TRY(fc_tv_need_factors(in, t, err));
    size_t m = (size_t)s->rows, n = (size_t)s->cols, R = (size_t)total_rank(in, t);
    double *B = fc_arena_alloc(arena, m * R, sizeof *B, err);
    double *A = fc_arena_alloc(arena, R * n, sizeof *A, err);
    if (!B || !A)
        return FC_EFAIL;
    /* [B_1 .. B_n] (m, R), [p_1 A_1; ..; p_n A_n] (R, n) */
    size_t at = 0; /* rows of A, columns of B filled so far */
    for (int i = 0; i < in->n; i++) {
        const fc_tv *tv = fc_tv_at(in, i, t);
        size_t r = (size_t)tv->rank;
        for (size_t row = 0; row < m; row++)
            memcpy(B + row * R + at, tv->B + row * r, r * sizeof *B);
        for (size_t j = 0; j < r * n; j++)
            A[at * n + j] = (p ? p[i] : 1) * tv->A[j];
        at += r;
    }
    *out = (fc_tv){.rank = (int)R, .B = B, .A = A};
    return FC_OK;
}

fc_status fc_tv_sum_svd(fc_usv *x, const fc_tv_set *in, int t, const double *p, fc_arena *arena,
                        fc_error *err)
{
    const fc_tv_shape *s = &in->shape[t];
    if (first_dense(in, t) == in->n && total_rank(in, t) < fc_tv_least_side(s)) {
        /* U S V^T of (m, R) (R, n), without their product */
        fc_tv stack;
        FC_TRY(fc_tv_stack(&stack, in, t, p, arena, err));
        return fc_svd_product(x, stack.B, stack.A, s->rows, stack.rank, s->cols, s->name, arena,
                              err);
    }
    /* U S V^T of sum_i p_i Delta_i (m, n) */
    double *dense = fc_arena_alloc(arena, fc_tv_size(s), sizeof *dense, err);
    if (!dense)
        return FC_EFAIL;
    fc_tv_weighted_sum(dense, in, t, p);
    return fc_svd(x, dense, s->rows, s->cols, s->name, arena, err);
}

fc_status fc_tv_svd(fc_usv *x, const fc_tv *tv, const fc_tv_shape *shape, fc_arena *arena,
                    fc_error *err)
{
    const fc_tv_set one = {.n = 1, .tensors = 1, .shape = shape, .tv = tv};
    return fc_tv_sum_svd(x, &one, 0, NULL, arena, err);
}

typedef struct weight_job {
    double *const *out;
    const fc_tv_set *in;
    fc_weight_rule *rule;
    const void *options;
    double lambda;
} weight_job;

static fc_status apply_weight_rule(void *ctx, int t, fc_arena *scratch, fc_error *err)
{
    const weight_job *j = ctx;
    if (j->in->shape[t].linear)
        return j->rule(j->out[t], j->in, t, j->options, scratch, err);
    fc_tv_sum(j->out[t], j->lambda / j->in->n, j->in, t);
    return FC_OK;
}

fc_status fc_each_weight(double *const *out, const fc_tv_set *in, fc_weight_rule *rule,
                         const void *options, double lambda, fc_error *err)
{
    FC_TRY(fc_tv_check(in, err));
    return fc_parallel_for(in->tensors, apply_weight_rule,
                           &(weight_job){out, in, rule, options, lambda}, err);
}

fc_status fc_triplets_init(fc_triplets *s, int m, int n, int most, fc_arena *arena, fc_error *err)
{
    size_t k = (size_t)most;
    *s = (fc_triplets){.m = m, .n = n, .most = most};
    s->U = fc_arena_alloc(arena, (size_t)m * k, sizeof *s->U, err);
    s->S = fc_arena_alloc(arena, k, sizeof *s->S, err);
    s->Vt = fc_arena_alloc(arena, k * (size_t)n, sizeof *s->Vt, err);
    return s->U && s->S && s->Vt ? FC_OK : FC_EFAIL;
}

void fc_triplets_add(fc_triplets *s, const fc_usv *x, int k)
{
    size_t n = (size_t)s->n, at = (size_t)s->used;
    for (size_t i = 0; i < (size_t)s->m; i++)
        memcpy(s->U + i * (size_t)s->most + at, x->U + i * (size_t)x->k, (size_t)k * sizeof *s->U);
    memcpy(s->S + at, x->S, (size_t)k * sizeof *s->S);
    memcpy(s->Vt + at * n, x->Vt, (size_t)k * n * sizeof *s->Vt);
    s->used += k;
}

fc_status fc_triplets_orthogonalise(fc_triplets *s, const char *what, fc_arena *scratch,
                                    fc_error *err)
{
    /* U (m, most) and Vt (most, n) <- their polar factors */
    FC_TRY(fc_polar(s->U, s->U, s->m, s->most, what, scratch, err));
    return fc_polar(s->Vt, s->Vt, s->most, s->n, what, scratch, err);
}

double fc_sum_singular(const double *S, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += S[i];
    return sum;
}

void fc_flatten_spectrum(double *out, const fc_usv *x, double level)
{
    fc_dgemm(false, false, x->m, x->n, fc_svd_rank(x), level, x->U, x->k, x->Vt, x->n, 0, out,
             x->n);
}

fc_status fc_isotropise(double *X, int m, int n, int count, const char *what, fc_arena *scratch,
                        fc_error *err)
{
    fc_usv x;
    fc_mark mark = fc_arena_mark(scratch);
    /* X = U S V^T <- (sum_j s_j / count) U V^T */
    fc_status status = fc_svd(&x, X, m, n, what, scratch, err);
    if (status == FC_OK)
        fc_flatten_spectrum(X, &x, fc_sum_singular(x.S, x.k) / count);
    fc_arena_release(scratch, mark);
    return status;
}
