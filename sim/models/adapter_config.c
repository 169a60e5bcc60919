#include "sim/models/adapter_config.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

/* What is being parsed. */
typedef struct parser {
    json_t *root;
    const char *name;
    fc_arena *arena;
} parser;

static fc_status wrong_value(const parser *p, const char *key, const char *expected, fc_error *err)
{
    return fc_fail(err, FC_EDATA, "%s: %s: expected %s", p->name, key, expected);
}

/* The value of a key, NULL where it is absent or null: both mean its default. */
static const json_t *get_value(const parser *p, const char *key)
{
    const json_t *v = json_object_get(p->root, key);
    return json_is_null(v) ? NULL : v;
}

static fc_status get_bool(bool *out, const parser *p, const char *key, fc_error *err)
{
    const json_t *v = get_value(p, key);
    if (v && !json_is_boolean(v))
        return wrong_value(p, key, "true or false", err);
    *out = json_is_true(v);
    return FC_OK;
}

/* A rank: a whole number; an alpha: any number of that range. */
enum { RANK_MAX = 65536 };
static const double alpha_max = 1e6;

static bool is_rank(const json_t *v)
{
    return json_is_integer(v) && json_integer_value(v) >= 1 && json_integer_value(v) <= RANK_MAX;
}

static bool is_alpha(const json_t *v)
{
    return json_is_number(v) && fabs(json_number_value(v)) <= alpha_max;
}

/* Names are patterns in PEFT; we read those that are plain ends of names. */
static bool is_plain(const char *key)
{
    key += *key == '^';
    return *key && !strpbrk(key, "^$*+?()[]{}|\\");
}

static fc_status get_patterns(fc_adapter_pattern **out, int *n, const parser *p, const char *key,
                              bool (*good)(const json_t *v), const char *expected, fc_error *err)
{
    json_t *v = json_object_get(p->root, key), *number;
    const char *name;
    *n = 0;
    if (!v || json_is_null(v))
        return FC_OK;
    if (!json_is_object(v))
        return wrong_value(p, key, "an object of numbers", err);
    *out = fc_arena_alloc(p->arena, json_object_size(v), sizeof **out, err);
    if (!*out)
        return FC_EFAIL;
    json_object_foreach(v, name, number)
    {
        if (!is_plain(name))
            return fc_fail(err, FC_EDATA,
                           "%s: %s: '%.200s' is a regular expression, expected the end of a "
                           "layer's name",
                           p->name, key, name);
        if (!good(number))
            return fc_fail(err, FC_EDATA, "%s: %s: the value of '%.200s': expected %s", p->name,
                           key, name, expected);
        fc_adapter_pattern *to = &(*out)[(*n)++];
        to->value = json_number_value(number);
        to->key = fc_arena_strdup(p->arena, name, err);
        if (!to->key)
            return FC_EFAIL;
    }
    return FC_OK;
}

static fc_status parse_config(fc_adapter_config *c, const parser *p, fc_error *err)
{
    static const char a_rank[] = "a whole number from 1 to 65536";
    static const char an_alpha[] = "a number from -1e6 to 1e6";
    bool dora = false;
    if (!json_is_object(p->root))
        return fc_fail(err, FC_EDATA, "%s: not an object, expected the config of an adapter",
                       p->name);
    const char *type = json_string_value(get_value(p, "peft_type"));
    if (!type || strcmp(type, "LORA") != 0)
        return wrong_value(p, "peft_type", "\"LORA\"", err);
    if (!is_rank(get_value(p, "r")))
        return wrong_value(p, "r", a_rank, err);
    c->r = (int)json_integer_value(get_value(p, "r"));
    if (!is_alpha(get_value(p, "lora_alpha")))
        return wrong_value(p, "lora_alpha", an_alpha, err);
    c->alpha = json_number_value(get_value(p, "lora_alpha"));
    FC_TRY(get_bool(&c->rslora, p, "use_rslora", err));
    FC_TRY(get_bool(&c->transposed, p, "fan_in_fan_out", err));
    FC_TRY(get_bool(&dora, p, "use_dora", err));
    if (dora)
        return wrong_value(p, "use_dora", "false: DoRA is not a sum of matrices", err);
    FC_TRY(get_patterns(&c->rank, &c->n_ranks, p, "rank_pattern", is_rank, a_rank, err));
    FC_TRY(get_patterns(&c->alphas, &c->n_alphas, p, "alpha_pattern", is_alpha, an_alpha, err));
    const json_t *base = get_value(p, "base_model_name_or_path");
    if (base && !json_is_string(base))
        return wrong_value(p, "base_model_name_or_path", "a text", err);
    c->base = fc_arena_strdup(p->arena, base ? json_string_value(base) : "", err);
    return c->base ? FC_OK : FC_EFAIL;
}

fc_status fc_adapter_config_parse(fc_adapter_config *c, const void *text, size_t n,
                                  const char *name, fc_arena *arena, fc_error *err)
{
    json_error_t why;
    parser p = {json_loadb(text, n, JSON_REJECT_DUPLICATES, &why), name, arena};
    if (!p.root)
        return fc_fail(err, FC_EDATA, "%s:%d:%d: not valid JSON: %s", name, why.line, why.column,
                       why.text);
    *c = (fc_adapter_config){0};
    fc_status s = parse_config(c, &p, err);
    json_decref(p.root);
    return s;
}

/* The value of the first pattern that the layer ends with. */
static double match_pattern(const fc_adapter_pattern *p, int n, const char *layer, double otherwise)
{
    size_t length = strlen(layer);
    for (int i = 0; i < n; i++) {
        bool whole = *p[i].key == '^';
        const char *key = p[i].key + whole;
        size_t k = strlen(key);
        if (k > length || (whole && k < length) || strcmp(layer + length - k, key) != 0)
            continue;
        if (k == length || layer[length - k - 1] == '.')
            return p[i].value;
    }
    return otherwise;
}

int fc_adapter_rank(const fc_adapter_config *c, const char *layer)
{
    return (int)match_pattern(c->rank, c->n_ranks, layer, c->r);
}

double fc_adapter_scale(const fc_adapter_config *c, const char *layer)
{
    double r = fc_adapter_rank(c, layer),
           alpha = match_pattern(c->alphas, c->n_alphas, layer, c->alpha);
    return alpha / (c->rslora ? sqrt(r) : r);
}
