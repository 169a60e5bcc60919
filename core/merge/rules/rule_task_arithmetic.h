/* Task Arithmetic (Ilharco et al., ICLR 2023):
 *
 *     tau = lambda sum_i tau_i
 *
 * Beyond in and out: nothing; factors are multiplied into out. */
#ifndef FC_RULE_TASK_ARITHMETIC_H
#define FC_RULE_TASK_ARITHMETIC_H

#include "core/merge/combine.h"

typedef struct fc_task_arithmetic_options {
    double lambda; /* 0.3 */
} fc_task_arithmetic_options;

fc_combine fc_rule_task_arithmetic;

#endif
