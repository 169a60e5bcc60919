#include "core/merge/rule_fisher.h"

#include "core/parallel.h"

#include <cblas.h>
#include <float.h>
#include <math.h>
#include <string.h>

typedef struct job {
    double *const *out;
    const fc_tv_set *in;
    const fc_fisher_options *options;
    double *norm; /* (n) of the Fisher information of each update */
} job;

static const double *fisher_at(const job *j, int i, int t)
{
    return j->in->fisher[fc_tv_index(j->in, i, t)];
}

static fc_status check_fisher_set(const job *j, fc_error *err)
{
    char who[FC_TV_NAME_MAX];
    if (!j->in->fisher)
        return fc_fail(err, FC_EUSAGE, "Fisher merging: no Fisher information of the updates");
    for (int i = 0; i < j->in->n; i++)
        for (int t = 0; t < j->in->tensors; t++)
            for (size_t e = 0; e < fc_tv_size(&j->in->shape[t]); e++) {
                double F = fisher_at(j, i, t)[e];
                if (!(F >= 0 && F <= DBL_MAX))
                    return fc_fail(err, FC_EFAIL,
                                   "%s, tensor %s: found a Fisher information of %g, "
                                   "expected a finite number from 0 on",
                                   fc_tv_name(who, j->in, i), j->in->shape[t].name, F);
            }
    return FC_OK;
}

static void measure_norms(const job *j)
{
    for (int i = 0; i < j->in->n; i++)
        for (int t = 0; t < j->in->tensors; t++) {
            size_t n = fc_tv_size(&j->in->shape[t]);
            j->norm[i] = hypot(j->norm[i], cblas_dnrm2((int)n, fisher_at(j, i, t), 1));
        }
}

void fc_rule_fisher_weights(double *w, size_t n, double norm, const void *options)
{
    const fc_fisher_options *o = options;
    double c = o->normalise ? 1 / (norm + o->epsilon) : 1; /* sum_j v_j cancels */
    for (size_t e = 0; e < n; e++)
        w[e] = c * (w[e] + o->epsilon);
}

static fc_status merge_fisher(void *ctx, int t, fc_arena *scratch, fc_error *err)
{
    const job *j = ctx;
    size_t n = fc_tv_size(&j->in->shape[t]);
    double *out = j->out[t];
    double *dense = fc_arena_alloc(scratch, fc_tv_scratch(j->in, t), sizeof *dense, err);
    double *den = fc_arena_alloc(scratch, n, sizeof *den, err);
    double *w = fc_arena_alloc(scratch, n, sizeof *w, err);
    if (!dense || !den || !w)
        return FC_EFAIL;
    memset(out, 0, n * sizeof *out);
    for (int i = 0; i < j->in->n; i++) {
        const double *x = fc_tv_view(j->in, i, t, dense);
        memcpy(w, fisher_at(j, i, t), n * sizeof *w);
        fc_rule_fisher_weights(w, n, j->norm[i], j->options);
        for (size_t e = 0; e < n; e++) {
            out[e] += w[e] * x[e];
            den[e] += w[e];
        }
    }
    for (size_t e = 0; e < n; e++)
        out[e] /= den[e];
    return FC_OK;
}

fc_status fc_rule_fisher(double *const *out, const fc_tv_set *in, const void *options,
                         fc_arena *arena, fc_error *err)
{
    job j = {.out = out, .in = in, .options = options};
    FC_TRY(fc_combine_range("Fisher: epsilon", j.options->epsilon, DBL_MIN, DBL_MAX, err));
    FC_TRY(fc_tv_check(in, err));
    FC_TRY(check_fisher_set(&j, err));
    fc_mark mark = fc_arena_mark(arena);
    j.norm = fc_arena_alloc(arena, (size_t)in->n, sizeof *j.norm, err);
    fc_status status = j.norm ? FC_OK : FC_EFAIL;
    if (status == FC_OK) {
        measure_norms(&j);
        status = fc_parallel_for(in->tensors, merge_fisher, &j, err);
    }
    fc_arena_release(arena, mark);
    return status;
}
