/* LoRM (Salami et al., ICLR 2025): the closed form for one half of every LoRA pair, the other being
 * common to all clients.
 *
 *   A trained, B common:   A* = (sum_i A_i G_i) (sum_i G_i)^+
 *   B trained, A common:   B* = (sum_i B_i A G_i A^T) (A (sum_i G_i) A^T)^+
 *
 * B* A minimises sum_i ||(B_i A - B A) X_i^T||_F^2 over B. The head weight is merged by RegMean
 * with the head's Gram (averaged where there is none), the head bias averaged. As the released
 * code, all sums are double; unlike it, a regular Gram is solved by Cholesky, the same up to
 * rounding. */
#include "core/merge/closed_form.h"

static fc_status begin_lorm(void **state, const fc_merge_job *job, fc_arena *arena, fc_error *err)
{
    bool A = job->groups >> FC_GROUP_A & 1, B = job->groups >> FC_GROUP_B & 1;
    if (A && B)
        return fc_fail(
            err, FC_EUSAGE,
            "merge lorm: A and B were both trained, expected one of them: the closed form "
            "needs the other to be the same on all clients");
    if (!job->shape)
        return fc_fail(err, FC_EUSAGE, "merge lorm: no Grams here, and the rule needs them");
    if ((A || B) && (!job->slot_A || !job->slot_B))
        return fc_fail(err, FC_EUSAGE, "merge lorm: LoRA matrices without a list of their layers");
    int n = A || B ? job->slots : 0;
    fc_gram_term *term = fc_arena_alloc(arena, (size_t)n, sizeof *term, err);
    if (!term)
        return FC_EFAIL;
    for (int i = 0; i < n; i++)
        term[i] = A ? (fc_gram_term){job->slot_A[i], i, -1}
                    : (fc_gram_term){job->slot_B[i], i, job->slot_A[i]};
    return fc_closed_form_begin(state, job, term, n, true, arena, err);
}

const fc_merge_method fc_merge_lorm = {
    .name = "lorm",
    .paper = "Salami et al., ICLR 2025",
    .help = "closed form for the trained one of LoRA's A and B, RegMean for the head",
    .needs = FC_MERGE_NEEDS_GRAMS,
    .laws = FC_LAW_ONE_CLIENT | FC_LAW_EQUAL_FIXED | FC_LAW_ORDER | FC_LAW_SCALE,
    .begin = begin_lorm,
    .fold = fc_closed_form_fold,
    .finish = fc_closed_form_finish,
};
