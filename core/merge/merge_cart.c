/* CART: see core/merge/rule_cart.h. */
#include "core/merge/rule.h"
#include "core/merge/rule_cart.h"

#include <stddef.h>

static const fc_opt rows[] = {
    {.key = "residual",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_cart_options, scale),
     .def = "0.1",
     .low = -1000,
     .high = 1000,
     .help = "factor on the residuals"},
    {.key = "rank_fraction",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_cart_options, rank_fraction),
     .def = "0.04",
     .low = 0,
     .high = 1,
     .help = "share of the singular values of a residual that are kept"},
    {.key = "lambda",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_cart_options, lambda),
     .def = "1",
     .low = -1000,
     .high = 1000,
     .help = "factor on the result"},
};

const fc_merge_method fc_merge_cart = {
    .name = "cart",
    .paper = "Choi et al., arXiv 2412.12153",
    .help = "mean of the task vectors plus their residuals, cut to a low rank",
    .laws = FC_LAW_ONE_CLIENT | FC_LAW_EQUAL_FIXED | FC_LAW_ORDER,
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(fc_cart_options),
    .combine = fc_rule_cart,
};
