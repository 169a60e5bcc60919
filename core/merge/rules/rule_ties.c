#include "core/merge/rules/rule_ties.h"

#include "core/base/parallel.h"
#include "core/base/select.h"
#include "core/merge/rule.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

typedef struct ties_job {
    double *const *out;
    const fc_tv_set *in;
    const fc_ties_options *options;
    double *level;  /* (n) smallest |.| that is kept */
    double *votes;  /* (tensors) entries elected positive less those negative */
    double no_sign; /* the g of entries without a sign of their own */
} ties_job;

/* Linear interpolation between order statistics, as numpy and torch do; x (n) is reordered. */
static double interpolated_quantile(double *x, size_t n, double q)
{
    double at = (double)(n - 1) * q, t = at - floor(at);
    size_t k = (size_t)at;
    double low = fc_select(x, n, k), high = k + 1 < n ? x[k + 1] : low;
    for (size_t i = k + 1; i < n; i++)
        high = fmin(high, x[i]);
    return t < 0.5 ? low + (high - low) * t : high - (high - low) * (1 - t);
}

/* level_i: what the smallest entry that is kept of tau_i has as |.| */
static fc_status find_trim_level(void *ctx, int i, fc_arena *scratch, fc_error *err)
{
    const ties_job *j = ctx;
    const fc_tv_set *in = j->in;
    double keep = j->options->top_k / 100;
    size_t d = 0, n = 0;
    for (int t = 0; t < in->tensors; t++)
        d += fc_tv_size(&in->shape[t]);
    double kept = floor((double)d * keep);
    if (kept >= (double)d) /* everything */
        return FC_OK;
    double *x = fc_arena_alloc(scratch, d, sizeof *x, err);
    if (!x)
        return FC_EFAIL;
    for (int t = 0; t < in->tensors; t++) {
        fc_tv_dense(x + n, fc_tv_at(in, i, t), &in->shape[t]);
        n += fc_tv_size(&in->shape[t]);
    }
    for (size_t e = 0; e < d; e++)
        x[e] = fabs(x[e]);
    j->level[i] = j->options->quantile ? interpolated_quantile(x, d, 1 - keep)
                                       : fc_select(x, d, d - (size_t)kept - 1);
    return FC_OK;
}

/* elect: out = sum_i trimmed tau_i, whose sign is g */
static fc_status elect_signs(void *ctx, int t, fc_arena *scratch, fc_error *err)
{
    const ties_job *j = ctx;
    size_t n = fc_tv_size(&j->in->shape[t]);
    double *sum = j->out[t];
    double *dense = fc_arena_alloc(scratch, fc_tv_scratch(j->in, t), sizeof *dense, err);
    if (!dense)
        return FC_EFAIL;
    memset(sum, 0, n * sizeof *sum);
    for (int i = 0; i < j->in->n; i++) {
        const double *x = fc_tv_view(j->in, i, t, dense);
        for (size_t e = 0; e < n; e++)
            sum[e] += fabs(x[e]) >= j->level[i] ? x[e] : 0;
    }
    for (size_t e = 0; e < n; e++)
        j->votes[t] += (sum[e] > 0) - (sum[e] < 0);
    return FC_OK;
}

/* merge: out = lambda times the sum, mean or largest of the trimmed entries whose sign is g */
static fc_status merge_ties(void *ctx, int t, fc_arena *scratch, fc_error *err)
{
    const ties_job *j = ctx;
    const fc_ties_options *o = j->options;
    size_t n = fc_tv_size(&j->in->shape[t]);
    double *out = j->out[t];
    double *dense = fc_arena_alloc(scratch, fc_tv_scratch(j->in, t), sizeof *dense, err);
    double *merged = fc_arena_alloc(scratch, n, sizeof *merged, err);
    double *count = fc_arena_alloc(scratch, n, sizeof *count, err);
    if (!dense || !merged || !count)
        return FC_EFAIL;
    for (size_t e = 0; e < n; e++)
        out[e] = out[e] > 0 ? 1 : out[e] < 0 ? -1 : j->no_sign; /* g */
    for (int i = 0; i < j->in->n; i++) {
        const double *x = fc_tv_view(j->in, i, t, dense);
        for (size_t e = 0; e < n; e++) {
            bool negative = out[e] < 0 || (out[e] == 0 && !o->quantile);
            bool agrees = negative ? x[e] < 0 : out[e] > 0 && x[e] > 0;
            if (!agrees || fabs(x[e]) < j->level[i])
                continue;
            merged[e] = o->merge == FC_TIES_MAX ? fmax(merged[e], fabs(x[e])) : merged[e] + x[e];
            count[e]++;
        }
    }
    for (size_t e = 0; e < n; e++) {
        if (o->merge == FC_TIES_MAX)
            merged[e] *= out[e];
        else if (o->merge == FC_TIES_MEAN)
            merged[e] /= fmax(count[e], 1);
        out[e] = o->lambda * merged[e];
    }
    return FC_OK;
}

fc_status fc_rule_ties(double *const *out, const fc_tv_set *in, const void *options,
                       fc_arena *arena, fc_error *err)
{
    const fc_ties_options *o = options;
    FC_TRY(fc_combine_range("TIES: top_k", o->top_k, 0, INFINITY, err));
    FC_TRY(fc_tv_check(in, err));
    fc_mark mark = fc_arena_mark(arena);
    ties_job j = {.out = out, .in = in, .options = o};
    j.level = fc_arena_alloc(arena, (size_t)in->n, sizeof *j.level, err);
    j.votes = fc_arena_alloc(arena, (size_t)in->tensors, sizeof *j.votes, err);
    fc_status status = j.level && j.votes ? FC_OK : FC_EFAIL;
    if (status == FC_OK)
        status = fc_parallel_for(in->n, find_trim_level, &j, err);
    if (status == FC_OK)
        status = fc_parallel_for(in->tensors, elect_signs, &j, err);
    double votes = 0;
    for (int t = 0; status == FC_OK && t < in->tensors; t++)
        votes += j.votes[t];
    if (!o->quantile)
        j.no_sign = (votes > 0) - (votes < 0);
    if (status == FC_OK)
        status = fc_parallel_for(in->tensors, merge_ties, &j, err);
    fc_arena_release(arena, mark);
    return status;
}

static const fc_opt rows[] = {
    {.key = "top_k",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_ties_options, top_k),
     .def = "20",
     .low = 0,
     .high = 100,
     .help = "per cent of the entries of a task vector that are kept, by size"},
    {.key = "merge_func",
     .type = FC_OPT_CHOICE,
     .offset = offsetof(fc_ties_options, merge),
     .def = "sum",
     .choices = FC_TIES_CHOICES,
     .help = "of the entries that agree with the elected sign: their sum (FusionBench), mean (the "
             "paper) or largest"},
    {.key = "quantile",
     .type = FC_OPT_BOOL,
     .offset = offsetof(fc_ties_options, quantile),
     .def = "false",
     .help = "trim at a quantile and leave undecided signs at 0: fed-mammoth's form"},
    {.key = "lambda",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_ties_options, lambda),
     .def = "0.3",
     .low = -1000,
     .high = 1000,
     .help = "factor on the merged task vector"},
};

const fc_merge_method fc_merge_ties = {
    .name = "ties",
    .paper = "Yadav et al., NeurIPS 2023, arXiv 2306.01708",
    .help = "trims each task vector, elects a sign per entry, merges what agrees with it",
    .laws = FC_LAW_ORDER,
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(fc_ties_options),
    .combine = fc_rule_ties,
};
