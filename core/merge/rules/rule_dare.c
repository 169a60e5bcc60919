#include "core/merge/rules/rule_dare.h"

#include "core/base/parallel.h"
#include "core/merge/rule.h"

#include <stddef.h>
#include <string.h>

typedef struct dare_job {
    double *const *out;
    const fc_tv_set *in;
    const fc_dare_options *options;
    double **thinned; /* (n, tensors) */
} dare_job;

/* x (rows, cols) = mask_i tau_i / (1 - p) */
static void thin_tensor(double *x, const dare_job *j, int i, int t)
{
    const fc_dare_options *o = j->options;
    const fc_tv_shape *s = &j->in->shape[t];
    fc_tv_dense(x, fc_tv_at(j->in, i, t), s);
    if (o->linear_only && !s->linear)
        return;
    const unsigned char *mask = o->mask ? o->mask[fc_tv_index(j->in, i, t)] : NULL;
    fc_key key = j->in->key;
    key.stream = FC_STREAM_DARE;
    key.client = (uint32_t)i;
    key.sample = (uint32_t)t;
    fc_rng g = fc_rng_at(key);
    for (size_t e = 0; e < fc_tv_size(s); e++) {
        bool kept = mask ? mask[e] : fc_rng_uniform(&g) >= o->p;
        x[e] = kept ? x[e] / (1 - o->p) : 0;
    }
}

/* out = lambda sum_i mask_i tau_i / (1 - p) */
static fc_status add_thinned(void *ctx, int t, fc_arena *scratch, fc_error *err)
{
    const dare_job *j = ctx;
    size_t n = fc_tv_size(&j->in->shape[t]);
    double *x = fc_arena_alloc(scratch, n, sizeof *x, err);
    if (!x)
        return FC_EFAIL;
    memset(j->out[t], 0, n * sizeof *x);
    for (int i = 0; i < j->in->n; i++) {
        thin_tensor(x, j, i, t);
        for (size_t e = 0; e < n; e++)
            j->out[t][e] += j->options->lambda * x[e];
    }
    return FC_OK;
}

static fc_status keep_thinned(void *ctx, int k, fc_arena *scratch, fc_error *err)
{
    (void)scratch, (void)err;
    const dare_job *j = ctx;
    thin_tensor(j->thinned[k], j, k / j->in->tensors, k % j->in->tensors);
    return FC_OK;
}

/* out = TIES(mask_i tau_i / (1 - p)) */
static fc_status thin_then_ties(dare_job *j, fc_arena *arena, fc_error *err)
{
    int n = j->in->n * j->in->tensors;
    fc_tv *tv = fc_arena_alloc(arena, (size_t)n, sizeof *tv, err);
    j->thinned = fc_arena_alloc(arena, (size_t)n, sizeof *j->thinned, err);
    if (!tv || !j->thinned)
        return FC_EFAIL;
    for (int k = 0; k < n; k++) {
        size_t size = fc_tv_size(&j->in->shape[k % j->in->tensors]);
        tv[k].dense = j->thinned[k] = fc_arena_alloc(arena, size, sizeof(double), err);
        if (!tv[k].dense)
            return FC_EFAIL;
    }
    FC_TRY(fc_parallel_for(n, keep_thinned, j, err));
    fc_tv_set set = *j->in;
    set.tv = tv;
    return fc_rule_ties(j->out, &set, &j->options->ties, arena, err);
}

fc_status fc_rule_dare(double *const *out, const fc_tv_set *in, const void *options,
                       fc_arena *arena, fc_error *err)
{
    const fc_dare_options *o = options;
    if (!(o->p >= 0 && o->p < 1))
        return fc_fail(err, FC_EUSAGE, "DARE: p is %g, expected 0 <= p < 1", o->p);
    FC_TRY(fc_tv_check(in, err));
    dare_job j = {.out = out, .in = in, .options = o};
    if (!o->with_ties)
        return fc_parallel_for(in->tensors, add_thinned, &j, err);
    fc_mark mark = fc_arena_mark(arena);
    fc_status status = thin_then_ties(&j, arena, err);
    fc_arena_release(arena, mark);
    return status;
}

static const fc_opt rows[] = {
    {.key = "p",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_dare_options, p),
     .def = "0.5",
     .low = 0,
     .high = 0.999999999,
     .help = "probability that an entry is dropped"},
    {.key = "linear_only",
     .type = FC_OPT_BOOL,
     .offset = offsetof(fc_dare_options, linear_only),
     .def = "false",
     .help = "only weights of linear layers lose entries"},
    {.key = "lambda",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_dare_options, lambda),
     .def = "0.3",
     .low = -1000,
     .high = 1000,
     .help = "factor on the sum, without ties"},
    {.key = "with_ties",
     .type = FC_OPT_BOOL,
     .offset = offsetof(fc_dare_options, with_ties),
     .def = "false",
     .help = "TIES in place of Task Arithmetic"},
    {.key = "ties_top_k",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_dare_options, ties.top_k),
     .def = "20",
     .low = 0,
     .high = 100,
     .help = "ties: per cent of the entries kept"},
    {.key = "ties_merge_func",
     .type = FC_OPT_CHOICE,
     .offset = offsetof(fc_dare_options, ties.merge),
     .def = "sum",
     .choices = FC_TIES_CHOICES,
     .help = "ties: of the entries that agree"},
    {.key = "ties_lambda",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_dare_options, ties.lambda),
     .def = "0.5",
     .low = -1000,
     .high = 1000,
     .help = "ties: factor on the merged task vector"},
};

const fc_merge_method fc_merge_dare = {
    .name = "dare",
    .paper = "Yu et al., ICML 2024, arXiv 2311.03099",
    .help = "drops random entries, rescales the others, then Task Arithmetic or TIES",
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(fc_dare_options),
    .combine = fc_rule_dare,
};
