#include "sim/methods/averaged.h"

#include <string.h>

enum { FULL, LORA };

const fc_opt fc_averaged_rows[FC_AVERAGED_N] = {FC_AVERAGED_ROWS};

fc_trained fc_averaged_trained(const fc_method_setup *s)
{
    const fc_averaged_options *o = s->options;
    return (fc_trained){.mode = o->train == LORA ? FC_TRAIN_LORA : FC_TRAIN_FULL};
}

fc_status fc_averaged_only(const fc_method_setup *s, fc_error *err)
{
    if (strcmp(s->rule->name, "average") == 0)
        return FC_OK;
    return fc_fail(err, FC_EUSAGE,
                   "merge.rule: method %s makes the mean on the server itself, found %s, expected "
                   "average",
                   s->method, s->rule->name);
}
