#include "core/merge/rules/opcm.h"

#include "core/base/parallel.h"
#include "core/linalg/gemm.h"
#include "core/merge/spectral.h"

#include <math.h>
#include <string.h>

fc_status fc_opcm_init(fc_opcm *o, const fc_tv_shape *shape, int tensors, double alpha,
                       int steps_max, int rank_max, fc_arena *arena, fc_error *err)
{
    *o = (fc_opcm){.shape = shape,
                   .tensors = tensors,
                   .alpha = alpha,
                   .lambda = 1,
                   .steps_max = steps_max,
                   .norm = fc_arena_alloc(arena, (size_t)steps_max, sizeof *o->norm, err),
                   .tensor = fc_arena_alloc(arena, (size_t)tensors, sizeof *o->tensor, err)};
    if (!o->norm || !o->tensor)
        return FC_EFAIL;
    for (int t = 0; t < tensors; t++) {
        fc_opcm_tensor *x = &o->tensor[t];
        int m = shape[t].rows, n = shape[t].cols, least = m < n ? m : n;
        if (rank_max == 0 || !shape[t].linear) {
            x->D = fc_arena_alloc(arena, fc_tv_size(&shape[t]), sizeof *x->D, err);
            if (!x->D)
                return FC_EFAIL;
            continue;
        }
        x->most = rank_max < least ? rank_max : least;
        x->U = fc_arena_alloc(arena, (size_t)m * (size_t)x->most, sizeof *x->U, err);
        x->S = fc_arena_alloc(arena, (size_t)x->most, sizeof *x->S, err);
        x->Vt = fc_arena_alloc(arena, (size_t)x->most * (size_t)n, sizeof *x->Vt, err);
        if (!x->U || !x->S || !x->Vt)
            return FC_EFAIL;
    }
    return FC_OK;
}

/* Q (r, r) becomes Z, what the old model has of the new task: Q on the diagonal and in the first
 * split x split block, 0 elsewhere. */
static void select_old(double *Q, int r, const double *S, double alpha)
{
    int split = 0;
    double sum = 0, up_to = 0;
    for (int j = 0; j < r; j++)
        sum += S[j];
    for (int j = 0; j < r; j++) {
        up_to += S[j];
        if (up_to / sum > alpha) {
            split = j;
            break;
        }
    }
    for (int i = 0; i < r; i++)
        for (int j = 0; j < r; j++)
            if (i != j && !(i < split && j < split))
                Q[(size_t)i * (size_t)r + (size_t)j] = 0;
}

/* D = lambda D + clean(tau); *norm2 = |tau|^2 */
static fc_status step_dense(fc_opcm_tensor *x, double *norm2, const fc_opcm *o, int t,
                            const fc_tv *tau, fc_arena *scratch, fc_error *err)
{
    const fc_tv_shape *s = &o->shape[t];
    int m = s->rows, n = s->cols;
    size_t N = (size_t)n, size = fc_tv_size(s);
    double *tv = fc_arena_alloc(scratch, size, sizeof *tv, err);
    if (!tv)
        return FC_EFAIL;
    fc_tv_dense(tv, tau, s);
    *norm2 = fc_sum_squares(tv, size);
    if (s->linear && o->steps > 0) {
        fc_usv d;
        /* D = U S V^T, its numerical support of r triplets */
        FC_TRY(fc_svd(&d, x->D, m, n, s->name, scratch, err));
        int r = fc_svd_rank(&d);
        size_t R = (size_t)r;
        double *UX = fc_arena_alloc(scratch, R * N, sizeof *UX, err);
        double *Q = fc_arena_alloc(scratch, R * R + 1, sizeof *Q, err);
        if (!UX || !Q)
            return FC_EFAIL;
        if (r > 0) {
            /* Q = U^T tau V    (r, m) (m, n) (n, r) */
            fc_dgemm(true, false, r, n, m, 1, d.U, d.k, tv, n, 0, UX, n);
            fc_dgemm(false, true, r, r, n, 1, UX, n, d.Vt, n, 0, Q, r);
            select_old(Q, r, d.S, o->alpha);
            /* clean = tau - U (Z V^T)    (m, r) (r, n) */
            fc_dgemm(false, false, r, n, r, 1, Q, r, d.Vt, n, 0, UX, n);
            fc_dgemm(false, false, m, n, r, -1, d.U, d.k, UX, n, 1, tv, n);
        }
    }
    /* D <- lambda D + clean */
    for (size_t i = 0; i < size; i++)
        x->D[i] = o->lambda * x->D[i] + tv[i];
    return FC_OK;
}

/* C (k, k), zeroed before, = lambda diag(S) - Z */
static fc_status thin_core(double *C, const fc_opcm_tensor *x, const fc_opcm *o, int t,
                           const fc_tv *tau, fc_arena *scratch, fc_error *err)
{
    int m = o->shape[t].rows, n = o->shape[t].cols, k = x->k, rank = tau->rank;
    const fc_usv d = {.m = m, .n = n, .k = k, .U = x->U, .S = x->S, .Vt = x->Vt};
    int r = fc_svd_rank(&d); /* of the k directions kept */
    size_t K = (size_t)k, R = (size_t)r;
    double *UB = fc_arena_alloc(scratch, R * (size_t)rank, sizeof *UB, err);
    double *AV = fc_arena_alloc(scratch, (size_t)rank * R, sizeof *AV, err);
    double *Q = fc_arena_alloc(scratch, R * R, sizeof *Q, err);
    if (!UB || !AV || !Q)
        return FC_EFAIL;
    /* C = lambda diag(S) - Z, Z of Q = (U^T B) (A V)    (r, rank) (rank, r) */
    for (size_t i = 0; i < K; i++)
        C[i * K + i] = o->lambda * x->S[i];
    if (r == 0)
        return FC_OK;
    fc_dgemm(true, false, r, rank, m, 1, x->U, k, tau->B, rank, 0, UB, rank);
    fc_dgemm(false, true, rank, r, n, 1, tau->A, n, x->Vt, n, 0, AV, r);
    fc_dgemm(false, false, r, r, rank, 1, UB, rank, AV, r, 0, Q, r);
    select_old(Q, r, x->S, o->alpha);
    for (size_t i = 0; i < R; i++)
        for (size_t j = 0; j < R; j++)
            C[i * K + j] -= Q[i * R + j];
    return FC_OK;
}

/* The same in factors: [U C, B] [Vt; A], decomposed again. */
static fc_status step_thin(fc_opcm_tensor *x, double *norm2, const fc_opcm *o, int t,
                           const fc_tv *tau, fc_arena *scratch, fc_error *err)
{
    const fc_tv_shape *s = &o->shape[t];
    int m = s->rows, n = s->cols, k = x->k, both = k + tau->rank;
    size_t M = (size_t)m, N = (size_t)n, K = (size_t)k, r = (size_t)tau->rank, R = K + r;
    double *C = fc_arena_alloc(scratch, K * K, sizeof *C, err);
    double *left = fc_arena_alloc(scratch, M * R, sizeof *left, err);
    double *right = fc_arena_alloc(scratch, R * N, sizeof *right, err);
    if (!C || !left || !right)
        return FC_EFAIL;
    fc_usv d;
    FC_TRY(fc_tv_svd(&d, tau, s, scratch, err));
    *norm2 = fc_sum_squares(d.S, (size_t)d.k);
    if (k > 0) {
        FC_TRY(thin_core(C, x, o, t, tau, scratch, err));
        /* U C    (m, k) (k, k) */
        fc_dgemm(false, false, m, k, k, 1, x->U, k, C, k, 0, left, both);
        memcpy(right, x->Vt, K * N * sizeof *right);
    }
    for (size_t i = 0; i < M; i++)
        memcpy(left + i * R + K, tau->B + i * r, r * sizeof *left);
    memcpy(right + K * N, tau->A, r * N * sizeof *right);
    /* sum = [U C, B] [V^T; A] = U S V^T    (m, k + r) (k + r, n) */
    FC_TRY(fc_svd_product(&d, left, right, m, both, n, s->name, scratch, err));
    x->k = d.k;
    memcpy(x->U, d.U, M * (size_t)d.k * sizeof *d.U);
    memcpy(x->S, d.S, (size_t)d.k * sizeof *d.S);
    memcpy(x->Vt, d.Vt, (size_t)d.k * N * sizeof *d.Vt);
    return FC_OK;
}

static fc_status check_step(const fc_opcm *o, const fc_tv *tv, fc_error *err)
{
    const fc_tv_set one = {.n = 1, .tensors = o->tensors, .shape = o->shape, .tv = tv};
    fc_error found = {0};
    int step = o->steps + 1;
    if (step > o->steps_max)
        return fc_fail(err, FC_EUSAGE, "OPCM: found step %d, expected at most %d", step,
                       o->steps_max);
    if (fc_tv_check(&one, &found) != FC_OK)
        return fc_fail(err, found.code, "OPCM, step %d: %s", step, found.msg);
    for (int t = 0; t < o->tensors; t++) {
        const fc_opcm_tensor *x = &o->tensor[t];
        int m = o->shape[t].rows, n = o->shape[t].cols, least = m < n ? m : n;
        if (x->D)
            continue;
        FC_TRY(fc_tv_need_factors(&one, t, err));
        int k = x->k + tv[t].rank;
        if ((k < least ? k : least) > x->most)
            return fc_fail(err, FC_EUSAGE,
                           "OPCM, step %d, tensor %s: found rank %d, expected at most %d", step,
                           o->shape[t].name, k, x->most);
    }
    return FC_OK;
}

typedef struct step_job {
    const fc_opcm *o;
    const fc_tv *tv;
    double *norm2, *sum2; /* (tensors) parts of |tau|^2 and |sum|^2 */
} step_job;

static fc_status step_tensor(void *ctx, int t, fc_arena *scratch, fc_error *err)
{
    const step_job *j = ctx;
    fc_opcm_tensor *x = &j->o->tensor[t];
    FC_TRY(x->D ? step_dense(x, &j->norm2[t], j->o, t, &j->tv[t], scratch, err)
                : step_thin(x, &j->norm2[t], j->o, t, &j->tv[t], scratch, err));
    j->sum2[t] = x->D ? fc_sum_squares(x->D, fc_tv_size(&j->o->shape[t]))
                      : fc_sum_squares(x->S, (size_t)x->k);
    return FC_OK;
}

/* D = sum / lambda of the step that the tensors have taken. */
static void end_step(fc_opcm *o, const step_job *j)
{
    double norm2 = 0, sum2 = 0, mean = 0;
    for (int t = 0; t < o->tensors; t++) {
        norm2 += j->norm2[t];
        sum2 += j->sum2[t];
    }
    o->norm[o->steps++] = sqrt(norm2);
    for (int i = 0; i < o->steps; i++)
        mean += o->norm[i] / o->steps;
    /* lambda = |sum| / mean(|tau_1| .. |tau_t|), D = sum / lambda */
    o->lambda = sum2 > 0 ? sqrt(sum2) / mean : 1;
    for (int t = 0; t < o->tensors; t++) {
        fc_opcm_tensor *x = &o->tensor[t];
        double *v = x->D ? x->D : x->S;
        size_t count = x->D ? fc_tv_size(&o->shape[t]) : (size_t)x->k;
        for (size_t i = 0; i < count; i++)
            v[i] /= o->lambda;
    }
}

fc_status fc_opcm_step(fc_opcm *o, const fc_tv *tv, fc_arena *scratch, fc_error *err)
{
    FC_TRY(check_step(o, tv, err));
    fc_mark mark = fc_arena_mark(scratch);
    size_t n = (size_t)o->tensors;
    step_job j = {o, tv, fc_arena_alloc(scratch, n, sizeof *j.norm2, err),
                  fc_arena_alloc(scratch, n, sizeof *j.sum2, err)};
    fc_status status = FC_EFAIL;
    if (j.norm2 && j.sum2)
        status = fc_parallel_for(o->tensors, step_tensor, &j, err);
    if (status == FC_OK)
        end_step(o, &j);
    fc_arena_release(scratch, mark);
    return status;
}

void fc_opcm_merged(double *const *out, const fc_opcm *o)
{
    for (int t = 0; t < o->tensors; t++) {
        const fc_opcm_tensor *x = &o->tensor[t];
        int m = o->shape[t].rows, n = o->shape[t].cols;
        size_t N = (size_t)n;
        if (x->D) {
            memcpy(out[t], x->D, fc_tv_size(&o->shape[t]) * sizeof *x->D);
            continue;
        }
        memset(out[t], 0, fc_tv_size(&o->shape[t]) * sizeof *out[t]);
        for (int i = 0; i < m; i++)
            for (int j = 0; j < x->k; j++) {
                double us = x->U[(size_t)i * (size_t)x->k + (size_t)j] * x->S[j];
                for (size_t c = 0; c < N; c++)
                    out[t][(size_t)i * N + c] += us * x->Vt[(size_t)j * N + c];
            }
    }
}
