/* FedIT: A and B are averaged apart from each other, see core/merge/lora_average.h. */
#include "core/merge/closed_form.h"
#include "core/merge/lora_average.h"

static fc_status begin_fedit(void **state, const fc_merge_job *job, fc_arena *arena, fc_error *err)
{
    return fc_closed_form_begin(state, job, NULL, 0, false, arena, err);
}

/* out = (sum_i p_i B_i) (sum_i p_i A_i), p_i = w_i / sum_j w_j */
static fc_status combine_fedit(double *const *out, const fc_tv_set *in, const void *options,
                               fc_arena *arena, fc_error *err)
{
    (void)options;
    fc_mark mark = fc_arena_mark(arena);
    fc_tv *mean = fc_arena_alloc(arena, (size_t)in->tensors, sizeof *mean, err);
    double *p = fc_arena_alloc(arena, (size_t)in->n, sizeof *p, err), total = 0;
    for (int i = 0; p && i < in->n; i++)
        total += p[i] = in->weight ? in->weight[i] : 1;
    for (int i = 0; p && i < in->n; i++)
        p[i] /= total;
    fc_status status = mean && p ? fc_lora_fedit(mean, in, p, arena, err) : FC_EFAIL;
    for (int t = 0; status == FC_OK && t < in->tensors; t++)
        fc_tv_dense(out[t], &mean[t], &in->shape[t]);
    fc_arena_release(arena, mark);
    return status;
}

const fc_merge_method fc_merge_fedit = {
    .name = "fedit",
    .paper = "Zhang et al., ICASSP 2024, arXiv 2305.05644",
    .help = "LoRA: mean of A and mean of B, apart from each other",
    .laws = FC_LAW_ONE_CLIENT | FC_LAW_EQUAL_FIXED | FC_LAW_ORDER | FC_LAW_SCALE,
    .begin = begin_fedit,
    .fold = fc_closed_form_fold,
    .finish = fc_closed_form_finish,
    .combine = combine_fedit,
    .full_only = "it averages factors, which are not those of another space",
    .factors = true,
};
