#include "core/vit/vit_io.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- position embedding ------------------------------------------------------------------- */

/* Keys' cubic convolution kernel, a = -0.5 (Keys 1981). */
static double cubic_kernel(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2)
        return a * (((x - 5) * x + 8) * x - 4);
    return 0;
}

/* W (n_out, n_in): output i is centred at scale (i + 1/2) of the input; where the grid shrinks the
 * kernel is stretched (antialias), and each row sums to 1. As torch's interpolate(mode='bicubic',
 * antialias=True, align_corners=False). */
static void resize_weights(double *W, int n_out, int n_in)
{
    double scale = (double)n_in / n_out, stretch = scale > 1 ? scale : 1;
    for (int i = 0; i < n_out; i++, W += n_in) {
        double centre = scale * (i + 0.5), sum = 0;
        for (int j = 0; j < n_in; j++)
            sum += W[j] = cubic_kernel((j + 0.5 - centre) / stretch);
        for (int j = 0; j < n_in; j++)
            W[j] /= sum;
    }
}

/* out (rows, n_out, D) = W applied to the middle dimension of in (rows, n_in, D). */
static void resize_axis(double *out, const double *in, const double *W, int rows, int n_out,
                        int n_in, int D)
{
    for (int r = 0; r < rows; r++, in += (size_t)n_in * (size_t)D)
        for (int i = 0; i < n_out; i++, out += D) {
            memset(out, 0, (size_t)D * sizeof *out);
            for (int j = 0; j < n_in; j++) {
                double weight = W[(size_t)i * (size_t)n_in + (size_t)j];
                const double *x = in + (size_t)j * (size_t)D;
                for (int d = 0; weight != 0 && d < D; d++)
                    out[d] += weight * x[d];
            }
        }
}

/* out (1 + n_out^2, D) from in (1 + n_in^2, D): timm's resample_abs_pos_embed with one class token.
 */
static fc_status resample_position(fc_real *out, const double *in, int n_out, int n_in, int D,
                                   fc_arena *scratch, fc_error *err)
{
    size_t d = (size_t)D, no = (size_t)n_out, ni = (size_t)n_in;
    double *W = fc_arena_alloc(scratch, no * ni, sizeof *W, err);
    double *wide = fc_arena_alloc(scratch, ni * no * d, sizeof *wide, err);
    double *grid = fc_arena_alloc(scratch, no * no * d, sizeof *grid, err);
    if (!W || !wide || !grid)
        return FC_EFAIL;
    resize_weights(W, n_out, n_in);
    resize_axis(wide, in + D, W, n_in, n_out, n_in, D);
    resize_axis(grid, wide, W, 1, n_out, n_in, n_out * D);
    for (size_t i = 0; i < d; i++)
        out[i] = (fc_real)in[i];
    for (size_t i = 0; i < no * no * d; i++)
        out[d + i] = (fc_real)grid[i];
    return FC_OK;
}

/* ---- loading ------------------------------------------------------------------------------ */

static const fc_tensor *find_tensor(const fc_st *f, const char *name, int ndim, fc_error *err)
{
    const fc_tensor *t = fc_st_find(f, name);
    if (!t)
        fc_fail(err, FC_EDATA, "%s: no tensor %s, expected a timm Vision Transformer", f->path,
                name);
    else if (t->ndim != ndim)
        fc_fail(err, FC_EDATA, "%s: tensor %s has %d dimensions, expected %d", f->path, name,
                t->ndim, ndim);
    else
        return t;
    return NULL;
}

static int depth_of(const fc_st *f)
{
    char name[FC_NAME_MAX];
    for (int depth = 0;; depth++) {
        snprintf(name, sizeof name, "blocks.%d.norm1.weight", depth);
        if (!fc_st_find(f, name))
            return depth;
    }
}

/* A size from a file as int; what does not fit becomes 0, which fc_vit_check refuses. */
static int small_size(int64_t x)
{
    return x > 0 && x < 1 << 20 ? (int)x : 0;
}

static int grid_of(int64_t tokens)
{
    int grid = 0;
    while ((int64_t)(grid + 1) * (grid + 1) <= small_size(tokens - 1))
        grid++;
    return grid;
}

/* Heads of the file's metadata; 0 if it has none or a text that is no number. */
static int heads_of(const fc_st *f)
{
    const char *text = fc_st_metadata(f, "heads");
    return text ? small_size(strtol(text, NULL, 10)) : 0;
}

/* The shape of the network as stored. */
static fc_status stored_shape(fc_vit_shape *s, const fc_st *f, fc_error *err)
{
    const fc_tensor *patch = find_tensor(f, "patch_embed.proj.weight", 4, err);
    const fc_tensor *pos = patch ? find_tensor(f, "pos_embed", 3, err) : NULL;
    const fc_tensor *fc1 = pos ? find_tensor(f, "blocks.0.mlp.fc1.weight", 2, err) : NULL;
    if (!fc1)
        return FC_EDATA;
    int64_t tokens = pos->dim[1];
    int grid = grid_of(tokens);
    if ((int64_t)grid * grid + 1 != tokens)
        return fc_fail(err, FC_EDATA,
                       "%s: pos_embed has %lld tokens, expected 1 + a square (one class token, a "
                       "square grid of patches)",
                       f->path, (long long)tokens);
    *s = (fc_vit_shape){.patch = small_size(patch->dim[2]),
                        .width = small_size(patch->dim[0]),
                        .depth = depth_of(f),
                        .heads = 1,
                        .hidden = small_size(fc1->dim[0])};
    s->image = grid * s->patch;
    if (fc_st_metadata(f, "heads"))
        s->heads = heads_of(f);
    fc_error bad = {0};
    if (fc_vit_check(s, f->path, &bad) != FC_OK)
        return fc_fail(err, FC_EDATA, "%s", bad.msg);
    return FC_OK;
}

/* What the caller asks for on top of what is stored. */
static fc_status wanted_shape(fc_vit_shape *s, const fc_st *f, int image, int heads, fc_error *err)
{
    if (image > 0)
        s->image = image;
    if (!fc_st_metadata(f, "heads")) {
        if (heads <= 0 && s->width % 64)
            return fc_fail(err, FC_EUSAGE,
                           "%s: number of heads unknown: no metadata key heads, and the width %d "
                           "is not a multiple of 64; give it in the config",
                           f->path, s->width);
        s->heads = heads > 0 ? heads : s->width / 64;
    } else if (heads > 0 && heads != s->heads) {
        return fc_fail(err, FC_EUSAGE, "%s: %d heads, but %d are asked for", f->path, s->heads,
                       heads);
    }
    return fc_vit_check(s, f->path, err);
}

static bool same_dims(const fc_tensor *t, const fc_spec *s, int64_t tokens)
{
    bool same = t->ndim == s->ndim;
    for (int i = 0; same && i < s->ndim; i++)
        same = t->dim[i] == (tokens > 0 && i == 1 ? tokens : s->dim[i]);
    return same;
}

/* tokens: what dimension 1 of pos_embed is in the file; 0 for every other tensor. */
static fc_status check_dims(const fc_st *f, const fc_tensor *t, const fc_spec *s, int64_t tokens,
                            fc_error *err)
{
    if (same_dims(t, s, tokens))
        return FC_OK;
    int64_t dim[FC_DIMS_MAX];
    for (int i = 0; i < s->ndim; i++)
        dim[i] = tokens > 0 && i == 1 ? tokens : s->dim[i];
    char found[128], expected[128];
    return fc_fail(err, FC_EDATA, "%s: tensor %s has shape %s, expected %s", f->path, s->name,
                   fc_st_shape(found, sizeof found, t->ndim, t->dim),
                   fc_st_shape(expected, sizeof expected, s->ndim, dim));
}

/* stored: image side of the file's position embedding. */
static fc_status read_tensors(fc_params *w, const fc_vit_shape *s, int stored, const fc_st *f,
                              fc_arena *scratch, fc_error *err)
{
    int n_in = stored / s->patch, n_out = s->image / s->patch;
    for (int i = 0; i < w->nspec; i++) {
        const fc_spec *spec = &w->spec[i];
        const fc_tensor *t = find_tensor(f, spec->name, spec->ndim, err);
        if (!t)
            return FC_EDATA;
        FC_TRY(check_dims(f, t, spec, i == FC_VIT_POS ? n_in * n_in + 1 : 0, err));
        if (i != FC_VIT_POS || n_in == n_out) {
            FC_TRY(fc_st_read(w->p + spec->offset, f, t, err));
            continue;
        }
        double *pos = fc_arena_alloc(scratch, t->count, sizeof *pos, err);
        if (!pos)
            return FC_EFAIL;
        FC_TRY(fc_st_read_double(pos, f, t, err));
        FC_TRY(resample_position(w->p + spec->offset, pos, n_out, n_in, s->width, scratch, err));
    }
    return FC_OK;
}

static fc_status load_vit(fc_params *w, fc_vit_shape *s, const fc_st *f, int image, int heads,
                          fc_arena *arena, fc_error *err)
{
    fc_params layout;
    FC_TRY(stored_shape(s, f, err));
    int stored = s->image;
    FC_TRY(wanted_shape(s, f, image, heads, err));
    FC_TRY(fc_vit_layout(&layout, s, arena, err));
    FC_TRY(fc_params_alloc(w, &layout, arena, err));
    fc_arena scratch = {0};
    fc_status status = read_tensors(w, s, stored, f, &scratch, err);
    fc_arena_free(&scratch);
    return status;
}

fc_status fc_vit_load(fc_params *w, fc_vit_shape *s, const char *path, int image, int heads,
                      fc_arena *arena, fc_error *err)
{
    fc_st f = {0};
    FC_TRY(fc_st_open(&f, path, err));
    fc_params params;
    fc_vit_shape shape;
    fc_status status = load_vit(&params, &shape, &f, image, heads, arena, err);
    fc_st_close(&f);
    if (status == FC_OK) {
        *w = params;
        *s = shape;
    }
    return status;
}

/* ---- saving ------------------------------------------------------------------------------- */

static fc_status save_vit(const char *path, const fc_model *m, const fc_vit_extra *more,
                          fc_arena *scratch, fc_error *err)
{
    const fc_vit_shape *s = m->shape;
    fc_params w;
    FC_TRY(fc_vit_layout(&w, s, scratch, err));
    size_t most = (size_t)w.nspec + 2 + (size_t)more->n_entries;
    size_t n_pairs = (size_t)more->n_metadata + 3;
    fc_st_entry *entry = fc_arena_alloc(scratch, most, sizeof *entry, err);
    const char *(*pair)[2] = fc_arena_alloc(scratch, n_pairs, sizeof *pair, err);
    if (!entry || !pair)
        return FC_EFAIL;
    w.p = (fc_real *)(uintptr_t)m->w; /* only read */
    int n = 0;
    for (; n < w.nspec; n++)
        entry[n] = fc_st_entry_of(&w, &w.spec[n]);
    if (m->head_w) {
        fc_dtype dtype = entry[0].dtype;
        entry[n++] = (fc_st_entry){"head.weight", dtype, 2, {m->classes, s->width}, m->head_w};
        entry[n++] = (fc_st_entry){"head.bias", dtype, 1, {m->classes}, m->head_b};
    }
    for (int i = 0; i < more->n_entries; i++)
        entry[n++] = more->entry[i];
    char heads[16], image[16];
    snprintf(heads, sizeof heads, "%d", s->heads);
    snprintf(image, sizeof image, "%d", s->image);
    const char *const own[][2] = {{"format", "pt"}, {"heads", heads}, {"image", image}};
    memcpy(pair, own, sizeof own);
    if (more->n_metadata > 0)
        memcpy(pair + 3, more->metadata, (size_t)more->n_metadata * sizeof *pair);
    return fc_st_write(path, entry, n, (const char *const(*)[2])pair, (int)n_pairs, err);
}

fc_status fc_vit_save(const char *path, const fc_model *m, const fc_vit_extra *more, fc_error *err)
{
    static const fc_vit_extra none = {0};
    fc_arena scratch = {0};
    fc_status status = save_vit(path, m, more ? more : &none, &scratch, err);
    fc_arena_free(&scratch);
    return status;
}
