#include "sim/models/adapter.h"

#include "core/base/file.h"
#include "core/linalg/gemm.h"
#include "sim/io/outfile.h"
#include "sim/models/adapter_config.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char config_file[] = "adapter_config.json";
static const char tensor_file[] = "adapter_model.safetensors";
static const char prefix[] = "base_model.model.";

/* --- names --------------------------------------------------------------------------------------
 */

/* What a tensor of the file is. */
typedef enum kind { WHOLE, FACTOR_A, FACTOR_B, UNKNOWN } kind;

/* *name: of the layer, or of the whole tensor. ".lora_A.weight" may also be
 * ".lora_A.<adapter>.weight", as in a model that was saved as it was in memory. */
static kind parse_name(char **name, const char *key, fc_arena *arena, fc_error *err)
{
    size_t skip = strncmp(key, prefix, sizeof prefix - 1) == 0 ? sizeof prefix - 1 : 0;
    char *text = *name = fc_arena_strdup(arena, key + skip, err);
    if (!text)
        return UNKNOWN;
    char *lora = strstr(text, ".lora_");
    if (!lora) { /* a bias beside LoRA factors */
        char *layer = strstr(text, ".base_layer.");
        if (layer)
            memmove(layer, layer + 11, strlen(layer + 11) + 1);
        return WHOLE;
    }
    bool A = strncmp(lora, ".lora_A.", 8) == 0, B = strncmp(lora, ".lora_B.", 8) == 0;
    const char *rest = lora + 8, *dot = A || B ? strchr(rest, '.') : NULL;
    *lora = '\0';
    if (!(A || B) || lora == text || strcmp(dot ? dot + 1 : rest, "weight") != 0)
        return UNKNOWN;
    return A ? FACTOR_A : FACTOR_B;
}

/* --- reading ------------------------------------------------------------------------------------
 */

/* A layer as its two tensors. */
typedef struct pair {
    const char *name;
    const fc_tensor *A, *B;
} pair;

typedef struct reader {
    fc_adapter *a;
    fc_adapter_config config;
    fc_st file;
    pair *pair; /* (a->n_layers) */
    fc_arena *arena;
} reader;

static fc_status read_config(reader *r, const char *dir, fc_error *err)
{
    char path[FC_PATH_MAX];
    void *text;
    size_t n;
    FC_TRY(fc_out_path(path, err, "%s/%s", dir, config_file));
    FC_TRY(fc_file_map(&text, &n, path, FC_EDATA, err));
    fc_status s = fc_adapter_config_parse(&r->config, text, n, path, r->arena, err);
    fc_file_unmap(text, n);
    return s;
}

static fc_status add_whole(reader *r, const char *name, const fc_tensor *t, fc_error *err)
{
    fc_adapter *a = r->a;
    for (int i = 0; i < a->n_whole; i++)
        if (strcmp(a->whole[i].name, name) == 0)
            return fc_fail(err, FC_EDATA, "%s: tensor %s: %s is there twice", r->file.path, t->name,
                           name);
    fc_adapter_whole *w = &a->whole[a->n_whole++];
    *w = (fc_adapter_whole){.name = name, .ndim = t->ndim, .count = t->count};
    memcpy(w->dim, t->dim, sizeof w->dim);
    w->v = fc_arena_alloc(r->arena, t->count, sizeof *w->v, err);
    return w->v ? fc_st_read_double(w->v, &r->file, t, err) : FC_EFAIL;
}

static fc_status add_factor(reader *r, const char *layer, const fc_tensor *t, bool A, fc_error *err)
{
    int i = 0;
    while (i < r->a->n_layers && strcmp(r->pair[i].name, layer) != 0)
        i++;
    if (i == r->a->n_layers)
        r->pair[r->a->n_layers++].name = layer;
    const fc_tensor **to = A ? &r->pair[i].A : &r->pair[i].B;
    if (*to)
        return fc_fail(err, FC_EDATA, "%s: tensor %s: the same factor as tensor %s", r->file.path,
                       t->name, (*to)->name);
    *to = t;
    return FC_OK;
}

/* Whole tensors are read, factors paired. */
static fc_status sort_tensors(reader *r, fc_error *err)
{
    size_t n = (size_t)r->file.n;
    r->a->whole = fc_arena_alloc(r->arena, n, sizeof *r->a->whole, err);
    r->pair = fc_arena_alloc(r->arena, n, sizeof *r->pair, err);
    if (!r->a->whole || !r->pair)
        return FC_EFAIL;
    for (int i = 0; i < r->file.n; i++) {
        const fc_tensor *t = &r->file.tensor[i];
        char *name;
        kind k = parse_name(&name, t->name, r->arena, err);
        if (!name)
            return FC_EFAIL;
        if (k == UNKNOWN)
            return fc_fail(err, FC_EDATA,
                           "%s: tensor %s: expected lora_A.weight or lora_B.weight of a linear "
                           "layer, or a tensor without lora_ in its name",
                           r->file.path, t->name);
        FC_TRY(k == WHOLE ? add_whole(r, name, t, err)
                          : add_factor(r, name, t, k == FACTOR_A, err));
    }
    if (r->a->n_layers == 0)
        return fc_fail(err, FC_EDATA, "%s: no tensor lora_A.weight, expected a LoRA adapter",
                       r->file.path);
    return FC_OK;
}

static fc_status wrong_shape(const reader *r, const fc_tensor *t, const char *expected,
                             fc_error *err)
{
    char found[128];
    return fc_fail(err, FC_EDATA, "%s: tensor %s has shape %s, expected %s", r->file.path, t->name,
                   fc_st_shape(found, sizeof found, t->ndim, t->dim), expected);
}

/* The dimensions of A and B against each other and the config. */
static fc_status check_shapes(const reader *r, const pair *p, int rank, fc_error *err)
{
    char want[96];
    const fc_tensor *there = p->A ? p->A : p->B;
    if (!p->A || !p->B)
        return fc_fail(err, FC_EDATA, "%s: tensor %s: there is no lora_%c of layer %s",
                       r->file.path, there->name, p->A ? 'B' : 'A', p->name);
    snprintf(want, sizeof want, "(%d, n): the rank that %s gives", rank, config_file);
    if (p->A->ndim != 2 || p->A->dim[0] != rank || !(p->A->dim[1] >= 1 && p->A->dim[1] <= INT_MAX))
        return wrong_shape(r, p->A, want, err);
    snprintf(want, sizeof want, "(m, %d), as its lora_A has it", rank);
    if (p->B->ndim != 2 || p->B->dim[1] != rank || !(p->B->dim[0] >= 1 && p->B->dim[0] <= INT_MAX))
        return wrong_shape(r, p->B, want, err);
    return FC_OK;
}

static fc_status read_layer(fc_adapter_layer *l, const reader *r, const pair *p, fc_error *err)
{
    double scale = fc_adapter_scale(&r->config, p->name);
    int rank = fc_adapter_rank(&r->config, p->name);
    FC_TRY(check_shapes(r, p, rank, err));
    *l = (fc_adapter_layer){.name = p->name,
                            .rows = (int)p->B->dim[0],
                            .cols = (int)p->A->dim[1],
                            .rank = rank,
                            .B = fc_arena_alloc(r->arena, p->B->count, sizeof *l->B, err),
                            .A = fc_arena_alloc(r->arena, p->A->count, sizeof *l->A, err)};
    if (!l->B || !l->A)
        return FC_EFAIL;
    FC_TRY(fc_st_read_double(l->A, &r->file, p->A, err));
    FC_TRY(fc_st_read_double(l->B, &r->file, p->B, err));
    for (size_t i = 0; i < p->B->count; i++) { /* dW = scale B A, scale = alpha / r or / sqrt(r) */
        l->B[i] *= scale;
        if (!isfinite(l->B[i]))
            return fc_fail(err, FC_EDATA, "%s: tensor %s: element %zu times the scale %g is %g",
                           r->file.path, p->B->name, i, scale, l->B[i]);
    }
    return FC_OK;
}

static fc_status copy_metadata(reader *r, fc_error *err)
{
    const fc_st *f = &r->file;
    const char *(*copy)[2] = fc_arena_alloc(r->arena, (size_t)f->n_metadata, sizeof *copy, err);
    if (!copy)
        return FC_EFAIL;
    int n = 0;
    for (int i = 0; i < f->n_metadata; i++) {
        if (strcmp(f->metadata[i][0], "format") == 0)
            continue;
        for (int k = 0; k < 2; k++)
            if (!(copy[n][k] = fc_arena_strdup(r->arena, f->metadata[i][k], err)))
                return FC_EFAIL;
        n++;
    }
    r->a->metadata = (const char *const(*)[2])copy;
    r->a->n_metadata = n;
    return FC_OK;
}

static fc_status read_tensors(reader *r, fc_error *err)
{
    FC_TRY(sort_tensors(r, err));
    r->a->layer = fc_arena_alloc(r->arena, (size_t)r->a->n_layers, sizeof *r->a->layer, err);
    if (!r->a->layer)
        return FC_EFAIL;
    for (int i = 0; i < r->a->n_layers; i++)
        FC_TRY(read_layer(&r->a->layer[i], r, &r->pair[i], err));
    return copy_metadata(r, err);
}

fc_status fc_adapter_read(fc_adapter *a, const char *dir, fc_arena *arena, fc_error *err)
{
    char path[FC_PATH_MAX];
    reader r = {.a = a, .arena = arena};
    *a = (fc_adapter){0};
    FC_TRY(read_config(&r, dir, err));
    a->base = r.config.base;
    a->transposed = r.config.transposed;
    FC_TRY(fc_out_path(path, err, "%s/%s", dir, tensor_file));
    FC_TRY(fc_st_open(&r.file, path, err));
    fc_status s = read_tensors(&r, err);
    fc_st_close(&r.file);
    return s;
}

const fc_adapter_layer *fc_adapter_find_layer(const fc_adapter *a, const char *weight)
{
    for (int i = 0; i < a->n_layers; i++) {
        size_t n = strlen(a->layer[i].name);
        if (strncmp(a->layer[i].name, weight, n) == 0 && strcmp(weight + n, ".weight") == 0)
            return &a->layer[i];
    }
    return NULL;
}

const fc_adapter_whole *fc_adapter_find_whole(const fc_adapter *a, const char *name)
{
    for (int i = 0; i < a->n_whole; i++)
        if (strcmp(a->whole[i].name, name) == 0)
            return &a->whole[i];
    return NULL;
}

void fc_adapter_product(double *out, const fc_adapter_layer *l)
{
    /* out (m, n) = B (m, r) A (r, n) */
    fc_dgemm(false, false, l->rows, l->cols, l->rank, 1, l->B, l->rank, l->A, l->cols, 0, out,
             l->cols);
}

bool fc_adapter_is(const char *path)
{
    char file[FC_PATH_MAX];
    return fc_out_find(file, path, config_file);
}

/* --- writing ------------------------------------------------------------------------------------
 */

static int largest_rank(const fc_adapter *a)
{
    int r = 1;
    for (int i = 0; i < a->n_layers; i++)
        r = a->layer[i].rank > r ? a->layer[i].rank : r;
    return r;
}

/* Length of the name of the module that a whole tensor belongs to: all before the last dot. */
static size_t module_of(const fc_adapter_whole *w)
{
    const char *dot = strrchr(w->name, '.');
    return dot ? (size_t)(dot - w->name) : strlen(w->name);
}

static bool in_layer(const fc_adapter *a, const fc_adapter_whole *w)
{
    size_t n = module_of(w);
    for (int i = 0; i < a->n_layers; i++)
        if (strlen(a->layer[i].name) == n && strncmp(a->layer[i].name, w->name, n) == 0)
            return true;
    return false;
}

/* modules_to_save: each module once; null if there is none. */
static json_t *saved_modules(const fc_adapter *a)
{
    json_t *list = json_array();
    for (int i = 0; i < a->n_whole; i++) {
        size_t n = module_of(&a->whole[i]), k = 0;
        if (in_layer(a, &a->whole[i]))
            continue;
        for (; k < json_array_size(list); k++)
            if (json_string_length(json_array_get(list, k)) == n &&
                strncmp(json_string_value(json_array_get(list, k)), a->whole[i].name, n) == 0)
                break;
        if (k == json_array_size(list))
            json_array_append_new(list, json_stringn(a->whole[i].name, n));
    }
    if (json_array_size(list) > 0)
        return list;
    json_decref(list);
    return json_null();
}

/* PEFT takes 1 for the scale: alpha = r, also where the rank of a layer is another. */
static fc_status write_config(const char *dir, const fc_adapter *a, fc_error *err)
{
    char path[FC_PATH_MAX];
    int r = largest_rank(a);
    bool biases = false;
    json_t *targets = json_array(), *ranks = json_object(), *alphas = json_object();
    for (int i = 0; i < a->n_layers; i++) {
        const fc_adapter_layer *l = &a->layer[i];
        json_array_append_new(targets, json_string(l->name));
        if (l->rank == r)
            continue;
        json_object_set_new(ranks, l->name, json_integer(l->rank));
        json_object_set_new(alphas, l->name, json_integer(l->rank));
    }
    for (int i = 0; i < a->n_whole; i++)
        biases = biases || in_layer(a, &a->whole[i]);
    json_t *o =
        json_pack("{s:o, s:s?, s:s, s:b, s:b, s:i, s:f, s:o, s:s, s:i, s:o, s:o, s:n, s:b, s:b}",
                  "alpha_pattern", alphas, "base_model_name_or_path", *a->base ? a->base : NULL,
                  "bias", biases ? "lora_only" : "none", "fan_in_fan_out", (int)a->transposed,
                  "inference_mode", 1, "lora_alpha", r, "lora_dropout", 0.0, "modules_to_save",
                  saved_modules(a), "peft_type", "LORA", "r", r, "rank_pattern", ranks,
                  "target_modules", targets, "task_type", "use_dora", 0, "use_rslora", 0);
    FC_TRY(fc_out_path(path, err, "%s/%s", dir, config_file));
    return fc_out_json(path, o, err);
}

/* One tensor as F32. */
static fc_status add_entry(fc_st_entry *e, const char *name, const double *v, int ndim,
                           const int64_t *dim, fc_arena *arena, fc_error *err)
{
    size_t n = 1;
    *e = (fc_st_entry){.name = name, .dtype = FC_F32, .ndim = ndim};
    for (int i = 0; i < ndim; i++) {
        e->dim[i] = dim[i];
        n *= (size_t)dim[i];
    }
    float *out = fc_arena_alloc(arena, n, sizeof *out, err);
    if (!out || !name)
        return FC_EFAIL;
    for (size_t i = 0; i < n; i++)
        out[i] = (float)v[i];
    e->data = out;
    return FC_OK;
}

static fc_status make_entries(fc_st_entry *e, const fc_adapter *a, fc_arena *arena, fc_error *err)
{
    for (int i = 0; i < a->n_layers; i++) {
        const fc_adapter_layer *l = &a->layer[i];
        FC_TRY(add_entry(e++, fc_arena_format(arena, err, "%s%s.lora_A.weight", prefix, l->name),
                         l->A, 2, (const int64_t[]){l->rank, l->cols}, arena, err));
        FC_TRY(add_entry(e++, fc_arena_format(arena, err, "%s%s.lora_B.weight", prefix, l->name),
                         l->B, 2, (const int64_t[]){l->rows, l->rank}, arena, err));
    }
    for (int i = 0; i < a->n_whole; i++) {
        const fc_adapter_whole *w = &a->whole[i];
        int n = (int)module_of(w);
        FC_TRY(add_entry(e++,
                         in_layer(a, w) ? fc_arena_format(arena, err, "%s%.*s.base_layer%s", prefix,
                                                          n, w->name, w->name + n)
                                        : fc_arena_format(arena, err, "%s%s", prefix, w->name),
                         w->v, w->ndim, w->dim, arena, err));
    }
    return FC_OK;
}

static fc_status write_tensors(const char *dir, const fc_adapter *a, fc_arena *arena, fc_error *err)
{
    char path[FC_PATH_MAX];
    size_t n = 2 * (size_t)a->n_layers + (size_t)a->n_whole, n_pairs = (size_t)a->n_metadata + 1;
    fc_st_entry *entry = fc_arena_alloc(arena, n, sizeof *entry, err);
    const char *(*meta)[2] = fc_arena_alloc(arena, n_pairs, sizeof *meta, err);
    if (!entry || !meta)
        return FC_EFAIL;
    meta[0][0] = "format";
    meta[0][1] = "pt";
    if (a->n_metadata > 0)
        memcpy(meta + 1, a->metadata, (size_t)a->n_metadata * sizeof *meta);
    FC_TRY(make_entries(entry, a, arena, err));
    FC_TRY(fc_out_path(path, err, "%s/%s", dir, tensor_file));
    return fc_st_write(path, entry, (int)n, (const char *const(*)[2])meta, (int)n_pairs, err);
}

fc_status fc_adapter_write(const char *dir, const fc_adapter *a, fc_error *err)
{
    fc_arena arena = {0};
    FC_TRY(fc_mkdirs(dir, err));
    fc_status s = write_tensors(dir, a, &arena, err);
    if (s == FC_OK) /* last: without it the folder is no adapter */
        s = write_config(dir, a, err);
    fc_arena_free(&arena);
    return s;
}
