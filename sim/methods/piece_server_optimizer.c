/* Server optimisers: the merged block is a step direction, not the new block.
 *
 * x the block before the round, avg what the rule made of the updates, d = avg - x; per number:
 *
 *   fedavgm     m <- beta1 m + (x - avg)                                   x <- x - lr m
 *   fedadam     m <- beta1 m + (1 - beta1) d,  v <- beta2 v + (1 - beta2) d^2
 *   fedyogi     m alike,  v <- v - (1 - beta2) d^2 sign(v - d^2)
 *   fedadagrad  m = d,    v <- v + d^2                             x <- x + lr m / (sqrt(v) + tau)
 *
 * Hsu et al., arXiv 1909.06335 (FedAvgM, undamped); Reddi et al., ICLR 2021, arXiv 2003.00295. v
 * starts at 0, as in Flower (the paper allows v >= tau^2). bias = adam divides m by 1 - beta1^r and
 * v by 1 - beta2^r in round r from 1; the paper has no such correction, and Flower's has its
 * exponent one too high. Moments begin anew with each task (moments = reset), since a fresh A, B =
 * 0 and other rows of the head make those of the last task meaningless. */
#include "sim/methods/piece.h"

#include <math.h>
#include <stddef.h>

#define KIND_CHOICES "none|fedavgm|fedadam|fedyogi|fedadagrad"
enum { NONE, FEDAVGM, FEDADAM, FEDYOGI, FEDADAGRAD };
#define BIAS_CHOICES "none|adam"
enum { BIAS_NONE, BIAS_ADAM };
#define MOMENTS_CHOICES "reset|keep"
enum { RESET, KEEP };

typedef struct options {
    int optimizer, bias, moments;
    double lr, beta1, beta2, tau;
} options;

static const fc_opt rows[] = {
    {.key = "optimizer",
     .type = FC_OPT_CHOICE,
     .offset = offsetof(options, optimizer),
     .def = "none",
     .choices = KIND_CHOICES,
     .help = "what the server does with a merged block: takes it, or goes a step towards it"},
    {.key = "lr",
     .type = FC_OPT_REAL,
     .offset = offsetof(options, lr),
     .def = "-1",
     .low = -1,
     .high = 1e6,
     .help = "step of the server; -1 = 1 for fedavgm, 0.01 for fedadam and fedyogi, 0.1 for "
             "fedadagrad. About rms(d) + 10 tau makes the first step as long as the mean's; "
             "events.jsonl has rms(d)"},
    {.key = "beta1",
     .type = FC_OPT_REAL,
     .offset = offsetof(options, beta1),
     .def = "0.9",
     .low = 0,
     .high = 0.999999999,
     .help = "decay of the first moment (fedavgm: momentum)"},
    {.key = "beta2",
     .type = FC_OPT_REAL,
     .offset = offsetof(options, beta2),
     .def = "0.99",
     .low = 0,
     .high = 0.999999999,
     .help = "decay of the second moment of fedadam and fedyogi"},
    {.key = "tau",
     .type = FC_OPT_REAL,
     .offset = offsetof(options, tau),
     .def = "0.001",
     .low = 1e-12,
     .high = 1e6,
     .help = "added to the root of the second moment"},
    {.key = "bias",
     .type = FC_OPT_CHOICE,
     .offset = offsetof(options, bias),
     .def = "none",
     .choices = BIAS_CHOICES,
     .help = "fedadam, fedyogi: none (paper), or Adam's correction of both moments"},
    {.key = "moments",
     .type = FC_OPT_CHOICE,
     .offset = offsetof(options, moments),
     .def = "reset",
     .choices = MOMENTS_CHOICES,
     .help = "at the start of a task"},
};

enum { M, V }; /* arrays */

static bool is_on(const void *o)
{
    return ((const options *)o)->optimizer != NONE;
}

static fc_status check(const fc_method_setup *s, const void *options_, fc_error *err)
{
    (void)options_;
    return s->folds
               ? fc_fail(err, FC_EUSAGE,
                         "server.optimizer: method %s adds what is merged to the weights, there "
                         "is no block to step towards; lora_merge with method.carry=svd has one",
                         s->method)
               : FC_OK;
}

static int arrays(fc_array_spec *out, const fc_method_setup *s, const void *options_)
{
    const options *o = options_;
    fc_when reset = o->moments == RESET ? FC_EACH_TASK : FC_NEVER;
    out[M] = (fc_array_spec){.name = "m", .n = s->layout->n, .reset = reset};
    out[V] = (fc_array_spec){.name = "v", .n = s->layout->n, .reset = reset};
    return o->optimizer == FEDAVGM ? 1 : 2;
}

static double step_size(const options *o)
{
    static const double by_kind[] = {
        [FEDAVGM] = 1, [FEDADAM] = 0.01, [FEDYOGI] = 0.01, [FEDADAGRAD] = 0.1};
    return o->lr < 0 ? by_kind[o->optimizer] : o->lr;
}

/* One number: the new x. c1, c2: corrections of the moments. */
static double step_of(fc_real *m, fc_real *v, double x, double avg, const options *o, double c1,
                      double c2)
{
    double d = avg - x, lr = step_size(o), b1 = o->beta1, b2 = o->beta2;
    if (o->optimizer == FEDAVGM) {
        double old = *m;
        *m = (fc_real)(b1 * old + (x - avg));
        if (lr == 1 && (b1 == 0 || old == 0))
            return avg; /* FedAvg's bits */
        return x - lr * *m;
    }
    *m = (fc_real)(o->optimizer == FEDADAGRAD ? d : b1 * *m + (1 - b1) * d);
    double w = *v, dd = d * d;
    w = o->optimizer == FEDADAM   ? b2 * w + (1 - b2) * dd
        : o->optimizer == FEDYOGI ? w - (1 - b2) * dd * ((w > dd) - (w < dd))
                                  : w + dd;
    *v = (fc_real)w;
    return x + lr * (*m / c1) / (sqrt(w / c2) + o->tau);
}

static fc_status server_step(fc_piece_server *s, fc_error *err)
{
    const options *o = s->options;
    bool adam = o->bias == BIAS_ADAM && (o->optimizer == FEDADAM || o->optimizer == FEDYOGI);
    int r = s->round + 1 + (o->moments == KEEP ? s->task * s->setup->rounds : 0);
    double c1 = adam ? 1 - pow(o->beta1, r) : 1, c2 = adam ? 1 - pow(o->beta2, r) : 1;
    double sum = 0;
    size_t count = 0;
    (void)err;
    for (int g = 0; g < FC_NGROUP; g++) {
        size_t at, n = fc_params_group_of(s->layout, s->groups, (fc_group)g, &at);
        for (size_t i = at; i < at + n; i++) {
            double d = (double)s->global[i] - (double)s->start[i];
            fc_real *v = o->optimizer == FEDAVGM ? NULL : &s->array[V].p[i];
            s->global[i] =
                (fc_real)step_of(&s->array[M].p[i], v, s->start[i], s->global[i], o, c1, c2);
            sum += d * d;
        }
        count += n;
    }
    s->note = count ? sqrt(sum / (double)count) : NAN;
    return FC_OK;
}

const fc_piece fc_piece_server_optimizer = {
    .name = "server_optimizer",
    .paper = "Reddi et al., ICLR 2021, arXiv 2003.00295; Hsu et al., arXiv 1909.06335",
    .help =
        "FedAvgM, FedAdam, FedYogi, FedAdagrad: the server goes a step towards the merged block",
    .section = "server",
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(options),
    .on = is_on,
    .check = check,
    .arrays = arrays,
    .server_step = server_step,
    .note = "rms of merged - start"};
