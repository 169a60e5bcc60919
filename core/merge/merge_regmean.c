/* RegMean (Jin et al., ICLR 2023, eq. 2): W* = (sum_i W_i G_i) (sum_i G_i)^+ for linear layers and
 * the head, the mean for all else; of full weights as running sums, of task vectors by
 * core/merge/rule_regmean.h. */
#include "core/merge/closed_form.h"
#include "core/merge/rule_regmean.h"

#include <stddef.h>

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
