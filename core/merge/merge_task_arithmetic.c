/* Task Arithmetic: see core/merge/rule_task_arithmetic.h. */
#include "core/merge/rule.h"
#include "core/merge/rule_task_arithmetic.h"

#include <stddef.h>

static const fc_opt rows[] = {
    {.key = "lambda",
     .type = FC_OPT_REAL,
     .offset = offsetof(fc_task_arithmetic_options, lambda),
     .def = "0.3",
     .low = -1000,
     .high = 1000,
     .help = "factor on the sum"},
};

static double scale_task_arithmetic(const void *options, double total)
{
    (void)total;
    return ((const fc_task_arithmetic_options *)options)->lambda;
}

const fc_merge_method fc_merge_task_arithmetic = {
    .name = "task_arithmetic",
    .paper = "Ilharco et al., ICLR 2023, arXiv 2212.04089",
    .help = "lambda times the sum of the task vectors",
    .laws = FC_LAW_ORDER,
    .options = rows,
    .n_options = sizeof rows / sizeof *rows,
    .options_size = sizeof(fc_task_arithmetic_options),
    .combine = fc_rule_task_arithmetic,
    .scale = scale_task_arithmetic,
};
