/* SCAFFOLD: control variates against the drift of the clients, for full fine-tuning or LoRA.
 *
 * Karimireddy et al., ICML 2020, arXiv 1910.06378. The server keeps c, client i keeps c_i, all 0 at
 * the start of a task (control = reset); theta: the trained block, x: as received.
 *
 *   step          theta <- theta - lr (g - c_i + c)                          through the optimiser
 *   option 2      c_i' = c_i - c + (x - y_i) / (a lr), a = k steps of plain SGD, with momentum rho
 *                 as fc_optim_plain_steps says
 *   option 1      c_i' = gradient of the mean loss over all its images at x: one more pass
 *   server        x by the rule (mean of y_i); c <- c + (1 / N) sum_i (c_i' - c_i), N all clients
 *
 * Sent: y_i and c_i' - c_i up, x and c down: twice FedAvg's. Option 2 takes (x - y_i) for a sum of
 * gradients, so it wants SGD at a constant rate; the released forks apply c - c_i outside momentum
 * or ignore momentum in a, we do neither. */
#include "sim/methods/averaged.h"

#include <stddef.h>

#define OPTION_CHOICES "auto|1|2"
enum { OPTION_AUTO, OPTION_1, OPTION_2 };
#define CONTROL_CHOICES "reset|keep"
enum { RESET, KEEP };

typedef struct options {
    fc_averaged_options base; /* first */
    int option, control;
} options;

static const fc_opt rows[] = {
    FC_AVERAGED_ROWS,
    {.key = "option",
     .type = FC_OPT_CHOICE,
     .offset = offsetof(options, option),
     .def = "auto",
     .choices = OPTION_CHOICES,
     .help =
         "a client's control variate: 1 = its gradient at what it received (one more pass), 2 = "
         "from how far it went (train.optimizer sgd, constant rate)"},
    {.key = "control",
     .type = FC_OPT_CHOICE,
     .offset = offsetof(options, control),
     .def = "reset",
     .choices = CONTROL_CHOICES,
     .help = "control variates at the start of a task"},
};

enum { C, C_I, DELTA, SUM }; /* arrays */

static const options *opt(const void *o)
{
    return o;
}

/* Is (x - y) / (a lr) a mean of gradients? */
static bool steps_are_gradients(const fc_method_setup *s)
{
    return s->optim.kind == FC_SGD && s->schedule == FC_CONSTANT && s->warmup == 0;
}

static fc_status check(const fc_method_setup *s, const void *o, fc_error *err)
{
    if (opt(o)->option != OPTION_2 || steps_are_gradients(s))
        return FC_OK;
    if (s->optim.kind != FC_SGD)
        return fc_fail(err, FC_EUSAGE,
                       "method.option: SCAFFOLD option 2 needs train.optimizer=sgd (or use "
                       "method.option=1, which takes one more pass)");
    return fc_fail(err, FC_EUSAGE,
                   "method.option: SCAFFOLD option 2 needs a constant learning rate: "
                   "train.schedule=constant train.warmup=0 (or method.option=1)");
}

static int arrays(fc_array_spec *out, const fc_method_setup *s, const void *o)
{
    fc_when reset = opt(o)->control == RESET ? FC_EACH_TASK : FC_NEVER;
    size_t n = s->layout->n;
    out[C] = (fc_array_spec){.name = "c", .n = n, .sent = FC_EACH_ROUND, .reset = reset};
    out[C_I] = (fc_array_spec){.name = "c_i", .owner = FC_OF_CLIENT, .n = n, .reset = reset};
    out[DELTA] = (fc_array_spec){.name = "delta", .owner = FC_SENT_UP, .n = n};
    out[SUM] = (fc_array_spec){.name = "sum", .n = n, .sum = true, .reset = FC_EACH_ROUND};
    return 4;
}

/* g += c - c_i; no value: it is no gradient of anything that the client knows. */
static double correction(fc_real *grad, const fc_piece_client *c)
{
    for (int g = 0; g < FC_NGROUP; g++) {
        size_t at, n = fc_params_group_of(c->layout, c->groups, (fc_group)g, &at);
        for (size_t i = at; i < at + n; i++)
            grad[i] += c->array[C].p[i] - c->array[C_I].p[i];
    }
    return 0;
}

static const fc_loss_term term = {.block = correction};

static bool gradient(const fc_method_setup *s, const void *o)
{
    return opt(o)->option == OPTION_1 || (opt(o)->option == OPTION_AUTO && !steps_are_gradients(s));
}

static void client_end(fc_piece_client *c)
{
    const fc_optim_config *optim = &c->setup->optim;
    double a = fc_optim_plain_steps(optim, c->steps);
    if (c->steps == 0)
        return; /* no image: c_i stays, and nothing is sent of it */
    for (int g = 0; g < FC_NGROUP; g++) {
        size_t at, n = fc_params_group_of(c->layout, c->groups, (fc_group)g, &at);
        double lr = optim->lr[g];
        if (n == 0 || (lr == 0 && !c->gradient))
            continue;
        for (size_t i = at; i < at + n; i++) {
            double old = c->array[C_I].p[i], moved = (double)c->start[i] - (double)c->w[i];
            double now = c->gradient ? c->gradient[i] : old - c->array[C].p[i] + moved / (a * lr);
            c->array[C_I].p[i] = (fc_real)now;
            c->array[DELTA].p[i] = (fc_real)(now - old);
        }
    }
}

static void fold(fc_piece_server *v, const fc_piece_update *u)
{
    for (size_t i = 0; i < u->array[DELTA].n; i++)
        v->array[SUM].sum[i] += u->array[DELTA].p[i];
}

static fc_status server_step(fc_piece_server *v, fc_error *err)
{
    (void)err;
    for (size_t i = 0; i < v->array[C].n; i++) /* c += sum_i (c_i' - c_i) / N */
        v->array[C].p[i] += (fc_real)(v->array[SUM].sum[i] / v->setup->clients);
    return FC_OK;
}

static const fc_piece piece = {.check = check,
                               .arrays = arrays,
                               .term = &term,
                               .gradient = gradient,
                               .client_end = client_end,
                               .fold = fold,
                               .server_step = server_step};

const fc_method fc_method_scaffold = {
    .name = "scaffold",
    .paper = "Karimireddy et al., ICML 2020, arXiv 1910.06378",
    .help = "SCAFFOLD: FedAvg (full or LoRA) with control variates against client drift",
    .rule = "average",
    .trained = fc_averaged_trained,
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(options),
    .sends_deltas = fc_cl_merge_sends_deltas,
    .train_base = fc_cl_merge_train_base,
    .eval_base = fc_cl_merge_eval_base,
    .piece = &piece};
