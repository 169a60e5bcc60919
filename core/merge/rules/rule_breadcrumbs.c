#include "core/merge/rules/rule_breadcrumbs.h"

#include "core/base/parallel.h"
#include "core/base/select.h"
#include "core/merge/rule.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

typedef struct breadcrumbs_job {
    double *const *out;
    const fc_tv_set *in;
    const fc_breadcrumbs_options *options;
} breadcrumbs_job;

/* The k largest |.|: all above the level and the first `ties` that equal it. */
typedef struct top {
    double level;
    size_t ties;
} top;

/* size (n): the |.|, reordered */
static top find_top(double *size, size_t n, size_t k)
{
    if (k == 0)
        return (top){INFINITY, 0};
    double level = fc_select(size, n, n - k);
    size_t above = 0;
    for (size_t i = n - k; i < n; i++)
        above += size[i] > level;
    return (top){level, k - above};
}

/* Is the next entry among them? To be asked once for each, in order. */
static bool in_top(top *t, double x)
{
    if (fabs(x) == t->level && t->ties > 0) {
        t->ties--;
        return true;
    }
    return fabs(x) > t->level;
}

/* out (n) += alpha times the kept entries of x (n) */
static void add_kept(double *out, const double *x, size_t n, const fc_breadcrumbs_options *o,
                     double *size)
{
    size_t removed = (size_t)((double)n * o->gamma), last = (size_t)((double)n * o->beta);
    if (o->form != FC_BREADCRUMBS_KEEP_FIRST) {
        if (o->form == FC_BREADCRUMBS_LAYER && removed + last > n)
            removed = n - last;
        last = removed + last < n ? removed + last : n;
    }
    for (size_t e = 0; e < n; e++)
        size[e] = fabs(x[e]);
    top outer = find_top(size, n, last), inner = find_top(size, n, removed);
    for (size_t e = 0; e < n; e++) {
        bool is_kept = in_top(&outer, x[e]), is_removed = in_top(&inner, x[e]);
        if (is_kept && !is_removed)
            out[e] += o->alpha * x[e];
    }
}

/* out = alpha sum_i tau'_i, row by row or over the tensor */
static fc_status merge_breadcrumbs(void *ctx, int t, fc_arena *scratch, fc_error *err)
{
    const breadcrumbs_job *j = ctx;
    const fc_tv_shape *s = &j->in->shape[t];
    size_t all = fc_tv_size(s);
    size_t row = j->options->form == FC_BREADCRUMBS_LAYER ? all : (size_t)s->cols;
    double *dense = fc_arena_alloc(scratch, fc_tv_scratch(j->in, t), sizeof *dense, err);
    double *size = fc_arena_alloc(scratch, row, sizeof *size, err);
    if (!dense || !size)
        return FC_EFAIL;
    memset(j->out[t], 0, all * sizeof *j->out[t]);
    for (int i = 0; i < j->in->n; i++) {
        const double *x = fc_tv_view(j->in, i, t, dense);
        for (size_t e = 0; e < all; e += row)
            add_kept(j->out[t] + e, x + e, row, j->options, size);
    }
    return FC_OK;
}

fc_status fc_rule_breadcrumbs(double *const *out, const fc_tv_set *in, const void *options,
                              fc_arena *arena, fc_error *err)
{
    (void)arena;
    const fc_breadcrumbs_options *o = options;
    FC_TRY(fc_combine_range("Breadcrumbs: beta", o->beta, 0, 1, err));
    FC_TRY(fc_combine_range("Breadcrumbs: gamma", o->gamma, 0, 1, err));
    FC_TRY(fc_tv_check(in, err));
    return fc_parallel_for(in->tensors, merge_breadcrumbs, &(breadcrumbs_job){out, in, o}, err);
}

static const fc_opt rows[] = {
    {.key = "beta",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_breadcrumbs_options, beta),
     .def = "0.2",
     .low = 0,
     .high = 1,
     .help = "share of a row that is kept"},
    {.key = "gamma",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_breadcrumbs_options, gamma),
     .def = "0.1",
     .low = 0,
     .high = 1,
     .help = "share of a row that is removed, the largest"},
    {.key = "form",
     .type = FC_OPT_CHOICE,
     .offset = offsetof(fc_breadcrumbs_options, form),
     .def = "remove_first",
     .choices = FC_BREADCRUMBS_CHOICES,
     .help = "remove the largest and keep of the rest (official code), keep and remove of these, "
             "or over the whole tensor (mergekit)"},
    {.key = "lambda",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_breadcrumbs_options, alpha),
     .def = "0.4",
     .low = -1000,
     .high = 1000,
     .help = "factor on the sum (alpha of the paper)"},
};

const fc_merge_method fc_merge_breadcrumbs = {
    .name = "breadcrumbs",
    .paper = "Davari and Belilovsky, ECCV 2024, arXiv 2312.06795",
    .help = "per row neither the largest nor the small entries are kept, then the sum",
    .laws = FC_LAW_ORDER,
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(fc_breadcrumbs_options),
    .combine = fc_rule_breadcrumbs,
};
