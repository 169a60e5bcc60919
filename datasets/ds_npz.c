#include "datasets/files.h"
#include "datasets/npz.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { CLASSES_MAX = 65536 };

static fc_status load_npz(fc_dataset *out, const fc_data_request *q, fc_error *err);

extern const fc_data_source fc_data_npz;
const fc_data_source fc_data_npz = {
    .name = "npz",
    .help = "a NumPy archive: uint8 images (n, height, width[, 1 or 3]) and integer labels (n)",
    .layout = "a .npz file, or data.npz, with x_train, y_train, x_test, y_test "
              "(or train_images, train_labels, test_images, test_labels)",
    .load = load_npz,
};

/* The archive that all arrays come from. */
typedef struct archive {
    const unsigned char *p;
    size_t n;
    const char *path;
} archive;

/* The array of one of two names. */
static fc_status find_array(fc_npy *a, const char **key, const archive *z, const char *name,
                            const char *other, fc_arena *arena, fc_error *err)
{
    bool found;
    *key = name;
    FC_TRY(fc_npz_find(a, &found, z->p, z->n, name, z->path, arena, err));
    if (!found) {
        *key = other;
        FC_TRY(fc_npz_find(a, &found, z->p, z->n, other, z->path, arena, err));
    }
    if (!found)
        return fc_fail(err, FC_EDATA, "%s: no array %s or %s", z->path, name, other);
    return FC_OK;
}

static fc_status check_images(const fc_npy *a, const char *key, const char *path, fc_error *err)
{
    if (a->kind != 'u' || a->size != 1)
        return fc_fail(err, FC_EDATA, "%s: %s: elements of %d bytes, expected uint8", path, key,
                       a->size);
    if (a->ndim != 3 && !(a->ndim == 4 && (a->dim[3] == 1 || a->dim[3] == 3)))
        return fc_fail(err, FC_EDATA,
                       "%s: %s: %d dimensions, the last %zu, expected (n, height, width[, 1 or 3])",
                       path, key, a->ndim, a->ndim ? a->dim[a->ndim - 1] : 0);
    if (!(1 <= a->dim[1] && a->dim[1] <= FC_SIDE_MAX && 1 <= a->dim[2] && a->dim[2] <= FC_SIDE_MAX))
        return fc_fail(err, FC_EDATA, "%s: %s: images of %zu x %zu, expected 1 to %d on a side",
                       path, key, a->dim[2], a->dim[1], FC_SIDE_MAX);
    return FC_OK;
}

static fc_status load_split(fc_split *s, fc_dataset *d, const archive *z, const char *const key[4],
                            fc_error *err)
{
    fc_npy x, y;
    const char *key_x, *key_y;
    FC_TRY(find_array(&x, &key_x, z, key[0], key[1], &d->arena, err));
    FC_TRY(find_array(&y, &key_y, z, key[2], key[3], &d->arena, err));
    FC_TRY(check_images(&x, key_x, z->path, err));
    size_t n = x.dim[0], channels = x.ndim == 4 ? x.dim[3] : 1;
    if (y.count != n || (y.ndim != 1 && !(y.ndim == 2 && y.dim[1] == 1)))
        return fc_fail(err, FC_EDATA,
                       "%s: %s: %zu labels in %d dimensions, expected %zu in 1: one "
                       "for each image of %s",
                       z->path, key_y, y.count, y.ndim, n, key_x);
    FC_TRY(fc_split_alloc(s, n, &d->arena, err));
    for (size_t i = 0; i < n; i++) {
        int64_t label = fc_npy_int(&y, i);
        if (label < 0 || label >= CLASSES_MAX)
            return fc_fail(err, FC_EDATA, "%s: %s: label %zu is %lld, expected 0 to %d", z->path,
                           key_y, i, (long long)label, CLASSES_MAX - 1);
        if (label >= d->classes)
            d->classes = (int)label + 1;
        s->label[i] = (int32_t)label;
        s->image[i] = (fc_image){.p = x.data + i * x.dim[1] * x.dim[2] * channels,
                                 .width = (int)x.dim[2],
                                 .height = (int)x.dim[1],
                                 .row = (ptrdiff_t)(x.dim[2] * channels),
                                 .col = (ptrdiff_t)channels,
                                 .chan = channels == 3};
    }
    return FC_OK;
}

static fc_status load_npz(fc_dataset *out, const fc_data_request *q, fc_error *err)
{
    static const char *const folders[] = {"", NULL}, *const markers[] = {"data.npz", NULL};
    static const char *const train[] = {"x_train", "train_images", "y_train", "train_labels"};
    static const char *const test[] = {"x_test", "test_images", "y_test", "test_labels"};
    struct stat st;
    archive z = {.path = q->path};
    if (!*q->path || stat(q->path, &st) != 0 || S_ISDIR(st.st_mode)) {
        const char *folder;
        FC_TRY(fc_data_find(&folder, NULL, &fc_data_npz, q, folders, markers, &out->arena, err));
        z.path = fc_path_join(folder, markers[0], &out->arena, err);
    } else {
        z.path = fc_arena_strdup(&out->arena, q->path, err);
    }
    if (!z.path)
        return FC_EFAIL;
    out->path = z.path;
    FC_TRY(fc_data_map(&z.p, &z.n, out, z.path, err));
    FC_TRY(load_split(&out->train, out, &z, train, err));
    return load_split(&out->test, out, &z, test, err);
}
