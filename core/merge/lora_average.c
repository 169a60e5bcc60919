#include "core/merge/lora_average.h"

#include "core/merge/spectral.h"

#include <math.h>

/* Room for factors of rank r, zeroed. */
static fc_status alloc_factors(double **B, double **A, const fc_tv_shape *s, int r, fc_arena *arena,
                               fc_error *err)
{
    *B = fc_arena_alloc(arena, (size_t)s->rows * (size_t)r, sizeof **B, err);
    *A = fc_arena_alloc(arena, (size_t)r * (size_t)s->cols, sizeof **A, err);
    return *B && *A ? FC_OK : FC_EFAIL;
}

static fc_status weighted_dense(fc_tv *out, const fc_tv_set *in, int t, const double *p,
                                fc_arena *arena, fc_error *err)
{
    double *sum = fc_arena_alloc(arena, fc_tv_size(&in->shape[t]), sizeof *sum, err);
    if (!sum)
        return FC_EFAIL;
    fc_tv_weighted_sum(sum, in, t, p);
    *out = (fc_tv){.dense = sum};
    return FC_OK;
}

static void axpy(double *y, double c, const double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += c * x[i];
}

/* A = sum_i p_i A_i (r, n), B = sum_i p_i B_i (m, r) */
static fc_status fedit_tensor(fc_tv *out, const fc_tv_set *in, int t, const double *p,
                              fc_arena *arena, fc_error *err)
{
    const fc_tv_shape *s = &in->shape[t];
    int r = fc_tv_at(in, 0, t)->rank;
    double *B, *A;
    FC_TRY(fc_tv_need_factors(in, t, err));
    FC_TRY(alloc_factors(&B, &A, s, r, arena, err));
    for (int i = 0; i < in->n; i++) {
        const fc_tv *tv = fc_tv_at(in, i, t);
        if (tv->rank != r)
            return fc_fail(err, FC_EUSAGE,
                           "update %d, tensor %s: found rank %d, expected %d as in update 0, since "
                           "FedIT averages the factors",
                           i, s->name, tv->rank, r);
        /* B += p_i B_i, A += p_i A_i */
        axpy(B, p[i], tv->B, (size_t)s->rows * (size_t)r);
        axpy(A, p[i], tv->A, (size_t)r * (size_t)s->cols);
    }
    *out = (fc_tv){.rank = r, .B = B, .A = A};
    return FC_OK;
}

fc_status fc_lora_fedit(fc_tv *out, const fc_tv_set *in, const double *p, fc_arena *arena,
                        fc_error *err)
{
    FC_TRY(fc_tv_check(in, err));
    for (int t = 0; t < in->tensors; t++)
        FC_TRY(in->shape[t].linear ? fedit_tensor(&out[t], in, t, p, arena, err)
                                   : weighted_dense(&out[t], in, t, p, arena, err));
    return FC_OK;
}

fc_status fc_lora_flora(fc_tv *out, const fc_tv_set *in, const double *p, fc_arena *arena,
                        fc_error *err)
{
    FC_TRY(fc_tv_check(in, err));
    for (int t = 0; t < in->tensors; t++)
        FC_TRY(in->shape[t].linear ? fc_tv_stack(&out[t], in, t, p, arena, err)
                                   : weighted_dense(&out[t], in, t, p, arena, err));
    return FC_OK;
}

/* B A = the first `rank` singular triplets of sum_i p_i B_i A_i */
static fc_status flex_tensor(fc_tv *out, double *error, const fc_tv_set *in, int t, const double *p,
                             const fc_flex_options *o, fc_arena *arena, fc_error *err)
{
    const fc_tv_shape *s = &in->shape[t];
    size_t n = (size_t)s->cols, rank = (size_t)o->rank;
    double *B, *A;
    FC_TRY(alloc_factors(&B, &A, s, o->rank, arena, err));
    fc_usv x;
    fc_mark mark = fc_arena_mark(arena);
    /* sum_i p_i B_i A_i = U S V^T, of which the first `rank` triplets are kept */
    FC_TRY(fc_tv_sum_svd(&x, in, t, p, arena, err));
    size_t k = (size_t)x.k, kept = k < rank ? k : rank;
    for (size_t j = 0; j < kept; j++) {
        double left = o->balanced ? sqrt(x.S[j]) : x.S[j], right = o->balanced ? left : 1;
        for (size_t i = 0; i < (size_t)s->rows; i++)
            B[i * rank + j] = left * x.U[i * k + j];
        axpy(A + j * n, right, x.Vt + j * n, n);
    }
    /* |Delta - B A|_F: what is cut */
    *error = sqrt(fc_sum_squares(x.S + kept, k - kept));
    fc_arena_release(arena, mark);
    *out = (fc_tv){.rank = o->rank, .B = B, .A = A};
    return FC_OK;
}

fc_status fc_lora_flex(fc_tv *out, double *error, const fc_tv_set *in, const double *p,
                       const fc_flex_options *options, fc_arena *arena, fc_error *err)
{
    FC_TRY(fc_tv_check(in, err));
    for (int t = 0; t < in->tensors; t++) {
        error[t] = 0;
        FC_TRY(in->shape[t].linear ? flex_tensor(&out[t], &error[t], in, t, p, options, arena, err)
                                   : weighted_dense(&out[t], in, t, p, arena, err));
    }
    return FC_OK;
}
