/* FedProx: a client's loss gets (mu / 2) |theta - x|^2, x the block that it received.
 *
 * Li et al., "Federated optimization in heterogeneous networks", MLSys 2020, arXiv 1812.06127. The
 * gradient mu (theta - x) of every trained tensor, the head included, goes through the optimiser
 * like that of the images. With LoRA it acts on the factors: |A - A_x|^2 + |B - B_x|^2. */
#include "sim/methods/piece.h"

#include <stddef.h>

typedef struct options {
    double prox_mu;
} options;

static const fc_opt rows[] = {
    {.key = "prox_mu",
     .type = FC_OPT_REAL,
     .offset = offsetof(options, prox_mu),
     .def = "0",
     .low = 0,
     .high = 1e6,
     .help = "FedProx: weight mu of (mu / 2) |theta - x|^2 in a client's loss, x what it received; "
             "authors: 0.001 to 1, 0 = off"},
};

static bool is_on(const void *o)
{
    return ((const options *)o)->prox_mu > 0;
}

static double penalty(fc_real *grad, const fc_piece_client *c)
{
    double mu = ((const options *)c->options)->prox_mu, sum = 0;
    for (int g = 0; g < FC_NGROUP; g++) {
        size_t at, n = fc_params_group_of(c->layout, c->groups, (fc_group)g, &at);
        for (size_t i = at; i < at + n; i++) {
            double d = (double)c->w[i] - (double)c->start[i];
            grad[i] += (fc_real)(mu * d); /* g += mu (theta - x) */
            sum += d * d;
        }
    }
    return 0.5 * mu * sum;
}

static const fc_loss_term term = {.block = penalty};

const fc_piece fc_piece_prox = {.name = "prox",
                                .paper = "Li et al. (FedProx), MLSys 2020, arXiv 1812.06127",
                                .help = "FedProx: clients are held near what they received",
                                .section = "train",
                                .options = rows,
                                .n_options = sizeof rows / sizeof *rows,
                                .options_size = sizeof(options),
                                .on = is_on,
                                .term = &term};
