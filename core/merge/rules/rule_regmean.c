#include "core/merge/rules/rule_regmean.h"

#include "core/base/parallel.h"
#include "core/linalg/gemm.h"
#include "core/linalg/linalg.h"
#include "core/merge/closed_form.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

typedef struct regmean_job {
    double *const *out;
    const fc_tv_set *in;
    const fc_regmean_options *options;
} regmean_job;

static const double *gram_at(const regmean_job *j, int i, int t)
{
    return j->in->gram[fc_tv_index(j->in, i, t)];
}

/* M (d, d) = G_i / rows_i, off-diagonals times off_diagonal; sum += M */
static fc_status add_scaled_gram(double *M, double *sum, const regmean_job *j, int i, int t,
                                 fc_error *err)
{
    const fc_tv_shape *s = &j->in->shape[t];
    const double *G = gram_at(j, i, t);
    double rows = j->in->gram_rows ? j->in->gram_rows[i] : 1;
    size_t d = (size_t)s->cols;
    char who[FC_TV_NAME_MAX];
    if (!G)
        return fc_fail(err, FC_EUSAGE, "%s, tensor %s: no Gram, which another update has",
                       fc_tv_name(who, j->in, i), s->name);
    for (size_t e = 0; e < d * d; e++) {
        if (!isfinite(G[e]))
            return fc_fail(err, FC_EFAIL, "%s, tensor %s: found a Gram that is not finite",
                           fc_tv_name(who, j->in, i), s->name);
        M[e] = G[e] / rows * (e % (d + 1) ? j->options->off_diagonal : 1);
        sum[e] += M[e];
    }
    return FC_OK;
}

/* out += tau_i M */
static void add_product(double *out, const fc_tv *tv, const double *M, const fc_tv_shape *s,
                        double *AM)
{
    int m = s->rows, n = s->cols, r = tv->rank;
    if (r == 0) {
        /* out += tau M    (m, n) (n, n) */
        fc_dgemm(false, false, m, n, n, 1, tv->dense, n, M, n, 1, out, n);
    } else {
        /* out += B (A M)    (m, r) (r, n) */
        fc_dgemm(false, false, r, n, n, 1, tv->A, n, M, n, 0, AM, n);
        fc_dgemm(false, false, m, n, r, 1, tv->B, r, AM, n, 1, out, n);
    }
}

/* out = (sum_i tau_i M_i) (sum_i M_i)^+, or the mean where a tensor has no Grams */
static fc_status merge_regmean(void *ctx, int t, fc_arena *scratch, fc_error *err)
{
    const regmean_job *j = ctx;
    const fc_tv_set *in = j->in;
    const fc_tv_shape *s = &in->shape[t];
    size_t d = (size_t)s->cols;
    int rank = 0;
    bool grams = false;
    for (int i = 0; i < in->n; i++) {
        grams |= gram_at(j, i, t) != NULL;
        rank = fc_tv_at(in, i, t)->rank > rank ? fc_tv_at(in, i, t)->rank : rank;
    }
    if (!grams || fc_tv_size(s) == 0) {
        fc_tv_sum(j->out[t], 1.0 / in->n, in, t);
        return FC_OK;
    }
    double *M = fc_arena_alloc(scratch, d * d, sizeof *M, err);
    double *sum = fc_arena_alloc(scratch, d * d, sizeof *sum, err);
    double *AM = fc_arena_alloc(scratch, (size_t)rank * d, sizeof *AM, err);
    if (!M || !sum || !AM)
        return FC_EFAIL;
    memset(j->out[t], 0, fc_tv_size(s) * sizeof *j->out[t]);
    for (int i = 0; i < in->n; i++) {
        FC_TRY(add_scaled_gram(M, sum, j, i, t, err));
        add_product(j->out[t], fc_tv_at(in, i, t), M, s, AM);
    }
    /* out sum^+    (rows, cols) (cols, cols) */
    return fc_spd_solve(j->out[t], sum, j->out[t], s->rows, s->cols, s->name, NULL, scratch, err);
}

fc_status fc_rule_regmean(double *const *out, const fc_tv_set *in, const void *options,
                          fc_arena *arena, fc_error *err)
{
    (void)arena;
    const fc_regmean_options *o = options;
    FC_TRY(fc_combine_range("RegMean: off_diagonal", o->off_diagonal, 0, 1, err));
    FC_TRY(fc_tv_check(in, err));
    if (!in->gram)
        return fc_fail(err, FC_EUSAGE, "RegMean: no Grams of the updates");
    char who[FC_TV_NAME_MAX];
    for (int i = 0; i < in->n && in->gram_rows; i++)
        if (!(in->gram_rows[i] > 0))
            return fc_fail(err, FC_EUSAGE,
                           "RegMean: the Grams of %s have %g rows, expected more than 0",
                           fc_tv_name(who, in, i), in->gram_rows[i]);
    return fc_parallel_for(in->tensors, merge_regmean, &(regmean_job){out, in, o}, err);
}

static const fc_opt rows[] = {
    {.key = "off_diagonal",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_regmean_options, off_diagonal),
     .def = "0.95",
     .low = 0,
     .high = 1,
     .help = "factor on the off-diagonals of the Grams of task vectors; running sums take their "
             "Grams as the method sends them"},
};

static fc_status begin_regmean(void **state, const fc_merge_job *job, fc_arena *arena,
                               fc_error *err)
{
    if (!job->shape)
        return fc_fail(err, FC_EUSAGE, "merge regmean: no Grams here, and the rule needs them");
    int n = job->slot_W && (job->groups >> FC_GROUP_BACKBONE & 1) ? job->slots : 0;
    fc_gram_term *term = fc_arena_alloc(arena, (size_t)n, sizeof *term, err);
    if (!term)
        return FC_EFAIL;
    for (int i = 0; i < n; i++)
        term[i] = (fc_gram_term){job->slot_W[i], i, -1};
    return fc_closed_form_begin(state, job, term, n, true, arena, err);
}

const fc_merge_method fc_merge_regmean = {
    .name = "regmean",
    .paper = "Jin et al., ICLR 2023",
    .help = "linear layers by regression on their inputs (Grams), the rest by the mean",
    .needs = FC_MERGE_NEEDS_GRAMS,
    .laws = FC_LAW_ONE_CLIENT | FC_LAW_EQUAL_FIXED | FC_LAW_ORDER | FC_LAW_SCALE,
    .begin = begin_regmean,
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(fc_regmean_options),
    .fold = fc_closed_form_fold,
    .finish = fc_closed_form_finish,
    .combine = fc_rule_regmean,
    .full_only = "Grams belong to the inputs of the full weights",
};
