/* What the methods share that train A and B of LoRA together and merge the products B A. */
#ifndef FC_LORA_MERGE_H
#define FC_LORA_MERGE_H

#include "sim/methods/cl_merge.h"

/* Grams where the merge rule needs them (RegMean): full ones of every layer, which the rule
 * shrinks, and of the head, with the same factor on the off-diagonals. */
fc_gram_plan fc_lora_merge_grams(const fc_method_setup *s);

#endif
