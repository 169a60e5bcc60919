#include "core/merge/rules/rule_c_ties.h"

#include "core/merge/rule.h"

#include <stddef.h>
#include <string.h>

fc_status fc_rule_ties_continual(double *const *out, const fc_tv_set *in, const void *options,
                                 fc_arena *arena, fc_error *err)
{
    size_t tensors = (size_t)in->tensors;
    FC_TRY(fc_tv_check(in, err));
    fc_mark mark = fc_arena_mark(arena);
    fc_status status = FC_EFAIL;
    fc_tv *pair = fc_arena_alloc(arena, 2 * tensors, sizeof *pair, err); /* D, tau_t */
    double **add = fc_arena_alloc(arena, tensors, sizeof *add, err);
    if (!pair || !add)
        goto done;
    for (int t = 0; t < in->tensors; t++) {
        size_t n = fc_tv_size(&in->shape[t]);
        add[t] = fc_arena_alloc(arena, n, sizeof *add[t], err);
        if (!add[t])
            goto done;
        pair[t].dense = out[t];
        memset(out[t], 0, n * sizeof *out[t]);
        fc_tv_add(out[t], ((const fc_ties_options *)options)->lambda, fc_tv_at(in, 0, t),
                  &in->shape[t]);
    }
    status = FC_OK;
    for (int i = 1; i < in->n && status == FC_OK; i++) {
        memcpy(pair + tensors, fc_tv_at(in, i, 0), tensors * sizeof *pair);
        const fc_tv_set both = {.n = 2, .tensors = in->tensors, .shape = in->shape, .tv = pair};
        status = fc_rule_ties(add, &both, options, arena, err);
        for (int t = 0; t < in->tensors && status == FC_OK; t++)
            for (size_t e = 0; e < fc_tv_size(&in->shape[t]); e++)
                out[t][e] += add[t][e];
    }
done:
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
     .help = "per cent of the entries of the merged and of the next task vector that are kept"},
    {.key = "merge_func",
     .type = FC_OPT_CHOICE,
     .offset = offsetof(fc_ties_options, merge),
     .def = "sum",
     .choices = FC_TIES_CHOICES,
     .help = "of the entries that agree with the elected sign: as ties"},
    {.key = "lambda",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_ties_options, lambda),
     .def = "0.5",
     .low = -1000,
     .high = 1000,
     .help = "factor on what a task adds"},
};

const fc_merge_method fc_merge_c_ties = {
    .name = "c_ties",
    .paper = "baseline of Tang et al., NeurIPS 2025, arXiv 2501.09522",
    .help = "continual: TIES of the merged and the next task vector, added to the merged one",
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(fc_ties_options),
    .combine = fc_rule_ties_continual,
    .full_only = "its updates come one by one, and a common space needs all of them",
};
