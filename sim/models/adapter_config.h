/* adapter_config.json of a PEFT adapter: which scale its factors have. Read by
 * sim/models/adapter.h. */
#ifndef FC_ADAPTER_CONFIG_H
#define FC_ADAPTER_CONFIG_H

#include "core/base/arena.h"
#include "core/base/status.h"

#include <stdbool.h>
#include <stddef.h>

/* A number for the layers of a name. */
typedef struct fc_adapter_pattern {
    const char *key; /* the end of a layer's name: "attn.qkv", "blocks.0.attn.qkv"; "^" in front:
                        the whole name */
    double value;
} fc_adapter_pattern;

typedef struct fc_adapter_config {
    const char *base; /* base_model_name_or_path, "" if there is none */
    int r;
    double alpha;    /* lora_alpha */
    bool rslora;     /* use_rslora */
    bool transposed; /* fan_in_fan_out */
    int n_ranks, n_alphas;
    fc_adapter_pattern *rank, *alphas; /* rank_pattern, alpha_pattern; the first match counts */
} fc_adapter_config;

/* Of n bytes of text; name heads the messages. What other versions of PEFT add is passed over, but
 * for what changes the meaning of the factors (DoRA, other peft_types): refused. Errors: FC_EDATA
 * names the key, what was found and what is expected. */
fc_status fc_adapter_config_parse(fc_adapter_config *c, const void *text, size_t n,
                                  const char *name, fc_arena *arena, fc_error *err);

/* Rank that a layer has by the patterns, else r. */
int fc_adapter_rank(const fc_adapter_config *c, const char *layer);

/* The change of its weight is scale B A: alpha / r, with rslora alpha / sqrt(r); both by their
 * patterns. */
double fc_adapter_scale(const fc_adapter_config *c, const char *layer);

#endif
