/* FedDyn: each client's loss gets a term that makes the optima of all of them agree.
 *
 * Acar et al., ICLR 2021, arXiv 2111.04263. theta: the trained block, x: where the clients start,
 * client i keeps h_i, the server the mean h of all of them, both 0 at the start of a task (drift =
 * reset); N: all clients:
 *
 *   client     loss + alpha (|theta - x|^2 / 2 + <h_i, theta - x>), whose gradient is
 *              alpha (theta - x + h_i);   then   h_i <- h_i + y_i - x
 *   server     h <- h + (1 / N) sum_i (y_i - x);   m = mean of y_i by the rule;   x <- m + h
 *
 * What is tested is m (model = mean), and h goes down beside it; or x (cloud), which needs no
 * second block, and which h of clients that seldom take part pulls away. In the paper the mean is
 * over the clients of the round alike: merge.weighted=false. With LoRA it acts on the factors A and
 * B. */
#include "sim/methods/averaged.h"

#include <stddef.h>

#define MODEL_CHOICES "mean|cloud"
enum { MEAN, CLOUD };
#define DRIFT_CHOICES "reset|keep"
enum { RESET, KEEP };

typedef struct options {
    fc_averaged_options base; /* first */
    double alpha;
    int model, drift;
} options;

static const fc_opt rows[] = {
    FC_AVERAGED_ROWS,
    {.key = "alpha",
     .type = FC_OPT_REAL,
     .offset = offsetof(options, alpha),
     .def = "0.01",
     .low = 0,
     .high = 1e6,
     .help = "strength of the term"},
    {.key = "model",
     .type = FC_OPT_CHOICE,
     .offset = offsetof(options, model),
     .def = "mean",
     .choices = MODEL_CHOICES,
     .help = "what is tested: the mean of the clients, or where they start next"},
    {.key = "drift",
     .type = FC_OPT_CHOICE,
     .offset = offsetof(options, drift),
     .def = "reset",
     .choices = DRIFT_CHOICES,
     .help = "what clients and server keep of earlier rounds, at the start of a task"},
};

enum { H, H_I, SUM }; /* arrays */

static const options *opt(const void *o)
{
    return o;
}

static int arrays(fc_array_spec *out, const fc_method_setup *s, const void *o)
{
    fc_when reset = opt(o)->drift == RESET ? FC_EACH_TASK : FC_NEVER;
    fc_when sent = opt(o)->model == MEAN ? FC_EACH_ROUND : FC_NEVER;
    size_t n = s->layout->n;
    out[H] = (fc_array_spec){.name = "h", .n = n, .sent = sent, .reset = reset};
    out[H_I] = (fc_array_spec){.name = "h_i", .owner = FC_OF_CLIENT, .n = n, .reset = reset};
    out[SUM] = (fc_array_spec){.name = "sum", .n = n, .sum = true, .reset = FC_EACH_ROUND};
    return 3;
}

/* Number i of x, from the block that went down and h. */
static double start_at(const fc_real *block, const fc_array *h, const void *o, size_t i)
{
    return (double)block[i] + (opt(o)->model == MEAN ? (double)h->p[i] : 0);
}

static void client_begin(fc_real *w, const fc_piece_client *c)
{
    for (int g = 0; g < FC_NGROUP; g++) {
        size_t at, n = fc_params_group_of(c->layout, c->groups, (fc_group)g, &at);
        for (size_t i = at; i < at + n; i++)
            w[i] = (fc_real)start_at(c->start, &c->array[H], c->options, i);
    }
}

static double regulariser(fc_real *grad, const fc_piece_client *c)
{
    double alpha = opt(c->options)->alpha, value = 0;
    for (int g = 0; g < FC_NGROUP; g++) {
        size_t at, n = fc_params_group_of(c->layout, c->groups, (fc_group)g, &at);
        for (size_t i = at; i < at + n; i++) {
            double h = c->array[H_I].p[i];
            double moved = (double)c->w[i] - start_at(c->start, &c->array[H], c->options, i);
            value += moved * (moved / 2 + h);
            grad[i] += (fc_real)(alpha * (moved + h));
        }
    }
    return alpha * value;
}

static const fc_loss_term term = {.block = regulariser};

static void client_end(fc_piece_client *c)
{
    for (int g = 0; g < FC_NGROUP; g++) {
        size_t at, n = fc_params_group_of(c->layout, c->groups, (fc_group)g, &at);
        for (size_t i = at; i < at + n; i++)
            c->array[H_I].p[i] +=
                (fc_real)((double)c->w[i] - start_at(c->start, &c->array[H], c->options, i));
    }
}

static void fold(fc_piece_server *v, const fc_piece_update *u)
{
    if (u->steps == 0)
        return; /* it did not train */
    for (int g = 0; g < FC_NGROUP; g++) {
        size_t at, n = fc_params_group_of(v->layout, v->groups, (fc_group)g, &at);
        for (size_t i = at; i < at + n; i++)
            v->array[SUM].sum[i] +=
                (double)u->block[i] - start_at(v->start, &v->array[H], v->options, i);
    }
}

static fc_status server_step(fc_piece_server *v, fc_error *err)
{
    (void)err;
    for (int g = 0; g < FC_NGROUP; g++) {
        size_t at, n = fc_params_group_of(v->layout, v->groups, (fc_group)g, &at);
        for (size_t i = at; i < at + n; i++) {
            v->array[H].p[i] += (fc_real)(v->array[SUM].sum[i] / v->setup->clients);
            if (opt(v->options)->model == CLOUD)
                v->global[i] += v->array[H].p[i];
        }
    }
    return FC_OK;
}

static const fc_piece piece = {.arrays = arrays,
                               .client_begin = client_begin,
                               .term = &term,
                               .client_end = client_end,
                               .fold = fold,
                               .server_step = server_step};

const fc_method fc_method_feddyn = {
    .name = "feddyn",
    .paper = "Acar et al., ICLR 2021, arXiv 2111.04263",
    .help = "FedDyn: FedAvg (full or LoRA) with a dynamic regulariser on each client",
    .rule = "average",
    .trained = fc_averaged_trained,
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(options),
    .sends_deltas = fc_cl_merge_sends_deltas,
    .train_base = fc_cl_merge_train_base,
    .eval_base = fc_cl_merge_eval_base,
    .piece = &piece};
