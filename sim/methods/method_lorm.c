/* LoRM: closed-form merging of LoRA factors, round by round and across tasks.
 *
 * Salami et al., "Closed-form merging of parameter-efficient modules for federated continual
 * learning", ICLR 2025 (arXiv 2410.17961), as the released code behaves (fed-mammoth, commit
 * 09a9508): round k    train B (k even) or A (k odd), one factor per round, so that the merge has a
 * closed form; merge      A* = (sum A_i G_i)(sum G_i)^+, B* = (sum B_i A G_i) A^T (A (sum G_i)
 * A^T)^+, head by RegMean; round eval W0 + mean over tasks of the deltas, the current one included;
 *   task end   W0 + P Q^+, P = sum_t (B A)_t Gs_t, Q = sum_t Gs_t; after the first task W0 + B A.
 * Every task trains on W0 (not on the merged model) with a fresh A and B = 0; only the head is
 * carried over. Deviation from the derivation, kept as the default: from the second task on, Grams
 * are taken under the mean of the tasks' deltas (gram_model: mixed), not under the model that the
 * client trained. */
#include "sim/methods/method.h"

#include <stddef.h>

typedef struct options {
    double alpha_backbone, alpha_head;
    int gram_passes;
    int gram_model;
    int train_matrix;
} options;

enum { MIXED, TRAINED };
enum { ALTERNATE, ONLY_A, ONLY_B };

static const fc_opt rows[] = {
    {.key = "alpha_backbone",
     .type = FC_OPT_REAL,
     .offset = offsetof(options, alpha_backbone),
     .def = "0",
     .low = 0,
     .high = 1,
     .help = "weight of the off-diagonal Gram entries of the backbone's layers; 0 = only the "
             "diagonal is computed and sent"},
    {.key = "alpha_head",
     .type = FC_OPT_REAL,
     .offset = offsetof(options, alpha_head),
     .def = "0.5",
     .low = 0,
     .high = 1,
     .help = "the same for the Gram matrix of the head"},
    {.key = "gram_passes",
     .type = FC_OPT_INT,
     .offset = offsetof(options, gram_passes),
     .def = "1",
     .low = 1,
     .high = 1000,
     .help = "augmented passes over a client's data for the Grams"},
    {.key = "gram_model",
     .type = FC_OPT_CHOICE,
     .offset = offsetof(options, gram_model),
     .def = "mixed",
     .choices = "mixed|trained",
     .help = "model under which Grams are taken: mean of the tasks' deltas (released code) or the "
             "one that was trained"},
    {.key = "train_matrix",
     .type = FC_OPT_CHOICE,
     .offset = offsetof(options, train_matrix),
     .def = "alt",
     .choices = "alt|A|B",
     .help = "LoRA factor trained in a round: alternating from B, always B, or always A (which "
             "moves the head only: B starts at 0)"},
};

static const options *opt(const fc_method_setup *s)
{
    return s->options;
}

static fc_gram_plan grams(const fc_method_setup *s)
{
    return (fc_gram_plan){opt(s)->alpha_backbone, opt(s)->alpha_head, opt(s)->gram_passes, true};
}

static unsigned groups(const fc_method_setup *s, int round)
{
    int which = opt(s)->train_matrix;
    bool B = which == ONLY_B || (which == ALTERNATE && round % 2 == 0);
    return 1u << (B ? FC_GROUP_B : FC_GROUP_A) | 1u << FC_GROUP_HEAD;
}

static bool sends_deltas(const fc_method_setup *s)
{
    return opt(s)->gram_model == MIXED;
}

/* W0 + (sum of finished deltas + B A) / (t + 1): the uniform mean of the tasks. */
static void mean_base(const fc_method_setup *s, const fc_deltas *d, fc_real *w, fc_real *scale)
{
    (void)s;
    fc_deltas_add_sum(w, d, d->tasks, 1.0 / (d->tasks + 1));
    *scale = (fc_real)(1.0 / (d->tasks + 1));
}

static void gram_base(const fc_method_setup *s, const fc_deltas *d, fc_real *w, fc_real *scale)
{
    if (opt(s)->gram_model == MIXED)
        mean_base(s, d, w, scale);
}

static fc_status task_base(const fc_method_setup *s, const fc_deltas *d, fc_real *w, fc_error *err)
{
    (void)s;
    if (d->tasks > 1)
        return fc_deltas_add_gram_merge(w, d, err);
    fc_deltas_add_sum(w, d, 1, 1.0);
    return FC_OK;
}

const fc_method fc_method_lorm = {
    .name = "lorm",
    .paper = "Salami et al., ICLR 2025, arXiv 2410.17961",
    .help = "LoRM: one LoRA factor per round, merged in closed form with Gram matrices",
    .rule = "lorm",
    .trains = {.mode = FC_TRAIN_LORA},
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(options),
    .grams = grams,
    .groups = groups,
    .sends_deltas = sends_deltas,
    .eval_base = mean_base,
    .gram_base = gram_base,
    .task_base = task_base};
