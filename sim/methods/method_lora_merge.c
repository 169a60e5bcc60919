/* LoRA on the clients, and any merge rule on the server in place of averaging.
 *
 * A and B are trained together. The server merges what each client changed of B A, a task vector
 * per layer, by merge.rule in merge.space, and goes on from there: either with the best B A of the
 * rank that the merged update allows (by SVD, as FlexLoRA), or with the merged update added to the
 * weights that clients train on, and a fresh A and B = 0 (as FLoRA). Each task has a fresh A and
 * B = 0; the head is averaged (by RegMean where the rule is RegMean) and carried over. */
#include "sim/methods/lora_merge.h"

#include <stddef.h>

typedef struct options {
    fc_cl_merge_options tasks; /* first: fc_cl_merge_* read it */
    int carry;
} options;

enum { SVD, FOLD };

static const fc_opt rows[] = {
    FC_CL_MERGE_ROW,
    {.key = "carry",
     .type = FC_OPT_CHOICE,
     .offset = offsetof(options, carry),
     .def = "svd",
     .choices = "svd|fold",
     .help = "how a merged update reaches the next round: cut to the rank of A and B, or added to "
             "the weights that clients train on"},
};

static fc_trained trained(const fc_method_setup *s)
{
    bool folds = ((const options *)s->options)->carry == FOLD;
    return (fc_trained){.mode = FC_TRAIN_LORA, .products = true, .folds = folds};
}

const fc_method fc_method_lora_merge = {
    .name = "lora_merge",
    .paper = "the rule's",
    .help = "LoRA: A, B and head are trained together, the products B A merged by any rule",
    .rule = "average",
    .trained = trained,
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(options),
    .grams = fc_lora_merge_grams,
    .sends_deltas = fc_cl_merge_sends_deltas,
    .train_base = fc_cl_merge_train_base,
    .eval_base = fc_cl_merge_eval_base};
