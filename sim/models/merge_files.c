#include "sim/models/merge_files.h"

#include "core/base/parallel.h"
#include "core/base/threads.h"
#include "sim/models/merge_head.h"
#include "sim/models/model_stats.h"

#include <limits.h>
#include <string.h>

/* --- which tensors there are --------------------------------------------------------------------
 */

static bool is_float(const fc_tensor *t)
{
    return t->dtype != FC_I64 && t->dtype != FC_U8;
}

static bool is_linear(const char *name, int ndim)
{
    size_t n = strlen(name), k = strlen(".weight");
    return ndim == 2 && n > k && strcmp(name + n - k, ".weight") == 0 && !strstr(name, "embed");
}

/* Is it of the head of that input, which the rule does not merge? */
static bool is_head_of(const fc_model_file *m, const char *name)
{
    return m->classes > 0 && fc_model_file_is_head(name);
}

/* Index of a tensor, -1 if there is none of that name. */
static int find_tensor(const fc_merge_files *f, const char *name)
{
    for (int t = 0; t < f->set.tensors; t++)
        if (strcmp(f->tensor[t].name, name) == 0)
            return t;
    return -1;
}

static fc_status shape_differs(const fc_merge_files *f, int t, const char *path, int rows, int cols,
                               fc_error *err)
{
    return fc_fail(err, FC_EDATA, "%s: tensor %s is (%d, %d), in an earlier input it is (%d, %d)",
                   path, f->tensor[t].name, rows, cols, f->shape[t].rows, f->shape[t].cols);
}

static fc_status add_tensor(fc_merge_files *f, const char *path, const fc_merge_tensor *x, int rows,
                            int cols, fc_error *err)
{
    int t = find_tensor(f, x->name);
    if (t >= 0 && (f->shape[t].rows != rows || f->shape[t].cols != cols))
        return shape_differs(f, t, path, rows, cols, err);
    if (t >= 0)
        return FC_OK;
    t = f->set.tensors++;
    f->tensor[t] = *x;
    f->shape[t] = (fc_tv_shape){x->name, rows, cols, x->layer || is_linear(x->name, x->ndim)};
    f->tensor[t].base = f->base_path ? fc_st_find(&f->base, x->name) : NULL;
    return FC_OK;
}

/* Without a base of its shape a tensor that was trained as a whole is no task vector. */
static fc_status check_base(const fc_merge_files *f, const char *path, const char *name, int ndim,
                            const int64_t *dim, fc_error *err)
{
    char found[128], want[128];
    if (!f->base_path)
        return fc_fail(err, FC_EUSAGE,
                       "%s: tensor %s is there as a whole, which needs --base, the model that it "
                       "was trained from",
                       path, name);
    const fc_tensor *b = fc_st_find(&f->base, name);
    if (!b)
        return fc_fail(err, FC_EDATA, "%s: tensor %s: the base has none of that name", path, name);
    if (b->ndim == ndim && memcmp(b->dim, dim, (size_t)ndim * sizeof *dim) == 0)
        return FC_OK;
    return fc_fail(err, FC_EDATA, "%s: tensor %s has shape %s, in the base it is %s", path, name,
                   fc_st_shape(found, sizeof found, ndim, dim),
                   fc_st_shape(want, sizeof want, b->ndim, b->dim));
}

static fc_status add_layer(fc_merge_files *f, const char *path, const fc_adapter_layer *l,
                           fc_error *err)
{
    const char *name = fc_arena_format(&f->arena, err, "%s.weight", l->name);
    if (!name)
        return FC_EFAIL;
    fc_merge_tensor x = {.name = name, .ndim = 2, .layer = true};
    x.dim[0] = f->transposed ? l->cols : l->rows;
    x.dim[1] = f->transposed ? l->rows : l->cols;
    if (f->base_path)
        FC_TRY(check_base(f, path, name, 2, x.dim, err));
    return add_tensor(f, path, &x, l->rows, l->cols, err);
}

/* Vectors are matrices of one row. count: its numbers, at least one. */
static fc_status add_whole(fc_merge_files *f, const char *path, const char *name, int ndim,
                           const int64_t *dim, size_t count, fc_error *err)
{
    fc_merge_tensor x = {.name = name, .ndim = ndim};
    size_t rows = ndim > 1 ? (size_t)dim[0] : 1, cols = count / rows;
    FC_TRY(check_base(f, path, name, ndim, dim, err));
    if (rows > INT_MAX || cols > INT_MAX)
        return fc_fail(err, FC_EDATA, "%s: tensor %s: a dimension of more than %d", path, name,
                       INT_MAX);
    memcpy(x.dim, dim, (size_t)ndim * sizeof *dim);
    return add_tensor(f, path, &x, (int)rows, (int)cols, err);
}

static fc_status add_adapter(fc_merge_files *f, const fc_model_file *m, fc_error *err)
{
    const fc_adapter *a = &m->adapter;
    for (int i = 0; i < a->n_layers; i++)
        FC_TRY(add_layer(f, m->path, &a->layer[i], err));
    for (int i = 0; i < a->n_whole; i++)
        if (!is_head_of(m, a->whole[i].name) && a->whole[i].count > 0)
            FC_TRY(add_whole(f, m->path, a->whole[i].name, a->whole[i].ndim, a->whole[i].dim,
                             a->whole[i].count, err));
    return FC_OK;
}

static fc_status add_model(fc_merge_files *f, const fc_model_file *m, const fc_st *st,
                           fc_error *err)
{
    if (f->transposed)
        return fc_fail(err, FC_EUSAGE,
                       "%s: a whole model beside adapters with fan_in_fan_out is not merged",
                       m->path);
    for (int i = 0; i < st->n; i++) {
        const fc_tensor *t = &st->tensor[i];
        if (!is_head_of(m, t->name) && is_float(t) && t->count > 0)
            FC_TRY(add_whole(f, m->path, t->name, t->ndim, t->dim, t->count, err));
    }
    return FC_OK;
}

/* --- the files ----------------------------------------------------------------------------------
 */

/* All adapters have their layers the same way round. */
static fc_status find_direction(fc_merge_files *f, fc_error *err)
{
    bool any = false;
    for (int i = 0; i < f->n; i++) {
        if (!f->file[i].folder)
            continue;
        bool here = f->file[i].adapter.transposed;
        if (any && here != f->transposed)
            return fc_fail(err, FC_EDATA, "%s: fan_in_fan_out is %s, in an earlier input it is %s",
                           f->file[i].path, here ? "true" : "false", here ? "false" : "true");
        any = true;
        f->transposed = here;
    }
    return FC_OK;
}

static fc_status open_all(fc_merge_files *f, const char *const *path, fc_error *err)
{
    size_t n = (size_t)f->n, most = 0;
    f->file = fc_arena_alloc(&f->arena, n, sizeof *f->file, err);
    f->model = fc_arena_alloc(&f->arena, n, sizeof *f->model, err);
    if (!f->file || !f->model)
        return FC_EFAIL;
    if (f->base_path)
        FC_TRY(fc_st_open(&f->base, f->base_path, err));
    for (int i = 0; i < f->n; i++) {
        fc_model_file *m = &f->file[i];
        FC_TRY(fc_model_file_open(m, path[i], &f->arena, err));
        if (!m->folder)
            FC_TRY(fc_st_open(&f->model[i], path[i], err));
        most += m->folder ? (size_t)m->adapter.n_layers + (size_t)m->adapter.n_whole
                          : (size_t)f->model[i].n;
    }
    FC_TRY(find_direction(f, err));
    f->tensor = fc_arena_alloc(&f->arena, most, sizeof *f->tensor, err);
    f->shape = fc_arena_alloc(&f->arena, most, sizeof *f->shape, err);
    if (!f->tensor || !f->shape)
        return FC_EFAIL;
    for (int i = 0; i < f->n; i++)
        FC_TRY(f->file[i].folder ? add_adapter(f, &f->file[i], err)
                                 : add_model(f, &f->file[i], &f->model[i], err));
    f->set.n = f->n;
    f->set.shape = f->shape;
    f->set.kind = "input";
    return fc_merge_head_join(f, err);
}

fc_status fc_merge_files_open(fc_merge_files *f, const char *base, const char *const *path, int n,
                              fc_error *err)
{
    *f = (fc_merge_files){.n = n, .base_path = base};
    fc_status s = open_all(f, path, err);
    if (s != FC_OK)
        fc_merge_files_close(f);
    return s;
}

void fc_merge_files_close(fc_merge_files *f)
{
    for (int i = 0; f->model && i < f->n; i++)
        fc_st_close(&f->model[i]);
    fc_st_close(&f->base);
    fc_arena_free(&f->arena);
    *f = (fc_merge_files){0};
}

/* --- their numbers ------------------------------------------------------------------------------
 */

/* What input i has of tensor t: a layer, a whole tensor of an adapter or of a model, or none. */
typedef struct source {
    const fc_adapter_layer *layer;
    const fc_adapter_whole *whole;
    const fc_tensor *tensor;
} source;

static source source_of(const fc_merge_files *f, int i, int t)
{
    const fc_model_file *m = &f->file[i];
    const char *name = f->tensor[t].name;
    source s = {0};
    if (!m->folder)
        s.tensor = fc_st_find(&f->model[i], name);
    else if (!(s.layer = fc_adapter_find_layer(&m->adapter, name)))
        s.whole = fc_adapter_find_whole(&m->adapter, name);
    return s;
}

double fc_merge_files_bytes(const fc_merge_files *f, bool summed)
{
    double merged = 0, opened = 0, loaded = 0, most = 0; /* numbers */
    for (int t = 0; t < f->set.tensors; t++) {
        double size = (double)fc_tv_size(&f->shape[t]);
        merged += size;
        most = size > most ? size : most;
        for (int i = 0; i < f->n; i++) {
            const source s = source_of(f, i, t);
            if (s.layer)
                opened += s.layer->rank * ((double)s.layer->rows + s.layer->cols);
            opened += s.whole ? size : 0;
            loaded += s.whole || s.tensor ? size : 0;
        }
    }
    if (summed) /* the base's and one input's */
        loaded = 2 * most * fc_threads();
    return (merged + opened + loaded) * (double)sizeof(double);
}

/* A tensor that did not change, as factors. */
static fc_status no_change(fc_tv *tv, const fc_tv_shape *s, fc_arena *arena, fc_error *err)
{
    tv->rank = 1;
    tv->B = fc_arena_alloc(arena, (size_t)s->rows, sizeof *tv->B, err);
    tv->A = fc_arena_alloc(arena, (size_t)s->cols, sizeof *tv->A, err);
    return tv->B && tv->A ? FC_OK : FC_EFAIL;
}

/* Tensor t of the base, NULL without. */
static fc_status load_base(double **base, const fc_merge_files *f, int t, fc_arena *arena,
                           fc_error *err)
{
    const fc_tensor *b = f->tensor[t].base;
    *base = b ? fc_arena_alloc(arena, b->count, sizeof **base, err) : NULL;
    if (!b)
        return FC_OK;
    if (!*base)
        return FC_EFAIL;
    FC_TRY(fc_st_read_double(*base, &f->base, b, err));
    fc_st_forget(&f->base, b);
    return FC_OK;
}

static fc_status load_tensor(fc_tv *tv, const fc_merge_files *f, int i, int t, const double *base,
                             fc_arena *arena, fc_error *err)
{
    const source s = source_of(f, i, t);
    size_t n = fc_tv_size(&f->shape[t]);
    if (s.layer) {
        *tv = (fc_tv){.rank = s.layer->rank, .B = s.layer->B, .A = s.layer->A};
        return FC_OK;
    }
    if (!s.whole && !s.tensor)
        return no_change(tv, &f->shape[t], arena, err);
    double *v = fc_arena_alloc(arena, n, sizeof *v, err);
    if (!v)
        return FC_EFAIL;
    if (s.tensor) {
        FC_TRY(fc_st_read_double(v, &f->model[i], s.tensor, err));
        fc_st_forget(&f->model[i], s.tensor);
    } else {
        memcpy(v, s.whole->v, n * sizeof *v);
    }
    for (size_t e = 0; e < n; e++) /* tau = theta - theta_0 */
        v[e] -= base[e];
    tv->dense = v;
    return FC_OK;
}

fc_status fc_merge_files_load(fc_merge_files *f, fc_error *err)
{
    fc_tv *tv = fc_arena_alloc(&f->arena, (size_t)f->n * (size_t)f->set.tensors, sizeof *tv, err);
    int *id = fc_arena_alloc(&f->arena, (size_t)f->n, sizeof *id, err);
    if (!tv || !id)
        return FC_EFAIL;
    for (int i = 0; i < f->n; i++)
        id[i] = i + 1;
    fc_arena scratch = {0};
    fc_status s = FC_OK;
    for (int t = 0; t < f->set.tensors && s == FC_OK; t++) {
        fc_mark mark = fc_arena_mark(&scratch);
        double *base;
        s = load_base(&base, f, t, &scratch, err);
        for (int i = 0; i < f->n && s == FC_OK; i++)
            s = load_tensor(&tv[fc_tv_index(&f->set, i, t)], f, i, t, base, &f->arena, err);
        fc_arena_release(&scratch, mark);
    }
    fc_arena_free(&scratch);
    f->set.tv = tv;
    f->set.id = id;
    return s;
}

typedef struct sum_job {
    double *const *out;
    const fc_merge_files *f;
    double c;
} sum_job;

/* out_t (rows, cols) = c sum_i tau_it, one input after the other */
static fc_status sum_tensor(void *ctx, int t, fc_arena *scratch, fc_error *err)
{
    const sum_job *j = ctx;
    const fc_tv_shape *s = &j->f->shape[t];
    double *base;
    memset(j->out[t], 0, fc_tv_size(s) * sizeof *j->out[t]);
    FC_TRY(load_base(&base, j->f, t, scratch, err));
    for (int i = 0; i < j->f->n; i++) {
        fc_mark mark = fc_arena_mark(scratch);
        fc_tv tv = {0};
        FC_TRY(load_tensor(&tv, j->f, i, t, base, scratch, err));
        fc_tv_add(j->out[t], j->c, &tv, s);
        fc_arena_release(scratch, mark);
    }
    return FC_OK;
}

fc_status fc_merge_files_sum(double *const *out, const fc_merge_files *f, double c, fc_error *err)
{
    return fc_parallel_for(f->set.tensors, sum_tensor, &(sum_job){out, f, c}, err);
}

/* --- their statistics ---------------------------------------------------------------------------
 */

/* Grams of linear weights, of all inputs or none. */
static fc_status load_grams(const double **gram, fc_merge_files *f, const fc_model_stats *s,
                            fc_error *err)
{
    int found = 0;
    for (int t = 0; t < f->set.tensors; t++) {
        const fc_tv_shape *shape = &f->shape[t];
        bool all = shape->linear;
        for (int i = 0; i < f->n && all; i++) {
            const double **to = &gram[fc_tv_index(&f->set, i, t)];
            FC_TRY(fc_model_stats_gram(to, &s[i], shape->name, shape->cols, &f->arena, err));
            all = *to != NULL;
        }
        for (int i = 0; i < f->n && !all; i++)
            gram[fc_tv_index(&f->set, i, t)] = NULL;
        found += all;
    }
    return found
               ? FC_OK
               : fc_fail(err, FC_EDATA, "%s: no Gram of any layer that is merged", s[0].file.path);
}

static fc_status load_fisher(const double **fisher, fc_merge_files *f, const fc_model_stats *s,
                             fc_error *err)
{
    for (int i = 0; i < f->n; i++)
        for (int t = 0; t < f->set.tensors; t++) {
            const fc_tv_shape *shape = &f->shape[t];
            const double **to = &fisher[fc_tv_index(&f->set, i, t)];
            FC_TRY(
                fc_model_stats_fisher(to, &s[i], shape->name, fc_tv_size(shape), &f->arena, err));
            if (!*to)
                return fc_fail(err, FC_EDATA, "%s: no Fisher information of tensor %s",
                               s[i].file.path, shape->name);
        }
    return FC_OK;
}

static fc_status load_stats(fc_merge_files *f, const fc_model_stats *s, unsigned needs,
                            fc_error *err)
{
    size_t n = (size_t)f->n * (size_t)f->set.tensors;
    const double **table = fc_arena_alloc(&f->arena, n, sizeof *table, err);
    double *rows = fc_arena_alloc(&f->arena, (size_t)f->n, sizeof *rows, err);
    if (!table || !rows)
        return FC_EFAIL;
    if (needs & FC_MERGE_NEEDS_FISHER) {
        f->set.fisher = table;
        return load_fisher(table, f, s, err);
    }
    for (int i = 0; i < f->n; i++)
        rows[i] = s[i].samples;
    f->set.gram = table;
    f->set.gram_rows = rows;
    return load_grams(table, f, s, err);
}

fc_status fc_merge_files_stats(fc_merge_files *f, const char *const *path, int n, unsigned needs,
                               fc_error *err)
{
    if (n != f->n)
        return fc_fail(err, FC_EUSAGE,
                       "%d files of statistics for %d inputs, expected one for each", n, f->n);
    fc_model_stats *s = fc_arena_alloc(&f->arena, (size_t)n, sizeof *s, err);
    fc_status status = s ? FC_OK : FC_EFAIL;
    for (int i = 0; i < n && status == FC_OK; i++)
        status = fc_model_stats_open(&s[i], path[i], err);
    if (status == FC_OK)
        status = load_stats(f, s, needs, err);
    for (int i = 0; s && i < n; i++)
        fc_model_stats_close(&s[i]);
    return status;
}
