/* The axes of a sweep: which values the options take. */
#include "sim/sweep/sweep_parts.h"

#include "core/base/file.h"
#include "core/base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VALUES_MAX = 10000, KEYS_MAX = 16 };

/* Values of a number, spaced evenly or drawn. */
typedef struct spread {
    double low, high;
    bool log, whole; /* whole: the option is a whole number */
} spread;

fc_status fc_sweep_setting(fc_setting *s, const char *key, const char *at_key, const fc_yaml *y,
                           fc_arena *arena, fc_error *err)
{
    if (y->kind == FC_YAML_MAP)
        return fc_yaml_fail(err, y, "%s: found keys, expected a value", key);
    char *section = fc_arena_strdup(arena, key, err);
    const char *at = fc_yaml_at(y, arena, err), *text = y->text;
    if (!section || !at)
        return FC_EFAIL;
    if (y->kind == FC_YAML_LIST)
        FC_TRY(fc_yaml_list_text(&text, y, arena, err));
    char *dot = strchr(section, '.');
    if (dot)
        *dot = '\0';
    *s = (fc_setting){.section = dot ? section : "",
                      .key = dot ? dot + 1 : section,
                      .text = text,
                      .list = y->kind == FC_YAML_LIST,
                      .at_key = at_key,
                      .at = at};
    return FC_OK;
}

static fc_status read_number(double *v, const fc_yaml *y, const char *what, double low, double high,
                             fc_error *err)
{
    const fc_opt row = {.type = FC_OPT_REAL, .low = low, .high = high};
    return fc_yaml_value(v, &row, y, what, err);
}

/* Rounded to 6 digits, or to a whole number; never outside of [low, high]. */
static double rounded(const spread *s, double v)
{
    char text[32];
    snprintf(text, sizeof text, s->whole ? "%.0f" : "%.6g", v);
    return fmin(fmax(strtod(text, NULL), s->low), s->high);
}

/* The value at part u, 0 to 1, of the way from low to high. */
static double value_between(const spread *s, double low, double high, double u)
{
    return s->log ? exp(log(low) + u * (log(high) - log(low))) : low + u * (high - low);
}

/* Each whole number has its share: those at the ends reach half a step out. */
static double drawn(const spread *s, double u)
{
    double out = s->whole ? 0.5 : 0;
    return rounded(s, value_between(s, s->low - out, s->high + out, u));
}

/* The axis's own stream: another axis shifts nothing. */
static double uniform(const fc_draws *d, const char *key, int draw)
{
    char hex[65], word[9];
    fc_sha256(hex, key, strlen(key));
    snprintf(word, sizeof word, "%.8s", hex);
    fc_rng g = fc_rng_at((fc_key){.seed = (uint64_t)d->seed,
                                  .stream = FC_STREAM_SWEEP,
                                  .round = (uint32_t)draw,
                                  .sample = (uint32_t)strtoul(word, NULL, 16)});
    return fc_rng_uniform(&g);
}

/* The n values v of an axis with one key. */
static fc_status add_numbers(fc_axis *a, const double *v, int n, fc_arena *arena, fc_error *err)
{
    const char *at_key = fc_yaml_key_at(a->yaml, arena, err);
    a->n = n;
    a->value = fc_arena_alloc(arena, (size_t)n, sizeof *a->value, err);
    if (!a->value || !at_key)
        return FC_EFAIL;
    for (int i = 0; i < n; i++) {
        char text[32];
        snprintf(text, sizeof text, v[i] == floor(v[i]) && fabs(v[i]) < 1e15 ? "%.0f" : "%.15g",
                 v[i]);
        fc_yaml y = *a->yaml;
        y.kind = FC_YAML_TEXT;
        y.text = fc_arena_strdup(arena, text, err);
        if (!y.text)
            return FC_EFAIL;
        FC_TRY(fc_sweep_setting(&a->value[i], a->key[0], at_key, &y, arena, err));
    }
    return FC_OK;
}

/* `count` numbers, each known as list[i]. */
static fc_status read_numbers(double *v, const fc_yaml *list, int count, const char *what,
                              fc_error *err)
{
    if (list->kind != FC_YAML_LIST || list->n != count)
        return fc_yaml_fail(err, list, "%s: expected a list of %d numbers", what, count);
    for (const fc_yaml *y = list->first; y; y = y->next)
        FC_TRY(read_number(v++, y, what, -1e300, 1e300, err));
    return FC_OK;
}

/* {range: [low, high, step]}, both ends included. */
static fc_status read_range(fc_axis *a, const fc_yaml *list, fc_arena *arena, fc_error *err)
{
    double v[3];
    FC_TRY(read_numbers(v, list, 3, "range", err));
    double steps = floor((v[1] - v[0]) / v[2] * (1 + 1e-9) + 1e-9);
    if (!(v[2] > 0 && v[1] >= v[0] && steps < VALUES_MAX))
        return fc_yaml_fail(err, list,
                            "range: found [%g, %g, %g], expected [low, high, step] with low <= "
                            "high, step > 0 and at most %d values",
                            v[0], v[1], v[2], VALUES_MAX);
    int n = (int)steps + 1;
    double *value = fc_arena_alloc(arena, (size_t)n, sizeof *value, err);
    if (!value)
        return FC_EFAIL;
    spread s = {.low = v[0], .high = v[1]};
    for (int i = 0; i < n; i++) /* 0.1 * 3 is 0.3 and no more */
        value[i] = i == 0 ? v[0] : rounded(&s, v[0] + i * v[2]);
    return add_numbers(a, value, n, arena, err);
}

/* {log: [low, high], n: 5} or, without n, drawn. */
static fc_status read_spread(fc_axis *a, const fc_yaml *list, const fc_yaml *n, bool log_scale,
                             const fc_draws *draws, fc_arena *arena, fc_error *err)
{
    const char *what = log_scale ? "log" : "linear";
    fc_setting option;
    double v[2], count = draws->count;
    FC_TRY(read_numbers(v, list, 2, what, err));
    if (!(v[0] <= v[1] && (v[0] > 0 || !log_scale)))
        return fc_yaml_fail(err, list,
                            "%s: found [%g, %g], expected [low, high] with %slow <= high", what,
                            v[0], v[1], log_scale ? "0 < " : "");
    FC_TRY(
        fc_sweep_setting(&option, a->key[0], "", &(fc_yaml){.text = "", .file = ""}, arena, err));
    const fc_opt *row = fc_setting_option(&option);
    spread s = {.low = v[0],
                .high = v[1],
                .log = log_scale,
                .whole = row && (row->type == FC_OPT_INT || row->type == FC_OPT_SEED)};
    a->drawn = !n;
    if (n)
        FC_TRY(read_number(&count, n, "n", 1, VALUES_MAX, err));
    else if (draws->count == 0)
        return fc_yaml_fail(err, list,
                            "%s: drawn at random, as there is no n: expected draws: {count: N, "
                            "seed: S} in the file, or {%s: [low, high], n: N} here",
                            what, what);
    if (count != floor(count))
        return fc_yaml_fail(err, n, "n: found '%s', expected a whole number", n->text);
    double *value = fc_arena_alloc(arena, (size_t)count, sizeof *value, err);
    if (!value)
        return FC_EFAIL;
    for (int i = 0; i < (int)count; i++)
        value[i] = !n       ? drawn(&s, uniform(draws, a->key[0], i))
                   : i == 0 ? v[0]
                   : i + 1 == (int)count
                       ? v[1]
                       : rounded(&s, value_between(&s, v[0], v[1], i / (count - 1)));
    return add_numbers(a, value, (int)count, arena, err);
}

static fc_status read_map(fc_axis *a, const fc_yaml *map, const fc_draws *draws, fc_arena *arena,
                          fc_error *err)
{
    const fc_yaml *log_scale = fc_yaml_get(map, "log"), *linear = fc_yaml_get(map, "linear");
    const fc_yaml *range = fc_yaml_get(map, "range"), *n = fc_yaml_get(map, "n");
    bool spaced = !log_scale != !linear && !range && map->n == 1 + (n != NULL);
    if (a->n_keys > 1 || !(spaced || (range && map->n == 1)))
        return fc_yaml_fail(err, map,
                            "%s: expected a list of values, {log: [low, high], n: N}, {linear: "
                            "[low, high], n: N} or {range: [low, high, step]} of one option; "
                            "without n: drawn at random",
                            a->yaml->key);
    return range ? read_range(a, range, arena, err)
                 : read_spread(a, log_scale ? log_scale : linear, n, log_scale != NULL, draws,
                               arena, err);
}

/* A list of values, or of lists of one value per key. */
static fc_status read_list(fc_axis *a, fc_arena *arena, fc_error *err)
{
    const fc_yaml *list = a->yaml;
    const char *at_key = fc_yaml_key_at(list, arena, err);
    a->n = list->n;
    a->value = fc_arena_alloc(arena, (size_t)(a->n * a->n_keys), sizeof *a->value, err);
    if (!a->value || !at_key)
        return FC_EFAIL;
    fc_setting *to = a->value;
    for (const fc_yaml *y = list->first; y; y = y->next) {
        const fc_yaml *one = a->n_keys > 1 ? y->first : y;
        if (a->n_keys > 1 && (y->kind != FC_YAML_LIST || y->n != a->n_keys))
            return fc_yaml_fail(err, y, "%s: expected a list of %d values, one for each option",
                                list->key, a->n_keys);
        for (int k = 0; k < a->n_keys; k++, one = one->next)
            FC_TRY(fc_sweep_setting(to++, a->key[k], at_key, one, arena, err));
    }
    return FC_OK;
}

/* "train.lr_A, train.lr_B" at its commas. */
static fc_status split_keys(fc_axis *a, fc_arena *arena, fc_error *err)
{
    char *save = NULL, *text = fc_arena_strdup(arena, a->yaml->key, err);
    a->key = fc_arena_alloc(arena, KEYS_MAX, sizeof *a->key, err);
    if (!text || !a->key)
        return FC_EFAIL;
    for (char *k = strtok_r(text, ", ", &save); k; k = strtok_r(NULL, ", ", &save)) {
        if (a->n_keys == KEYS_MAX)
            return fc_yaml_key_fail(err, a->yaml, "more than %d options in one axis", KEYS_MAX);
        a->key[a->n_keys++] = k;
    }
    return a->n_keys ? FC_OK : fc_yaml_key_fail(err, a->yaml, "an axis without an option's name");
}

fc_status fc_axis_read(fc_axis *axis, const fc_yaml *y, const fc_draws *draws, fc_arena *arena,
                       fc_error *err)
{
    *axis = (fc_axis){.yaml = y};
    FC_TRY(split_keys(axis, arena, err));
    if (y->kind == FC_YAML_MAP)
        return read_map(axis, y, draws, arena, err);
    if (y->kind != FC_YAML_LIST || y->n == 0)
        return fc_yaml_fail(err, y,
                            "%s: found %s%.40s%s, expected a list of values; one value for all "
                            "runs belongs to set",
                            y->key, y->kind == FC_YAML_TEXT ? "'" : "an empty list",
                            y->kind == FC_YAML_TEXT ? y->text : "",
                            y->kind == FC_YAML_TEXT ? "'" : "");
    return read_list(axis, arena, err);
}
