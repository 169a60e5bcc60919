#include "datasets/ds_cifar.h"

#include "datasets/files.h"
#include "datasets/pickle.h"

#include <string.h>

enum { SIDE = 32, PLANE = SIDE * SIDE, PIXELS = 3 * PLANE, FILES_MAX = 5 };

static fc_image image_at(const uint8_t *p)
{
    return (fc_image){.p = p, .width = SIDE, .height = SIDE, .row = SIDE, .col = 1, .chan = PLANE};
}

/* One file of a split before its images are listed. */
typedef struct part {
    const char *path;
    size_t n;                /* records */
    const unsigned char *p;  /* binary: records; python: pixels */
    const fc_pickle *labels; /* python only */
} part;

/* --- binary ----------------------------------------------------------------------------------- */

static size_t label_bytes(const fc_cifar *c)
{
    return c->coarse_classes ? 2 : 1;
}

static fc_status open_binary(part *f, fc_dataset *d, const fc_cifar *c, fc_error *err)
{
    size_t size, record = label_bytes(c) + PIXELS;
    FC_TRY(fc_data_map(&f->p, &size, d, f->path, err));
    if (size % record != 0)
        return fc_fail(
            err, FC_EDATA,
            "%s: %zu bytes are %zu records of %zu bytes and %zu bytes more, expected whole "
            "records: truncated, or not %s",
            f->path, size, size / record, record, size % record, c->source->name);
    f->n = size / record;
    return FC_OK;
}

static fc_status list_binary(fc_image *image, int32_t *label, const part *f, const fc_cifar *c,
                             fc_error *err)
{
    size_t labels = label_bytes(c);
    for (size_t i = 0; i < f->n; i++) {
        const unsigned char *p = f->p + i * (labels + PIXELS);
        if (c->coarse_classes && p[0] >= c->coarse_classes)
            return fc_fail(err, FC_EDATA, "%s: record %zu: coarse label %d, expected 0 to %d",
                           f->path, i, p[0], c->coarse_classes - 1);
        if (p[labels - 1] >= c->classes)
            return fc_fail(err, FC_EDATA, "%s: record %zu: label %d, expected 0 to %d", f->path, i,
                           p[labels - 1], c->classes - 1);
        label[i] = p[labels - 1];
        image[i] = image_at(p + labels);
    }
    return FC_OK;
}

/* --- python ----------------------------------------------------------------------------------- */

static fc_status open_python(part *f, fc_dataset *d, const fc_cifar *c, fc_error *err)
{
    size_t size;
    const unsigned char *p;
    const fc_pickle *dict;
    FC_TRY(fc_data_map(&p, &size, d, f->path, err));
    FC_TRY(fc_pickle_read(&dict, p, size, f->path, &d->arena, err));
    const fc_pickle *data = fc_pickle_get(dict, "data");
    if (!data || data->kind != FC_PICKLE_ARRAY)
        return fc_fail(err, FC_EDATA, "%s: no array under the key \"data\"", f->path);
    if (data->n_item != 2 || data->item[1]->i != PIXELS)
        return fc_fail(
            err, FC_EDATA, "%s: data has %zu dimensions, the last %lld, expected (n, %d)", f->path,
            data->n_item, data->n_item ? (long long)data->item[data->n_item - 1]->i : 0LL, PIXELS);
    f->labels = fc_pickle_get(dict, c->label_key);
    if (!f->labels || f->labels->kind != FC_PICKLE_LIST)
        return fc_fail(err, FC_EDATA, "%s: no list under the key \"%s\"", f->path, c->label_key);
    f->n = data->n / PIXELS;
    f->p = data->p;
    if (f->labels->n_item != f->n)
        return fc_fail(err, FC_EDATA, "%s: %zu labels, expected %zu, one for each image", f->path,
                       f->labels->n_item, f->n);
    return FC_OK;
}

static fc_status list_python(fc_image *image, int32_t *label, const part *f, const fc_cifar *c,
                             fc_error *err)
{
    for (size_t i = 0; i < f->n; i++) {
        const fc_pickle *v = f->labels->item[i];
        if (v->kind != FC_PICKLE_INT || v->i < 0 || v->i >= c->classes)
            return fc_fail(err, FC_EDATA, "%s: image %zu: label %lld, expected 0 to %d", f->path, i,
                           v->kind == FC_PICKLE_INT ? (long long)v->i : -1LL, c->classes - 1);
        label[i] = (int32_t)v->i;
        image[i] = image_at(f->p + i * PIXELS);
    }
    return FC_OK;
}

static fc_status python_names(fc_dataset *d, const char *path, const fc_cifar *c, fc_error *err)
{
    if (!fc_path_exists(path))
        return FC_OK;
    size_t size;
    const unsigned char *p;
    const fc_pickle *dict;
    FC_TRY(fc_data_map(&p, &size, d, path, err));
    FC_TRY(fc_pickle_read(&dict, p, size, path, &d->arena, err));
    const fc_pickle *names = fc_pickle_get(dict, c->names_key);
    if (!names || names->kind != FC_PICKLE_LIST || names->n_item != (size_t)c->classes)
        return fc_fail(err, FC_EDATA, "%s: no list of %d names under the key \"%s\"", path,
                       c->classes, c->names_key);
    const char **name = fc_arena_alloc(&d->arena, names->n_item, sizeof *name, err);
    for (size_t i = 0; name && i < names->n_item; i++) {
        const fc_pickle *v = names->item[i];
        if (v->kind != FC_PICKLE_BYTES)
            return fc_fail(err, FC_EDATA, "%s: name %zu is not text", path, i);
        char *text = fc_arena_alloc(&d->arena, v->n + 1, 1, err);
        if (!text)
            return FC_EFAIL;
        name[i] = memcpy(text, v->p, v->n);
    }
    d->class_name = name;
    return name ? FC_OK : FC_EFAIL;
}

/* --- both ------------------------------------------------------------------------------------- */

static fc_status load_split(fc_split *s, fc_dataset *d, const char *const *files, int n,
                            const fc_cifar *c, bool python, fc_error *err)
{
    part f[FILES_MAX] = {0};
    size_t total = 0;
    for (int i = 0; i < n; i++) {
        f[i].path = fc_path_join(d->path, files[i], &d->arena, err);
        if (!f[i].path)
            return FC_EFAIL;
        FC_TRY(python ? open_python(&f[i], d, c, err) : open_binary(&f[i], d, c, err));
        total += f[i].n;
    }
    FC_TRY(fc_split_alloc(s, total, &d->arena, err));
    size_t at = 0;
    for (int i = 0; i < n; at += f[i++].n)
        FC_TRY(python ? list_python(s->image + at, s->label + at, &f[i], c, err)
                      : list_binary(s->image + at, s->label + at, &f[i], c, err));
    return FC_OK;
}

static int list_length(const char *const *list)
{
    int n = 0;
    while (list[n])
        n++;
    return n;
}

fc_status fc_cifar_load(fc_dataset *out, const fc_data_request *q, const fc_cifar *c, fc_error *err)
{
    const char *markers[] = {c->bin_train[0], c->py_train[0], NULL};
    int python;
    FC_TRY(fc_data_find(&out->path, &python, c->source, q, c->folders, markers, &out->arena, err));
    out->classes = c->classes;
    const char *names =
        fc_path_join(out->path, python ? c->py_meta : c->bin_names, &out->arena, err);
    if (!names)
        return FC_EFAIL;
    FC_TRY(python ? python_names(out, names, c, err) : fc_data_class_names(out, names, err));
    const char *const *train = python ? c->py_train : c->bin_train;
    const char *const *test = python ? &c->py_test : &c->bin_test;
    FC_TRY(load_split(&out->train, out, train, list_length(train), c, python, err));
    return load_split(&out->test, out, test, 1, c, python, err);
}
