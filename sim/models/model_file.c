#include "sim/models/model_file.h"

#include "core/base/file.h"
#include "sim/io/outfile.h"

#include <limits.h>
#include <string.h>

/* --- the head -----------------------------------------------------------------------------------
 */

static fc_status set_head(fc_model_file *m, int ndim_w, const int64_t *dim_w, int ndim_b,
                          const int64_t *dim_b, fc_arena *arena, fc_error *err)
{
    char w[96], b[96];
    if (ndim_w != 2 || ndim_b != 1 || dim_w[0] != dim_b[0] || !(dim_w[0] >= 1) ||
        !(dim_w[1] >= 1) || dim_w[0] > INT_MAX || dim_w[1] > INT_MAX)
        return fc_fail(err, FC_EDATA,
                       "%s: head.weight has shape %s and head.bias %s, expected (classes, width) "
                       "and (classes)",
                       m->path, fc_st_shape(w, sizeof w, ndim_w, dim_w),
                       fc_st_shape(b, sizeof b, ndim_b, dim_b));
    m->classes = (int)dim_w[0];
    m->width = (int)dim_w[1];
    size_t n = (size_t)m->classes;
    m->head_w = fc_arena_alloc(arena, n * (size_t)m->width, sizeof *m->head_w, err);
    m->head_b = fc_arena_alloc(arena, n, sizeof *m->head_b, err);
    return m->head_w && m->head_b ? FC_OK : FC_EFAIL;
}

static fc_status open_model(fc_model_file *m, const fc_st *f, fc_arena *arena, fc_error *err)
{
    const fc_tensor *w = fc_st_find(f, "head.weight"), *b = fc_st_find(f, "head.bias");
    if (w && b) {
        FC_TRY(set_head(m, w->ndim, w->dim, b->ndim, b->dim, arena, err));
        FC_TRY(fc_st_read(m->head_w, f, w, err));
        FC_TRY(fc_st_read(m->head_b, f, b, err));
    }
    return fc_model_meta_read(&m->meta, (fc_pairs)f->metadata, f->n_metadata, m->path, m->classes,
                              arena, err);
}

static void narrow(fc_real *out, const double *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (fc_real)v[i];
}

static fc_status open_adapter(fc_model_file *m, fc_arena *arena, fc_error *err)
{
    FC_TRY(fc_adapter_read(&m->adapter, m->path, arena, err));
    const fc_adapter *a = &m->adapter;
    const fc_adapter_whole *w = fc_adapter_find_whole(a, "head.weight"),
                           *b = fc_adapter_find_whole(a, "head.bias");
    if (w && b) {
        FC_TRY(set_head(m, w->ndim, w->dim, b->ndim, b->dim, arena, err));
        narrow(m->head_w, w->v, w->count);
        narrow(m->head_b, b->v, b->count);
    }
    return fc_model_meta_read(&m->meta, a->metadata, a->n_metadata, m->path, m->classes, arena,
                              err);
}

bool fc_model_file_is_head(const char *name)
{
    return strcmp(name, "head.weight") == 0 || strcmp(name, "head.bias") == 0;
}

fc_status fc_model_file_open(fc_model_file *m, const char *path, fc_arena *arena, fc_error *err)
{
    fc_st f;
    *m = (fc_model_file){.path = path, .folder = fc_adapter_is(path)};
    if (m->folder)
        return open_adapter(m, arena, err);
    FC_TRY(fc_st_open(&f, path, err));
    fc_status s = open_model(m, &f, arena, err);
    fc_st_close(&f);
    return s;
}

/* --- its config ---------------------------------------------------------------------------------
 */

fc_status fc_model_file_config(fc_config *c, const fc_model_file *m, const char *config,
                               char *const *override, int n, fc_error *err)
{
    if (config)
        return fc_config_load(c, config, override, n, err);
    fc_arena arena = {0};
    int known = m->meta.n_settings;
    fc_setting *all = fc_arena_alloc(&arena, (size_t)(known + n), sizeof *all, err);
    fc_status s = all ? FC_OK : FC_EFAIL;
    if (s == FC_OK && known > 0)
        memcpy(all, m->meta.setting, (size_t)known * sizeof *all);
    for (int i = 0; i < n && s == FC_OK; i++) {
        const char *at = fc_arena_format(&arena, err, "argument %d", i + 1);
        s = at ? fc_setting_parse(&all[known + i], override[i], at, &arena, err) : FC_EFAIL;
    }
    if (s == FC_OK)
        s = fc_config_load_settings(c, NULL, all, known + n, err);
    fc_arena_free(&arena);
    return s;
}

/* --- the backbone -------------------------------------------------------------------------------
 */

/* The base that the adapter's config names. */
static fc_status find_base(const char **base, const fc_model_file *m, fc_arena *arena,
                           fc_error *err)
{
    const char *name = m->adapter.base;
    const char *beside = fc_arena_format(arena, err, "%s/%s", m->path, name);
    if (!beside)
        return FC_EFAIL;
    *base = fc_file_exists(beside) ? beside : name;
    if (!*name || !fc_file_exists(*base))
        return fc_fail(
            err, FC_EDATA,
            "%s: which backbone? '%.200s' of its config is no file here, expected --base "
            "FILE.safetensors",
            m->path, name);
    return FC_OK;
}

/* The backbone's tensor of that name and size, FC_EDATA if there is none. */
static fc_status find_tensor(const fc_spec **out, const fc_model_file *m, const char *name,
                             int rows, int cols, fc_error *err)
{
    const fc_spec *s = *out = fc_params_find(&m->w, name);
    if (!s)
        return fc_fail(err, FC_EDATA, "%s: %s: the backbone has no such tensor", m->path, name);
    if (s->rows != rows || s->cols != cols)
        return fc_fail(err, FC_EDATA, "%s: %s: the adapter's is (%d, %d), the backbone's (%d, %d)",
                       m->path, name, rows, cols, s->rows, s->cols);
    return FC_OK;
}

/* W += B A, rounded once. */
static fc_status add_layer(fc_model_file *m, const fc_adapter_layer *l, fc_arena *scratch,
                           fc_error *err)
{
    const fc_spec *spec;
    size_t n = (size_t)l->rows * (size_t)l->cols;
    double *sum = fc_arena_alloc(scratch, n, sizeof *sum, err);
    const char *name = fc_arena_format(scratch, err, "%s.weight", l->name);
    if (!sum || !name)
        return FC_EFAIL;
    FC_TRY(find_tensor(&spec, m, name, l->rows, l->cols, err));
    fc_real *w = m->w.p + spec->offset;
    fc_adapter_product(sum, l);
    for (size_t i = 0; i < n; i++)
        w[i] = (fc_real)((double)w[i] + sum[i]);
    return FC_OK;
}

static fc_status replace_tensor(fc_model_file *m, const fc_adapter_whole *x, fc_error *err)
{
    const fc_spec *s = fc_params_find(&m->w, x->name);
    if (strncmp(x->name, "head.", 5) == 0)
        return FC_OK;
    if (!s || fc_spec_size(s) != x->count)
        return fc_fail(err, FC_EDATA, "%s: %s: the backbone has no such tensor of %zu numbers",
                       m->path, x->name, x->count);
    narrow(m->w.p + s->offset, x->v, x->count);
    return FC_OK;
}

static fc_status apply_adapter(fc_model_file *m, fc_error *err)
{
    const fc_adapter *a = &m->adapter;
    fc_arena scratch = {0};
    fc_status s = FC_OK;
    if (a->transposed)
        return fc_fail(err, FC_EDATA,
                       "%s: fan_in_fan_out: no layer of a Vision Transformer is transposed",
                       m->path);
    for (int i = 0; i < a->n_layers && s == FC_OK; i++) {
        fc_mark mark = fc_arena_mark(&scratch);
        s = add_layer(m, &a->layer[i], &scratch, err);
        fc_arena_release(&scratch, mark);
    }
    for (int i = 0; i < a->n_whole && s == FC_OK; i++)
        s = replace_tensor(m, &a->whole[i], err);
    fc_arena_free(&scratch);
    return s;
}

fc_status fc_model_file_load(fc_model_file *m, const char *base, const fc_config *c,
                             fc_arena *arena, fc_error *err)
{
    if (m->classes == 0)
        return fc_fail(err, FC_EDATA,
                       "%s: no head, expected head.weight (classes, width) and head.bias (classes)",
                       m->path);
    if (base && !m->folder)
        return fc_fail(err, FC_EUSAGE, "%s: a whole model needs no --base", m->path);
    if (m->folder && !base)
        FC_TRY(find_base(&base, m, arena, err));
    FC_TRY(fc_vit_load(&m->w, &m->shape, m->folder ? base : m->path, c->data.image_size,
                       c->backbone.heads, arena, err));
    if (m->width != m->shape.width)
        return fc_fail(err, FC_EDATA, "%s: the head is for %d features, the backbone gives %d",
                       m->path, m->width, m->shape.width);
    return m->folder ? apply_adapter(m, err) : FC_OK;
}
