/* OPCM over the updates in the order in which they stand: see core/merge/rules/opcm.h. */
#include "core/merge/rule.h"
#include "core/merge/rules/opcm.h"

#include <stddef.h>

typedef struct options {
    double alpha;
} options;

static const fc_opt rows[] = {
    {.key = "alpha",
     .type = FC_OPT_REAL,
     .offset = offsetof(options, alpha),
     .def = "0.5",
     .low = 0,
     .high = 1,
     .help = "share of the singular values whose directions are closed to the next task vector"},
};

/* Ranks of all updates of the linear weights, at most; 0: one of them is dense. */
static int rank_sum(const fc_tv_set *in)
{
    int most = 0;
    for (int t = 0; t < in->tensors; t++) {
        int sum = 0;
        for (int i = 0; i < in->n && in->shape[t].linear; i++) {
            if (fc_tv_at(in, i, t)->rank == 0)
                return 0;
            sum += fc_tv_at(in, i, t)->rank;
        }
        most = sum > most ? sum : most;
    }
    return most;
}

static fc_status combine_opcm(double *const *out, const fc_tv_set *in, const void *opt,
                              fc_arena *arena, fc_error *err)
{
    fc_opcm o;
    fc_mark mark = fc_arena_mark(arena);
    FC_TRY(fc_tv_check(in, err));
    fc_status status = fc_opcm_init(&o, in->shape, in->tensors, ((const options *)opt)->alpha,
                                    in->n, rank_sum(in), arena, err);
    for (int i = 0; i < in->n && status == FC_OK; i++)
        status = fc_opcm_step(&o, fc_tv_at(in, i, 0), arena, err);
    if (status == FC_OK)
        fc_opcm_merged(out, &o);
    fc_arena_release(arena, mark);
    return status;
}

const fc_merge_method fc_merge_opcm = {
    .name = "opcm",
    .paper = "Tang et al., NeurIPS 2025, arXiv 2501.09522",
    .help = "continual: each task vector is projected away from the directions of the merged one",
    .laws = FC_LAW_ONE_CLIENT,
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(options),
    .combine = combine_opcm,
    .full_only = "its updates come one by one, and a common space needs all of them",
};
