/* The result of a round of task vectors. */
#include "core/base/parallel.h"
#include "core/linalg/linalg.h"
#include "core/merge/closed_form.h"
#include "core/merge/collect.h"
#include "core/merge/collect_parts.h"
#include "core/merge/lora_average.h"

#include <math.h>
#include <string.h>

/* The pair of the server's model at the start of the round, times c. */
static fc_status base_pair(fc_tv *tv, const fc_collect *c, int t, double factor, fc_arena *arena,
                           fc_error *err)
{
    FC_TRY(fc_collect_tv(tv, &c->shape[t], spec_of(c, t)->rows, arena, err));
    fc_collect_put(own_array(tv->B), tv->rank, 0, factor, c->job->base, spec_B(c, t));
    fc_collect_put(own_array(tv->A), spec_of(c, t)->cols, 0, 1, c->job->base, spec_of(c, t));
    return FC_OK;
}

/* tau (tensors) of the streaming rules: the sum is scaled in place. *share: how much of B_0 A_0 has
 * to be added to pairs, since the sum is one of B_i A_i and not of their changes. */
static void scale_sum(double *share, fc_collect *c)
{
    double scale = c->rule->scale(c->job->options, c->total);
    *share = -scale * c->total;
    for (int t = 0; t < c->tensors; t++) {
        const fc_tv *tv = &c->tv[t];
        size_t n =
            tv->rank ? (size_t)tv->rank * (size_t)c->shape[t].cols : fc_tv_size(&c->shape[t]);
        double *x = own_array(tv->rank ? tv->A : tv->dense);
        for (size_t i = 0; i < n; i++)
            x[i] *= scale;
    }
}

/* The same by the weights of the entries: a mean of B_i A_i. */
static void divide_sum(double *share, fc_collect *c)
{
    *share = -1;
    for (int t = 0; t < c->tensors; t++)
        for (size_t i = 0; i < fc_tv_size(&c->shape[t]); i++)
            own_array(c->tv[t].dense)[i] /= c->den[t][i];
}

static fc_status combine_all(fc_tv *tau, fc_collect *c, fc_error *err)
{
    double **out = fc_arena_alloc(c->arena, (size_t)c->tensors, sizeof *out, err);
    if (!out)
        return FC_EFAIL;
    for (int t = 0; t < c->tensors; t++) {
        FC_TRY(fc_collect_tv(&tau[t], &c->shape[t], 0, c->arena, err));
        out[t] = own_array(tau[t].dense);
    }
    const fc_tv_set set = {.n = c->n,
                           .tensors = c->tensors,
                           .shape = c->shape,
                           .tv = c->tv,
                           .kind = "client",
                           .id = c->id,
                           .weight = c->weight,
                           .gram = (const double *const *)c->gram,
                           .key = c->job->key};
    return fc_space_combine(out, &set, c->rule->combine, c->job->options, &c->job->space, c->arena,
                            err);
}

static fc_status store_number(fc_params *out, const fc_spec *s, size_t i, double x, fc_error *err)
{
    fc_real *to = &out->p[s->offset + i];
    *to = (fc_real)x;
    if (!isfinite(*to))
        return fc_fail(err, FC_EFAIL,
                       "merge of %s: element %zu came out as %g, expected a finite number", s->name,
                       i, x);
    return FC_OK;
}

typedef struct finish_job {
    const fc_collect *c;
    const fc_tv *tau;    /* (tensors) */
    double share;        /* of B_0 A_0 that is added to pairs */
    double *kept, *lost; /* (tensors) squared norms of what finish_pair keeps and what it cuts */
    fc_params *out;
} finish_job;

/* W = W_0 + tau */
static fc_status finish_full(void *ctx, int t, fc_arena *scratch, fc_error *err)
{
    const finish_job *j = ctx;
    const fc_collect *c = j->c;
    const fc_spec *s = spec_of(c, t);
    (void)scratch;
    for (size_t i = 0; i < fc_tv_size(&c->shape[t]); i++)
        FC_TRY(
            store_number(j->out, s, i, j->tau[t].dense[i] + c->job->base->p[s->offset + i], err));
    return FC_OK;
}

/* sum += tau + share B_0 A_0; B = 0 */
static fc_status finish_sum(void *ctx, int t, fc_arena *scratch, fc_error *err)
{
    const finish_job *j = ctx;
    const fc_collect *c = j->c;
    const fc_spec *B = spec_B(c, t);
    size_t size = fc_tv_size(&c->shape[t]);
    fc_real *W = c->job->sum + c->job->sum_offset[t];
    double *x = fc_arena_alloc(scratch, size, sizeof *x, err);
    fc_tv base;
    if (!x)
        return FC_EFAIL;
    FC_TRY(base_pair(&base, c, t, j->share, scratch, err));
    /* x = tau + share B_0 A_0 */
    fc_tv_dense(x, &j->tau[t], &c->shape[t]);
    fc_tv_add(x, 1, &base, &c->shape[t]);
    for (size_t i = 0; i < size; i++) {
        W[i] += (fc_real)x[i];
        if (!isfinite(W[i]))
            return fc_fail(err, FC_EFAIL, "merge of %s: found %g, expected a finite number",
                           c->shape[t].name, x[i]);
    }
    memset(j->out->p + B->offset, 0, fc_spec_size(B) * sizeof *j->out->p);
    return FC_OK;
}

/* B A = the best approximation of tau + share B_0 A_0 of the rank of A */
static fc_status finish_pair(void *ctx, int t, fc_arena *scratch, fc_error *err)
{
    const finish_job *j = ctx;
    const fc_spec *A = spec_of(j->c, t), *B = spec_B(j->c, t);
    size_t n_A = fc_spec_size(A), n_B = fc_spec_size(B);
    fc_tv pair[2] = {j->tau[t]}, best;
    double error;
    FC_TRY(base_pair(&pair[1], j->c, t, j->share, scratch, err));
    const fc_tv_set set = {
        .n = j->share != 0 ? 2 : 1, .tensors = 1, .shape = &j->c->shape[t], .tv = pair};
    /* best = [tau + share B_0 A_0]_r, the first r singular triplets */
    FC_TRY(
        fc_lora_flex(&best, &error, &set, NULL, &(fc_flex_options){.rank = A->rows}, scratch, err));
    for (size_t i = 0; i < n_B; i++)
        FC_TRY(store_number(j->out, B, i, best.B[i], err));
    for (size_t i = 0; i < n_A; i++)
        FC_TRY(store_number(j->out, A, i, best.A[i], err));
    j->kept[t] = fc_sum_squares(best.B, n_B); /* rows of A are orthonormal */
    j->lost[t] = error * error;
    return FC_OK;
}

static fc_status finish_tensor(void *ctx, int t, fc_arena *scratch, fc_error *err)
{
    const finish_job *j = ctx;
    return t >= j->c->pairs ? finish_full(ctx, t, scratch, err)
           : j->c->job->sum ? finish_sum(ctx, t, scratch, err)
                            : finish_pair(ctx, t, scratch, err);
}

static double lost_share(const finish_job *j)
{
    double lost = 0, kept = 0;
    for (int t = 0; t < j->c->tensors; t++) {
        lost += j->lost[t];
        kept += j->kept[t];
    }
    return lost > 0 ? sqrt(lost / (lost + kept)) : 0;
}

fc_status fc_collect_finish(fc_collect *c, fc_params *out, fc_error *err)
{
    if (c->n == 0)
        return fc_fail(err, FC_EFAIL, "merge: updates without a sample, expected at least one");
    memcpy(out->p, c->job->base->p, c->job->base->n * sizeof *out->p);
    if (c->head)
        FC_TRY(fc_closed_form_finish(c->head, &c->head_job, out, err));
    size_t T = (size_t)c->tensors;
    finish_job j = {.c = c, .out = out};
    fc_tv *tau = fc_arena_alloc(c->arena, T, sizeof *tau, err);
    j.kept = fc_arena_alloc(c->arena, T, sizeof *j.kept, err);
    j.lost = fc_arena_alloc(c->arena, T, sizeof *j.lost, err);
    if (!tau || !j.kept || !j.lost)
        return FC_EFAIL;
    j.tau = c->streams ? c->tv : tau;
    if (c->den)
        divide_sum(&j.share, c);
    else if (c->streams)
        scale_sum(&j.share, c);
    else
        FC_TRY(combine_all(tau, c, err));
    if (!c->job->sum)
        j.share += 1; /* of the pair itself, which is not in the weights */
    FC_TRY(fc_parallel_for(c->tensors, finish_tensor, &j, err));
    if (c->pairs && !c->job->sum && c->job->lost)
        *c->job->lost = lost_share(&j);
    return FC_OK;
}
