#include "core/merge/rules/rule_pcb.h"

#include "core/base/parallel.h"
#include "core/base/select.h"
#include "core/merge/rule.h"

#include <math.h>
#include <stddef.h>

/* Numbers are clamped to it, and N maps it to [0, 1]. */
typedef struct range {
    double low, high;
} range;

typedef struct pcb_job {
    double *const *out; /* first sum_j tau_j */
    const fc_tv_set *in;
    const fc_pcb_options *options;
    range *c, *b; /* (n) */
} pcb_job;

static double clamp(double x, range r)
{
    return fmin(fmax(x, r.low), r.high);
}

/* N of x clamped to r */
static double normed(double x, range r)
{
    return r.high > r.low ? (clamp(x, r) - r.low) / (r.high - r.low) : 0;
}

/* b_i of an entry, from tau_i and sum_j tau_j */
static double balance(double x, double sum, range c, int n)
{
    double intra = normed(fabs(x), c);
    return exp(n * (intra * intra - 1)) * tanh(x * sum);
}

static fc_status sum_updates(void *ctx, int t, fc_arena *scratch, fc_error *err)
{
    (void)scratch, (void)err;
    const pcb_job *j = ctx;
    fc_tv_sum(j->out[t], 1, j->in, t);
    return FC_OK;
}

/* x (d) = tau_i, or b_i where the range of c is known */
static void flatten_update(double *x, const pcb_job *j, int i, const range *c)
{
    for (int t = 0; t < j->in->tensors; t++) {
        size_t n = fc_tv_size(&j->in->shape[t]);
        fc_tv_dense(x, fc_tv_at(j->in, i, t), &j->in->shape[t]);
        for (size_t e = 0; e < n; e++)
            x[e] = c ? balance(x[e], j->out[t][e], *c, j->in->n) : fabs(x[e]);
        x += n;
    }
}

/* The ranges to which c_i and b_i are clamped, from their ranks among all d numbers. */
static fc_status find_ranges(void *ctx, int i, fc_arena *scratch, fc_error *err)
{
    const pcb_job *j = ctx;
    size_t d = 0;
    for (int t = 0; t < j->in->tensors; t++)
        d += fc_tv_size(&j->in->shape[t]);
    if (d == 0)
        return FC_OK;
    double *x = fc_arena_alloc(scratch, d, sizeof *x, err);
    if (!x)
        return FC_EFAIL;
    flatten_update(x, j, i, NULL);
    j->c[i].low = fc_select(x, d, (size_t)((double)d * 1e-4));
    j->c[i].high = fc_select(x, d, (size_t)fmax((double)d * (1 - 1e-4) - 1, 0));
    flatten_update(x, j, i, &j->c[i]);
    size_t rank = (size_t)((double)d * (1 - j->options->ratio));
    j->b[i].low = fc_select(x, d, rank < d ? rank : d - 1);
    j->b[i].high = fc_select(x, d, d - 1);
    return FC_OK;
}

/* out = lambda sum_i beta_i sign(tau_i) c_i / max(sum_i beta_i, 1e-12), from out = sum_j tau_j */
static fc_status merge_pcb(void *ctx, int t, fc_arena *scratch, fc_error *err)
{
    const pcb_job *j = ctx;
    size_t n = fc_tv_size(&j->in->shape[t]);
    double *out = j->out[t];
    double *dense = fc_arena_alloc(scratch, fc_tv_scratch(j->in, t), sizeof *dense, err);
    double *num = fc_arena_alloc(scratch, n, sizeof *num, err);
    double *den = fc_arena_alloc(scratch, n, sizeof *den, err);
    if (!dense || !num || !den)
        return FC_EFAIL;
    for (int i = 0; i < j->in->n; i++) {
        const double *x = fc_tv_view(j->in, i, t, dense);
        for (size_t e = 0; e < n; e++) {
            /* beta_i = N(b_i), c_i = |tau_i| clamped */
            double beta = normed(balance(x[e], out[e], j->c[i], j->in->n), j->b[i]);
            /* sign(0) = 0 */
            num[e] += x[e] != 0 ? beta * copysign(clamp(fabs(x[e]), j->c[i]), x[e]) : 0;
            den[e] += beta;
        }
    }
    for (size_t e = 0; e < n; e++)
        out[e] = j->options->lambda * num[e] / fmax(den[e], 1e-12);
    return FC_OK;
}

fc_status fc_rule_pcb(double *const *out, const fc_tv_set *in, const void *options, fc_arena *arena,
                      fc_error *err)
{
    const fc_pcb_options *o = options;
    FC_TRY(fc_combine_range("PCB: ratio", o->ratio, 0, 1, err));
    FC_TRY(fc_tv_check(in, err));
    fc_mark mark = fc_arena_mark(arena);
    pcb_job j = {.out = out, .in = in, .options = o};
    j.c = fc_arena_alloc(arena, (size_t)in->n, sizeof *j.c, err);
    j.b = fc_arena_alloc(arena, (size_t)in->n, sizeof *j.b, err);
    fc_status status = j.c && j.b ? FC_OK : FC_EFAIL;
    if (status == FC_OK)
        status = fc_parallel_for(in->tensors, sum_updates, &j, err);
    if (status == FC_OK)
        status = fc_parallel_for(in->n, find_ranges, &j, err);
    if (status == FC_OK)
        status = fc_parallel_for(in->tensors, merge_pcb, &j, err);
    fc_arena_release(arena, mark);
    return status;
}

static const fc_opt rows[] = {
    {.key = "ratio",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_pcb_options, ratio),
     .def = "0.1",
     .low = 0,
     .high = 1,
     .help = "share of the entries that have a weight"},
    {.key = "lambda",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_pcb_options, lambda),
     .def = "1.2",
     .low = -1000,
     .high = 1000,
     .help = "factor on the merged task vector"},
};

const fc_merge_method fc_merge_pcb = {
    .name = "pcb",
    .paper = "Du et al., NeurIPS 2024, arXiv 2410.02396",
    .help =
        "weighs entries by their size in their task vector and by how they agree with the others",
    .laws = FC_LAW_ORDER,
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(fc_pcb_options),
    .combine = fc_rule_pcb,
};
