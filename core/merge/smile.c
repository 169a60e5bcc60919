#include "core/merge/smile.h"

#include "core/gemm.h"
#include "core/merge/spectral.h"

#include <math.h>
#include <string.h>

static fc_status to_real(fc_real **out, const double *x, int rows, int cols, int ld,
                         fc_arena *arena, fc_error *err)
{
    size_t m = (size_t)rows, n = (size_t)cols;
    *out = fc_arena_alloc(arena, m * n, sizeof **out, err);
    if (!*out)
        return FC_EFAIL;
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++)
            (*out)[i * n + j] = (fc_real)x[i * (size_t)ld + j];
    return FC_OK;
}

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

static fc_status init_expert(fc_smile_expert *x, const fc_tv_set *in, int e, int t,
                             const fc_smile_options *o, fc_arena *arena, fc_arena *scratch,
                             fc_error *err)
{
    const fc_tv_shape *s = &in->shape[t];
    const fc_tv_set one = {.n = 1, .tensors = 1, .shape = s, .tv = fc_tv_at(in, e, t)};
    fc_error found = {0};
    if (fc_tv_check(&one, &found) != FC_OK)
        return fc_fail(err, found.code, "SMILE, expert %d: %s", e, found.msg);
    fc_usv d;
    FC_TRY(fc_tv_svd(&d, one.tv, s, scratch, err));
    int rank = fc_svd_rank(&d);
    x->k = o->k < 0 ? rank : smaller(o->k, rank);
    x->gate = smaller(o->gate_k, rank);
    int v = x->k > x->gate ? x->k : x->gate;
    FC_TRY(to_real(&x->U, d.U, s->rows, x->k, d.k, arena, err));
    FC_TRY(to_real(&x->S, d.S, 1, x->k, d.k, arena, err));
    return to_real(&x->Vt, d.Vt, v, s->cols, s->cols, arena, err);
}

fc_status fc_smile_init(fc_smile *s, const fc_tv_set *in, int t, const fc_real *const *bias,
                        const fc_smile_options *o, fc_arena *arena, fc_arena *scratch,
                        fc_error *err)
{
    const fc_tv_shape *shape = &in->shape[t];
    if (o->gate_k < 1 || o->k == 0 || o->top_k < 1 || o->top_k > in->n)
        return fc_fail(
            err, FC_EUSAGE,
            "SMILE, tensor %s: found gate_k %d, k %d, top_k %d with %d experts; expected "
            "gate_k >= 1, k >= 1 or -1, top_k from 1 to the number of experts",
            shape->name, o->gate_k, o->k, o->top_k, in->n);
    *s = (fc_smile){.rows = shape->rows, .cols = shape->cols, .experts = in->n, .top_k = o->top_k};
    s->expert = fc_arena_alloc(arena, (size_t)in->n, sizeof *s->expert, err);
    if (!s->expert)
        return FC_EFAIL;
    for (int e = 0; e < in->n; e++) {
        fc_mark mark = fc_arena_mark(scratch);
        fc_status status = init_expert(&s->expert[e], in, e, t, o, arena, scratch, err);
        fc_arena_release(scratch, mark);
        FC_TRY(status);
        s->expert[e].bias = bias ? bias[e] : NULL;
    }
    return FC_OK;
}

/* w (experts): softmax of the logits over the top_k largest, the first of equals; 0 elsewhere. */
static void choose(double *w, const double *logit, int experts, int top_k)
{
    double top = logit[0], sum = 0;
    for (int e = 1; e < experts; e++)
        top = fmax(top, logit[e]);
    for (int e = 0; e < experts; e++) {
        int before = 0;
        for (int f = 0; f < experts; f++)
            before += logit[f] > logit[e] || (logit[f] == logit[e] && f < e);
        w[e] = before < top_k ? exp(logit[e] - top) : 0;
        sum += w[e];
    }
    for (int e = 0; e < experts; e++)
        w[e] /= sum;
}

fc_status fc_smile_route(double *w, double *logit, const fc_smile *s, const fc_real *X, int n,
                         fc_arena *scratch, fc_error *err)
{
    size_t N = (size_t)n, E = (size_t)s->experts;
    for (size_t e = 0; e < E; e++) {
        const fc_smile_expert *x = &s->expert[e];
        size_t g = (size_t)x->gate;
        fc_mark mark = fc_arena_mark(scratch);
        fc_real *P = fc_arena_alloc(scratch, N * g, sizeof *P, err); /* X V_gate */
        if (!P)
            return FC_EFAIL;
        if (g > 0)
            fc_gemm(false, true, n, x->gate, s->cols, 1, X, s->cols, x->Vt, s->cols, 0, P, x->gate);
        for (size_t i = 0; i < N; i++) {
            double norm2 = 0;
            for (size_t j = 0; j < g; j++)
                norm2 += (double)P[i * g + j] * (double)P[i * g + j];
            logit[i * E + e] = sqrt(norm2);
        }
        fc_arena_release(scratch, mark);
    }
    for (size_t i = 0; i < N; i++)
        choose(w + i * E, logit + i * E, s->experts, s->top_k);
    return FC_OK;
}

/* Y += w (Delta_e x + bias) for the rows x with w != 0; w at w[i * experts]. */
static fc_status add_expert(fc_real *Y, const fc_smile *s, const fc_smile_expert *x,
                            const double *w, const fc_real *X, int n, fc_arena *scratch,
                            fc_error *err)
{
    size_t N = (size_t)n, E = (size_t)s->experts, m = (size_t)s->rows, d = (size_t)s->cols;
    size_t k = (size_t)x->k, c = 0;
    fc_real *in = fc_arena_alloc(scratch, N * d, sizeof *in, err);
    fc_real *H = fc_arena_alloc(scratch, N * k, sizeof *H, err);
    fc_real *out = fc_arena_alloc(scratch, N * m, sizeof *out, err);
    if (!in || !H || !out)
        return FC_EFAIL;
    for (size_t i = 0; i < N; i++)
        if (w[i * E] != 0)
            memcpy(in + c++ * d, X + i * d, d * sizeof *in);
    if (c > 0 && k > 0) {
        fc_gemm(false, true, (int)c, x->k, s->cols, 1, in, s->cols, x->Vt, s->cols, 0, H, x->k);
        for (size_t i = 0; i < c; i++)
            for (size_t j = 0; j < k; j++)
                H[i * k + j] *= x->S[j];
        fc_gemm(false, true, (int)c, s->rows, x->k, 1, H, x->k, x->U, x->k, 0, out, s->rows);
    }
    c = 0;
    for (size_t i = 0; i < N; i++) {
        if (w[i * E] == 0)
            continue;
        for (size_t j = 0; j < m; j++)
            Y[i * m + j] += (fc_real)w[i * E] * (out[c * m + j] + (x->bias ? x->bias[j] : 0));
        c++;
    }
    return FC_OK;
}

fc_status fc_smile_forward(fc_real *Y, const fc_smile *s, const fc_real *X, int n,
                           fc_arena *scratch, fc_error *err)
{
    size_t E = (size_t)s->experts;
    fc_mark mark = fc_arena_mark(scratch);
    double *w = fc_arena_alloc(scratch, (size_t)n * E, 2 * sizeof *w, err);
    fc_status status = w ? fc_smile_route(w, w + (size_t)n * E, s, X, n, scratch, err) : FC_EFAIL;
    for (size_t e = 0; e < E && status == FC_OK; e++) {
        fc_mark one = fc_arena_mark(scratch);
        status = add_expert(Y, s, &s->expert[e], w + e, X, n, scratch, err);
        fc_arena_release(scratch, one);
    }
    fc_arena_release(scratch, mark);
    return status;
}
