#include "core/vit/vit_layout.h"

#include "core/base/rng.h"
#include "core/linalg/gemm.h"

#include <stdio.h>
#include <string.h>

/* Names and dimensions of timm's tensors. D width, Q 3 D, H hidden, T tokens, P patch. */
typedef struct row {
    const char *name, *dims;
} row;
static const row first[FC_VIT_BLOCK0] = {{"cls_token", "11D"},
                                         {"pos_embed", "1TD"},
                                         {"patch_embed.proj.weight", "D3PP"},
                                         {"patch_embed.proj.bias", "D"}};
static const row block[FC_VIT_PER_BLOCK] = {
    {"norm1.weight", "D"},  {"norm1.bias", "D"},        {"attn.qkv.weight", "QD"},
    {"attn.qkv.bias", "Q"}, {"attn.proj.weight", "DD"}, {"attn.proj.bias", "D"},
    {"norm2.weight", "D"},  {"norm2.bias", "D"},        {"mlp.fc1.weight", "HD"},
    {"mlp.fc1.bias", "H"},  {"mlp.fc2.weight", "DH"},   {"mlp.fc2.bias", "D"}};
static const row last[2] = {{"norm.weight", "D"}, {"norm.bias", "D"}};

int fc_vit_tokens(const fc_vit_shape *s)
{
    int grid = s->image / s->patch;
    return 1 + grid * grid;
}

fc_status fc_vit_check(const fc_vit_shape *s, const char *where, fc_error *err)
{
    const struct {
        const char *name;
        int value, high;
    } size[] = {{"image", s->image, 4096}, {"patch", s->patch, 4096}, {"width", s->width, 16384},
                {"depth", s->depth, 1024}, {"heads", s->heads, 1024}, {"hidden", s->hidden, 65536}};
    for (size_t i = 0; i < sizeof size / sizeof *size; i++)
        if (size[i].value < 1 || size[i].value > size[i].high)
            return fc_fail(err, FC_EUSAGE, "%s: %s is %d, expected 1 to %d", where, size[i].name,
                           size[i].value, size[i].high);
    if (s->image % s->patch)
        return fc_fail(err, FC_EUSAGE, "%s: image side %d is not a multiple of the patch side %d",
                       where, s->image, s->patch);
    if (s->image / s->patch > 128)
        return fc_fail(err, FC_EUSAGE, "%s: %d patches along a side, expected at most 128", where,
                       s->image / s->patch);
    if (s->width % s->heads)
        return fc_fail(err, FC_EUSAGE, "%s: width %d is not a multiple of the %d heads", where,
                       s->width, s->heads);
    return FC_OK;
}

static int dim_of(const fc_vit_shape *s, char letter)
{
    switch (letter) {
    case 'D':
        return s->width;
    case 'Q':
        return 3 * s->width;
    case 'H':
        return s->hidden;
    case 'T':
        return fc_vit_tokens(s);
    case 'P':
        return s->patch;
    default:
        return letter - '0';
    }
}

static size_t count_of(const fc_vit_shape *s, const row *r, int n)
{
    size_t sum = 0;
    for (int i = 0; i < n; i++) {
        size_t count = 1;
        for (const char *c = r[i].dims; *c; c++)
            count *= (size_t)dim_of(s, *c);
        sum += count;
    }
    return sum;
}

size_t fc_vit_offset(const fc_vit_shape *s, int tensor)
{
    if (tensor < FC_VIT_BLOCK0)
        return count_of(s, first, tensor);
    int b = (tensor - FC_VIT_BLOCK0) / FC_VIT_PER_BLOCK;
    int i = (tensor - FC_VIT_BLOCK0) % FC_VIT_PER_BLOCK;
    size_t start =
        count_of(s, first, FC_VIT_BLOCK0) + (size_t)b * count_of(s, block, FC_VIT_PER_BLOCK);
    return start + count_of(s, b == s->depth ? last : block, i);
}

static void add_rows(fc_params *out, fc_spec *spec, const fc_vit_shape *s, const row *r, int n,
                     const char *prefix)
{
    for (int i = 0; i < n; i++) {
        char name[FC_NAME_MAX];
        snprintf(name, sizeof name, "%s%s", prefix, r[i].name);
        int dim[FC_DIMS_MAX], ndim = 0;
        for (const char *c = r[i].dims; *c; c++)
            dim[ndim++] = dim_of(s, *c);
        fc_params_add(out, spec, name, FC_GROUP_BACKBONE, ndim, dim);
    }
}

static int backbone_tensors(const fc_vit_shape *s)
{
    return FC_VIT_BLOCK0 + FC_VIT_PER_BLOCK * s->depth + 2;
}

static void add_backbone(fc_params *out, fc_spec *spec, const fc_vit_shape *s)
{
    add_rows(out, spec, s, first, FC_VIT_BLOCK0, "");
    for (int b = 0; b < s->depth; b++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "blocks.%d.", b);
        add_rows(out, spec, s, block, FC_VIT_PER_BLOCK, prefix);
    }
    add_rows(out, spec, s, last, 2, "");
}

fc_status fc_vit_layout(fc_params *out, const fc_vit_shape *s, fc_arena *arena, fc_error *err)
{
    fc_spec *spec = fc_arena_alloc(arena, (size_t)backbone_tensors(s), sizeof *spec, err);
    if (!spec)
        return FC_EFAIL;
    *out = (fc_params){0};
    add_backbone(out, spec, s);
    return FC_OK;
}

int fc_vit_slots(const fc_vit_shape *s)
{
    return 4 * s->depth;
}

int fc_slot_tensor(int slot)
{
    static const int in_block[4] = {FC_QKVW, FC_PROJW, FC_FC1W, FC_FC2W};
    return FC_VIT_BLOCK0 + FC_VIT_PER_BLOCK * (slot / 4) + in_block[slot % 4];
}

void fc_slot_dims(const fc_vit_shape *s, int slot, int *d_out, int *d_in)
{
    const char *dims = block[(fc_slot_tensor(slot) - FC_VIT_BLOCK0) % FC_VIT_PER_BLOCK].dims;
    *d_out = dim_of(s, dims[0]);
    *d_in = dim_of(s, dims[1]);
}

void fc_slot_offsets(const fc_vit_shape *s, int slot, int rank, size_t *A, size_t *B)
{
    *A = *B = 0;
    size_t per_block_A = 0, per_block_B = 0;
    for (int i = 0; i < 4; i++) {
        int d_out, d_in;
        fc_slot_dims(s, i, &d_out, &d_in);
        if (i == slot % 4) {
            *A = per_block_A;
            *B = per_block_B;
        }
        per_block_A += (size_t)rank * (size_t)d_in;
        per_block_B += (size_t)rank * (size_t)d_out;
    }
    *A += (size_t)(slot / 4) * per_block_A;
    *B += (size_t)(slot / 4) * per_block_B;
}

static void add_lora(fc_params *out, fc_spec *spec, const fc_vit_shape *s, int slot, int rank,
                     fc_group group)
{
    int d_out, d_in;
    fc_slot_dims(s, slot, &d_out, &d_in);
    char name[FC_NAME_MAX], *dot;
    const char *layer = block[(fc_slot_tensor(slot) - FC_VIT_BLOCK0) % FC_VIT_PER_BLOCK].name;
    snprintf(name, sizeof name, "blocks.%d.%s", slot / 4, layer);
    dot = strrchr(name, '.'); /* replace ".weight" */
    snprintf(dot, sizeof name - (size_t)(dot - name), group == FC_GROUP_A ? ".lora_A" : ".lora_B");
    int A[] = {rank, d_in}, B[] = {d_out, rank};
    fc_params_add(out, spec, name, group, 2, group == FC_GROUP_A ? A : B);
}

fc_status fc_train_layout(fc_params *out, const fc_vit_shape *s, fc_train_mode mode, int rank,
                          int classes, fc_arena *arena, fc_error *err)
{
    int slots = fc_vit_slots(s);
    int below = mode == FC_TRAIN_LORA ? 2 * slots : mode == FC_TRAIN_FULL ? backbone_tensors(s) : 0;
    fc_spec *spec = fc_arena_alloc(arena, (size_t)below + 2, sizeof *spec, err);
    if (!spec)
        return FC_EFAIL;
    *out = (fc_params){0};
    if (mode == FC_TRAIN_FULL)
        add_backbone(out, spec, s);
    for (int i = 0; mode == FC_TRAIN_LORA && i < 2 * slots; i++)
        add_lora(out, spec, s, i % slots, rank, i < slots ? FC_GROUP_A : FC_GROUP_B);
    fc_params_add(out, spec, "head.weight", FC_GROUP_HEAD, 2, (int[]){classes, s->width});
    fc_params_add(out, spec, "head.bias", FC_GROUP_HEAD, 1, &classes);
    return FC_OK;
}

int fc_train_A(int slot)
{
    return slot;
}

int fc_train_B(const fc_vit_shape *s, int slot)
{
    return fc_vit_slots(s) + slot;
}

int fc_train_head(const fc_params *train)
{
    return train->nspec - 2;
}

fc_status fc_vit_grams(fc_grams *out, const fc_vit_shape *s, double alpha_slots, double alpha_head,
                       fc_arena *arena, fc_error *err)
{
    int n = fc_vit_slots(s) + 1;
    int *dim = fc_arena_alloc(arena, (size_t)n, sizeof *dim, err);
    double *alpha = fc_arena_alloc(arena, (size_t)n, sizeof *alpha, err);
    if (!dim || !alpha)
        return FC_EFAIL;
    for (int i = 0, d_out; i < n - 1; i++) {
        fc_slot_dims(s, i, &d_out, &dim[i]);
        alpha[i] = alpha_slots;
    }
    dim[n - 1] = s->width;
    alpha[n - 1] = alpha_head;
    return fc_grams_init(out, n, dim, alpha, arena, err);
}

double fc_vit_flop(const fc_vit_shape *s, int rank, int classes, fc_train_mode mode,
                   unsigned groups, bool backward)
{
    double T = fc_vit_tokens(s), D = s->width, L = s->depth, r = mode == FC_TRAIN_LORA ? rank : 0;
    bool w = mode == FC_TRAIN_FULL && (groups & 1u << FC_GROUP_BACKBONE);
    bool A = r > 0 && (groups & 1u << FC_GROUP_A), B = r > 0 && (groups & 1u << FC_GROUP_B);
    bool head = groups & 1u << FC_GROUP_HEAD;
    double weights = 0, thin_in = 0, thin_out = 0; /* multiply-adds of one token */
    for (int i = 0; i < 4; i++) {
        int d_out, d_in;
        fc_slot_dims(s, i, &d_out, &d_in);
        weights += (double)d_out * d_in;
        thin_in += r * d_in;
        thin_out += r * d_out;
    }
    double attention = 2 * T * T * D, patches = (T - 1) * 3 * s->patch * s->patch * D;
    double top = classes * D, layers = L * (T * (weights + thin_in + thin_out) + attention);
    double sum = layers + patches + top;
    if (!backward)
        return 2 * sum;
    if (head)
        sum += top;
    if (w || A || B) { /* dX of every layer but the first, attention's four products, parameters */
        int d_out, d_in;
        fc_slot_dims(s, 0, &d_out, &d_in);
        sum += layers + L * attention + top;
        sum += L * T * ((w ? weights : 0) + (A ? thin_in : 0) + (B ? thin_out : 0));
        sum += w ? patches : -T * d_in * (d_out + r);
    }
    return 2 * sum;
}

/* ---- starts ------------------------------------------------------------------------------- */

static void fill_uniform(fc_real *p, size_t n, double bound, fc_key key)
{
    fc_rng g = fc_rng_at(key);
    for (size_t i = 0; i < n; i++)
        p[i] = (fc_real)(bound * (2 * fc_rng_uniform(&g) - 1));
}

/* N(0, std) without the values beyond +-2: timm's trunc_normal_. */
static void fill_normal(fc_real *p, size_t n, double std, fc_key key)
{
    fc_rng g = fc_rng_at(key);
    for (size_t i = 0; i < n; i++) {
        double x;
        do
            x = std * fc_rng_normal(&g);
        while (x < -2 || x > 2);
        p[i] = (fc_real)x;
    }
}

void fc_vit_init(fc_params *w, uint64_t seed)
{
    double patch_bound = 1 / sqrt((double)w->spec[FC_VIT_PATCH_W].cols);
    for (int i = 0; i < w->nspec; i++) {
        const fc_spec *s = &w->spec[i];
        if (s->group != FC_GROUP_BACKBONE)
            continue;
        fc_real *p = w->p + s->offset;
        fc_key key = {.seed = seed, .stream = FC_STREAM_INIT_VIT, .sample = (uint32_t)i};
        bool norm_weight = s->ndim == 1 && strstr(s->name, "norm") && strstr(s->name, ".weight");
        if (i == FC_VIT_CLS)
            fill_normal(p, fc_spec_size(s), 1e-6, key);
        else if (i == FC_VIT_PATCH_W || i == FC_VIT_PATCH_B)
            fill_uniform(p, fc_spec_size(s), patch_bound, key);
        else if (s->ndim > 1)
            fill_normal(p, fc_spec_size(s), 0.02, key);
        else
            for (size_t j = 0; j < fc_spec_size(s); j++)
                p[j] = norm_weight;
    }
}

void fc_head_init(fc_params *train, uint64_t seed)
{
    const fc_spec *head = &train->spec[fc_train_head(train)];
    fill_normal(train->p + head[0].offset, fc_spec_size(head), 0.02,
                (fc_key){.seed = seed, .stream = FC_STREAM_INIT_HEAD});
    memset(train->p + head[1].offset, 0, fc_spec_size(head + 1) * sizeof *train->p);
}

void fc_lora_init(fc_params *train, const fc_vit_shape *s, uint64_t seed, int task)
{
    for (int slot = 0; slot < fc_vit_slots(s); slot++) {
        const fc_spec *A = &train->spec[fc_train_A(slot)], *B = &train->spec[fc_train_B(s, slot)];
        fc_key key = {.seed = seed,
                      .stream = FC_STREAM_INIT_LORA,
                      .task = (uint32_t)task,
                      .sample = (uint32_t)slot};
        fill_uniform(train->p + A->offset, fc_spec_size(A), 1 / sqrt((double)A->cols), key);
        memset(train->p + B->offset, 0, fc_spec_size(B) * sizeof *train->p);
    }
}

void fc_lora_apply(fc_real *dst, const fc_vit_shape *s, int rank, const fc_real *A,
                   const fc_real *B, fc_real scale)
{
    for (int slot = 0; slot < fc_vit_slots(s); slot++) {
        int o, d;
        fc_slot_dims(s, slot, &o, &d);
        size_t a, b;
        fc_slot_offsets(s, slot, rank, &a, &b);
        /* W += scale B A    (o, r) (r, d) */
        fc_gemm(false, false, o, d, rank, scale, B + b, rank, A + a, d, 1,
                dst + fc_vit_offset(s, fc_slot_tensor(slot)), d);
    }
}
