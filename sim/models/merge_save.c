/* The results of merges as files: see sim/models/merge_files.h. */
#include "sim/models/merge_files.h"

#include "core/merge/spectral.h"

#include <math.h>
#include <string.h>

static const fc_merge_tensor *find_tensor(const fc_merge_files *f, const char *name, int *t)
{
    for (*t = 0; *t < f->set.tensors; ++*t)
        if (strcmp(f->tensor[*t].name, name) == 0)
            return &f->tensor[*t];
    return NULL;
}

/* Element e of out as the base has the tensor: layers may be transposed there. */
static double change_at(const fc_merge_files *f, const double *out, int t, size_t e)
{
    const fc_tv_shape *s = &f->shape[t];
    if (!f->tensor[t].layer || !f->transposed)
        return out[e];
    size_t rows = (size_t)s->rows, cols = (size_t)s->cols;
    return out[e % rows * cols + e / rows];
}

/* Element e of a merged tensor fits the float that is saved. */
static fc_status check_float(double x, const char *tensor, size_t e, fc_error *err)
{
    if (isfinite((float)x))
        return FC_OK;
    return fc_fail(err, FC_EFAIL, "merged tensor %s: element %zu is %g, expected a finite float",
                   tensor, e, x);
}

/* v (count) = theta_0 + tau_t (t = -1: as in the base). */
static fc_status add_to_base(double *v, const fc_merge_files *f, const fc_tensor *base,
                             double *const *out, int t, fc_error *err)
{
    FC_TRY(fc_st_read_double(v, &f->base, base, err));
    for (size_t e = 0; t >= 0 && e < base->count; e++) {
        v[e] += change_at(f, out[t], t, e);
        FC_TRY(check_float(v[e], base->name, e, err));
    }
    return FC_OK;
}

static fc_status save_floats(fc_st_entry *e, const double *v, size_t n, fc_arena *arena,
                             fc_error *err)
{
    float *x = fc_arena_alloc(arena, n, sizeof *x, err);
    for (size_t i = 0; x && i < n; i++)
        x[i] = (float)v[i];
    e->dtype = FC_F32;
    e->data = x;
    return x ? FC_OK : FC_EFAIL;
}

/* A tensor of the merged model: numbers that are no floats stay as they are. */
static fc_status model_entry(fc_st_entry *e, const fc_merge_files *f, const fc_tensor *base,
                             double *const *out, fc_arena *arena, fc_arena *scratch, fc_error *err)
{
    int t;
    *e = (fc_st_entry){
        .name = base->name, .dtype = base->dtype, .ndim = base->ndim, .data = base->data};
    memcpy(e->dim, base->dim, sizeof e->dim);
    if (base->dtype == FC_I64 || base->dtype == FC_U8)
        return FC_OK;
    fc_mark mark = fc_arena_mark(scratch);
    double *v = fc_arena_alloc(scratch, base->count, sizeof *v, err);
    if (!v)
        return FC_EFAIL;
    FC_TRY(add_to_base(v, f, base, out, find_tensor(f, base->name, &t) ? t : -1, err));
    FC_TRY(save_floats(e, v, base->count, arena, err));
    fc_arena_release(scratch, mark);
    return FC_OK;
}

/* Those of the base, but for what the inputs say otherwise. */
static fc_status model_metadata(fc_pairs *out, int *n, const fc_merge_files *f, fc_arena *arena,
                                fc_error *err)
{
    size_t most = (size_t)f->base.n_metadata + (size_t)f->n_metadata;
    const char *(*pair)[2] = fc_arena_alloc(arena, most, sizeof *pair, err);
    if (!pair)
        return FC_EFAIL;
    *n = 0;
    for (int i = 0; i < f->base.n_metadata; i++) {
        bool replaced = false;
        for (int k = 0; k < f->n_metadata && !replaced; k++)
            replaced = strcmp(f->base.metadata[i][0], f->metadata[k][0]) == 0;
        if (!replaced)
            memcpy(pair[(*n)++], f->base.metadata[i], sizeof *pair);
    }
    for (int k = 0; k < f->n_metadata; k++)
        memcpy(pair[(*n)++], f->metadata[k], sizeof *pair);
    *out = (fc_pairs)pair;
    return FC_OK;
}

static fc_status save_model(const fc_merge_files *f, double *const *out, const char *path,
                            fc_arena *arena, fc_arena *scratch, fc_error *err)
{
    fc_pairs meta;
    int n = 0, n_meta;
    fc_st_entry *e = fc_arena_alloc(arena, (size_t)f->base.n + 2, sizeof *e, err);
    if (!e)
        return FC_EFAIL;
    for (int i = 0; i < f->base.n; i++)
        if (f->rows == 0 || !fc_model_file_is_head(f->base.tensor[i].name))
            FC_TRY(model_entry(&e[n++], f, &f->base.tensor[i], out, arena, scratch, err));
    if (f->rows > 0) {
        size_t rows = (size_t)f->rows;
        e[n] = (fc_st_entry){.name = "head.weight", .ndim = 2, .dim = {f->rows, f->width}};
        FC_TRY(save_floats(&e[n++], f->head_w, rows * (size_t)f->width, arena, err));
        e[n] = (fc_st_entry){.name = "head.bias", .ndim = 1, .dim = {f->rows}};
        FC_TRY(save_floats(&e[n++], f->head_b, rows, arena, err));
    }
    FC_TRY(model_metadata(&meta, &n_meta, f, arena, err));
    return fc_st_write(path, e, n, meta, n_meta, err);
}

fc_status fc_merge_files_save_model(const fc_merge_files *f, double *const *out, const char *path,
                                    fc_error *err)
{
    fc_arena arena = {0}, scratch = {0};
    fc_status s = save_model(f, out, path, &arena, &scratch, err);
    fc_arena_free(&arena);
    fc_arena_free(&scratch);
    return s;
}

/* --- as an adapter ------------------------------------------------------------------------------
 */

/* What truncation keeps and loses, squared, over all layers. */
typedef struct loss {
    double lost, all;
    int rank;
} loss;

/* The best B A of a rank r (0: all there is), of at least one: tau = U S V^T, B (rows, r) = U_r
 * S_r, A (r, cols) = V_r^T; what is lost is the sum of S_k^2 behind r. */
static fc_status cut_layer(fc_adapter_layer *l, loss *sum, const fc_tv_shape *s, const double *out,
                           int rank, fc_arena *arena, fc_arena *scratch, fc_error *err)
{
    const fc_tv tv = {.dense = out};
    fc_usv x;
    FC_TRY(fc_tv_svd(&x, &tv, s, scratch, err));
    int r = fc_svd_rank(&x);
    r = rank > 0 && rank < r ? rank : r;
    r = r > 0 ? r : 1;
    for (int k = 0; k < x.k; k++) {
        sum->all += x.S[k] * x.S[k];
        sum->lost += k < r ? 0 : x.S[k] * x.S[k];
    }
    sum->rank = r > sum->rank ? r : sum->rank;
    *l = (fc_adapter_layer){.rows = s->rows, .cols = s->cols, .rank = r};
    l->name =
        fc_arena_format(arena, err, "%.*s", (int)(strlen(s->name) - strlen(".weight")), s->name);
    size_t R = (size_t)r, rows = (size_t)s->rows, cols = (size_t)s->cols;
    l->B = fc_arena_alloc(arena, rows * R, sizeof *l->B, err);
    l->A = fc_arena_alloc(arena, R * cols, sizeof *l->A, err);
    if (!l->name || !l->B || !l->A)
        return FC_EFAIL;
    for (size_t i = 0; i < rows; i++)
        for (size_t k = 0; k < R; k++) {
            l->B[i * R + k] = x.U[i * (size_t)x.k + k] * x.S[k];
            FC_TRY(check_float(l->B[i * R + k], s->name, i * R + k, err));
        }
    memcpy(l->A, x.Vt, R * cols * sizeof *l->A);
    return FC_OK;
}

/* base + out; *changed: is out anything but 0? */
static fc_status save_whole(fc_adapter_whole *w, bool *changed, const fc_merge_files *f,
                            double *const *out, int t, fc_arena *arena, fc_error *err)
{
    const fc_merge_tensor *x = &f->tensor[t];
    *w = (fc_adapter_whole){.name = x->name, .ndim = x->ndim, .count = fc_tv_size(&f->shape[t])};
    memcpy(w->dim, x->dim, sizeof w->dim);
    w->v = fc_arena_alloc(arena, w->count, sizeof *w->v, err);
    *changed = false;
    for (size_t e = 0; e < w->count && !*changed; e++)
        *changed = out[t][e] != 0;
    return w->v ? add_to_base(w->v, f, x->base, out, t, err) : FC_EFAIL;
}

static fc_status save_adapter(const fc_merge_files *f, double *const *out, int rank, loss *sum,
                              const char *dir, fc_arena *arena, fc_arena *scratch, fc_error *err)
{
    size_t n = (size_t)f->set.tensors;
    bool changed;
    fc_adapter a = {.base = f->base_path ? f->base_path : "",
                    .transposed = f->transposed,
                    .layer = fc_arena_alloc(arena, n, sizeof *a.layer, err),
                    .whole = fc_arena_alloc(arena, n + 2, sizeof *a.whole, err),
                    .metadata = f->metadata,
                    .n_metadata = f->n_metadata};
    if (!a.layer || !a.whole)
        return FC_EFAIL;
    if (!f->base_path && f->file[0].folder)
        a.base = f->file[0].adapter.base;
    for (int t = 0; t < f->set.tensors; t++) {
        fc_mark mark = fc_arena_mark(scratch);
        if (f->shape[t].linear)
            FC_TRY(cut_layer(&a.layer[a.n_layers++], sum, &f->shape[t], out[t], rank, arena,
                             scratch, err));
        else {
            FC_TRY(save_whole(&a.whole[a.n_whole], &changed, f, out, t, arena, err));
            a.n_whole += changed;
        }
        fc_arena_release(scratch, mark);
    }
    if (f->rows > 0) {
        size_t rows = (size_t)f->rows;
        a.whole[a.n_whole++] = (fc_adapter_whole){
            "head.weight", 2, {f->rows, f->width}, rows * (size_t)f->width, f->head_w};
        a.whole[a.n_whole++] = (fc_adapter_whole){"head.bias", 1, {f->rows}, rows, f->head_b};
    }
    return fc_adapter_write(dir, &a, err);
}

fc_status fc_merge_files_save_adapter(const fc_merge_files *f, double *const *out, int *rank,
                                      double *error, const char *dir, fc_error *err)
{
    fc_arena arena = {0}, scratch = {0};
    loss sum = {0};
    fc_status s = save_adapter(f, out, *rank, &sum, dir, &arena, &scratch, err);
    *rank = sum.rank;
    /* |tau - B A|_F / |tau|_F over all layers */
    *error = sum.all > 0 ? sqrt(sum.lost / sum.all) : 0;
    fc_arena_free(&arena);
    fc_arena_free(&scratch);
    return s;
}
