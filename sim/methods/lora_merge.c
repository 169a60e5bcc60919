#include "sim/methods/lora_merge.h"

#include "core/merge/merge.h"
#include "core/merge/rules/rule_regmean.h"

fc_gram_plan fc_lora_merge_grams(const fc_method_setup *s)
{
    if (s->rule != fc_merge_find("regmean"))
        return (fc_gram_plan){0};
    const fc_regmean_options *o = s->rule_options;
    return (fc_gram_plan){1, o->off_diagonal, 1, false};
}
