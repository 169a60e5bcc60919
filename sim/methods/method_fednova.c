/* FedNova: averages where clients were heading, so that those who take more steps do not pull the
 * model to themselves.
 *
 * Wang et al., "Tackling the objective inconsistency problem in heterogeneous federated
 * optimization", NeurIPS 2020, arXiv 2007.07481. x: block at the start of the round, y_i: client
 * i's after k_i steps, p_i: its weight in the mean:
 *
 *   a_i = k_i as steps of plain SGD (fc_optim_plain_steps: more with momentum; AdamW: k_i)
 *   x <- x + (sum_i p_i a_i) sum_i p_i (y_i - x) / a_i
 *
 * With LoRA it acts on the factors A and B. Nothing is sent but y_i and k_i. Equal k_i: FedAvg. */
#include "sim/methods/averaged.h"

#include <stddef.h>

enum {
    DIRECTION,
    STEPS,
    WEIGHT
}; /* sums of w_i (y_i - x) / a_i, w_i a_i, w_i; p_i = w_i / sum w */

static fc_status check(const fc_method_setup *s, const void *o, fc_error *err)
{
    (void)o;
    return fc_averaged_only(s, err);
}

static int arrays(fc_array_spec *out, const fc_method_setup *s, const void *o)
{
    (void)o;
    out[DIRECTION] = (fc_array_spec){
        .name = "direction", .n = s->layout->n, .sum = true, .reset = FC_EACH_ROUND};
    out[STEPS] = (fc_array_spec){.name = "steps", .n = 1, .sum = true, .reset = FC_EACH_ROUND};
    out[WEIGHT] = (fc_array_spec){.name = "weight", .n = 1, .sum = true, .reset = FC_EACH_ROUND};
    return 3;
}

static void fold(fc_piece_server *v, const fc_piece_update *u)
{
    double a = fc_optim_plain_steps(&v->setup->optim, u->steps);
    if (u->steps == 0)
        return; /* it did not train */
    for (int g = 0; g < FC_NGROUP; g++) {
        size_t at, n = fc_params_group_of(v->layout, v->groups, (fc_group)g, &at);
        for (size_t i = at; i < at + n; i++)
            v->array[DIRECTION].sum[i] +=
                u->weight / a * ((double)u->block[i] - (double)v->start[i]);
    }
    v->array[STEPS].sum[0] += u->weight * a;
    v->array[WEIGHT].sum[0] += u->weight;
}

static fc_status server_step(fc_piece_server *v, fc_error *err)
{
    double all = v->array[WEIGHT].sum[0], steps = v->array[STEPS].sum[0] / all;
    (void)err;
    for (int g = 0; g < FC_NGROUP; g++) {
        size_t at, n = fc_params_group_of(v->layout, v->groups, (fc_group)g, &at);
        for (size_t i = at; i < at + n; i++)
            v->global[i] =
                (fc_real)((double)v->start[i] + steps * (v->array[DIRECTION].sum[i] / all));
    }
    v->note = steps;
    return FC_OK;
}

static const fc_piece piece = {.check = check,
                               .arrays = arrays,
                               .fold = fold,
                               .server_step = server_step,
                               .note = "mean of a"};

const fc_method fc_method_fednova = {
    .name = "fednova",
    .paper = "Wang et al., NeurIPS 2020, arXiv 2007.07481",
    .help = "FedNova: FedAvg (full or LoRA) of steps that are made equally long",
    .rule = "average",
    .trained = fc_averaged_trained,
    .options = fc_averaged_rows,
    .n_options = FC_AVERAGED_N,
    .options_size = sizeof(fc_averaged_options),
    .sends_deltas = fc_cl_merge_sends_deltas,
    .train_base = fc_cl_merge_train_base,
    .eval_base = fc_cl_merge_eval_base,
    .piece = &piece};
