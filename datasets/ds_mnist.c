#include "datasets/files.h"
#include "datasets/idx.h"

#include <stddef.h>

enum { CLASSES = 10 };

static fc_status load_mnist(fc_dataset *out, const fc_data_request *q, fc_error *err);

extern const fc_data_source fc_data_mnist;
const fc_data_source fc_data_mnist = {
    .name = "mnist",
    .help = "MNIST, Fashion-MNIST or KMNIST: 10 classes, grey",
    .layout = "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, "
              "t10k-labels-idx1-ubyte, each plain or .gz",
    .load = load_mnist,
};

/* folder/name or folder/name.gz */
static fc_status open_idx(fc_idx *x, fc_dataset *d, const char *name, const char *name_gz, int ndim,
                          const char **path, fc_error *err)
{
    const unsigned char *p;
    size_t n;
    char *plain = fc_path_join(d->path, name, &d->arena, err);
    char *gz = fc_path_join(d->path, name_gz, &d->arena, err);
    if (!plain || !gz)
        return FC_EFAIL;
    *path = !fc_path_exists(plain) && fc_path_exists(gz) ? gz : plain;
    FC_TRY(fc_data_map(&p, &n, d, *path, err));
    return fc_idx_parse(x, p, n, ndim, *path, &d->arena, err);
}

static fc_status load_split(fc_split *s, fc_dataset *d, const char *const name[4], fc_error *err)
{
    fc_idx images, labels;
    const char *path, *path_labels;
    FC_TRY(open_idx(&images, d, name[0], name[1], 3, &path, err));
    FC_TRY(open_idx(&labels, d, name[2], name[3], 1, &path_labels, err));
    uint32_t n = images.dim[0], height = images.dim[1], width = images.dim[2];
    if (labels.dim[0] != n)
        return fc_fail(err, FC_EDATA, "%s: %u labels, expected %u, one for each image of %s",
                       path_labels, labels.dim[0], n, path);
    if (width == 0 || height == 0 || width > FC_SIDE_MAX || height > FC_SIDE_MAX)
        return fc_fail(err, FC_EDATA, "%s: images of %u x %u pixels, expected 1 to %d on a side",
                       path, width, height, FC_SIDE_MAX);
    FC_TRY(fc_split_alloc(s, n, &d->arena, err));
    for (size_t i = 0; i < n; i++) {
        if (labels.data[i] >= CLASSES)
            return fc_fail(err, FC_EDATA, "%s: label %zu is %d, expected 0 to %d", path_labels, i,
                           labels.data[i], CLASSES - 1);
        s->label[i] = labels.data[i];
        s->image[i] = (fc_image){.p = images.data + i * width * height,
                                 .width = (int)width,
                                 .height = (int)height,
                                 .row = (ptrdiff_t)width,
                                 .col = 1,
                                 .chan = 0};
    }
    return FC_OK;
}

static fc_status load_mnist(fc_dataset *out, const fc_data_request *q, fc_error *err)
{
    static const char *const folders[] = {"MNIST/raw", "mnist", "MNIST", "", NULL};
    static const char *const train[] = {"train-images-idx3-ubyte", "train-images-idx3-ubyte.gz",
                                        "train-labels-idx1-ubyte", "train-labels-idx1-ubyte.gz"};
    static const char *const test[] = {"t10k-images-idx3-ubyte", "t10k-images-idx3-ubyte.gz",
                                       "t10k-labels-idx1-ubyte", "t10k-labels-idx1-ubyte.gz"};
    const char *markers[] = {train[0], train[1], NULL};
    FC_TRY(fc_data_find(&out->path, NULL, &fc_data_mnist, q, folders, markers, &out->arena, err));
    out->classes = CLASSES;
    FC_TRY(load_split(&out->train, out, train, err));
    return load_split(&out->test, out, test, err);
}
