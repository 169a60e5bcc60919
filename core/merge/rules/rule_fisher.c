#include "core/merge/rules/rule_fisher.h"

#include "core/base/parallel.h"
#include "core/merge/rule.h"

#include <cblas.h>
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

typedef struct fisher_job {
    double *const *out;
    const fc_tv_set *in;
    const fc_fisher_options *options;
    double *norm; /* (n) of the Fisher information of each update */
} fisher_job;

static const double *fisher_at(const fisher_job *j, int i, int t)
{
    return j->in->fisher[fc_tv_index(j->in, i, t)];
}

static fc_status check_fisher_set(const fisher_job *j, fc_error *err)
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

/* norm_i = ||F_i||_2 over all tensors */
static void measure_norms(const fisher_job *j)
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

/* out = sum_i w_i tau_i / sum_i w_i entry by entry, w_i = c_i (F_i + epsilon) */
static fc_status merge_fisher(void *ctx, int t, fc_arena *scratch, fc_error *err)
{
    const fisher_job *j = ctx;
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
    fisher_job j = {.out = out, .in = in, .options = options};
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

static const fc_opt rows[] = {
    {.key = "normalise",
     .type = FC_OPT_BOOL,
     .offset = offsetof(fc_fisher_options, normalise),
     .def = "true",
     .help = "updates weigh by 1 / norm of their Fisher information as well"},
    {.key = "epsilon",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_fisher_options, epsilon),
     .def = "1e-6",
     .low = 0,
     .high = 1000000000.0,
     .open_low = true,
     .help = "added to the Fisher information"},
};

const fc_merge_method fc_merge_fisher = {
    .name = "fisher",
    .paper = "Matena and Raffel, NeurIPS 2022, arXiv 2111.09832",
    .help = "mean of each entry, weighted by its Fisher information",
    .needs = FC_MERGE_NEEDS_FISHER,
    .laws = FC_LAW_ONE_CLIENT | FC_LAW_EQUAL_FIXED | FC_LAW_ORDER,
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(fc_fisher_options),
    .combine = fc_rule_fisher,
    .entry_weights = fc_rule_fisher_weights,
    .full_only = "Fisher information belongs to the entries of the full weights",
};
