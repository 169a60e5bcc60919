/* A tree of images as torchvision's ImageFolder reads it: <split>/<class>/.../<image>. Classes are
 * the folders of `train` in byte order of their names; images come in byte order of names, files of
 * a folder before its folders. */
#include "datasets/decode.h"
#include "datasets/files.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { DEPTH_MAX = 8 }; /* folders in folders; also ends loops of links */

static fc_status load_imagefolder(fc_dataset *out, const fc_data_request *q, fc_error *err);

extern const fc_data_source fc_data_imagefolder;
const fc_data_source fc_data_imagefolder = {
    .name = "imagefolder",
    .help = "folders of PNG, JPEG or PPM images, one folder a class",
    .layout = "train/<class>/<image> and test/<class>/<image> (or val/...)",
    .load = load_imagefolder,
};

/* Sorted names of a folder, hidden ones left out; freed by free_names. */
typedef struct names {
    struct dirent **entry;
    int n;
} names;

static int visible(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static fc_status list_names(names *out, const char *path, fc_error *err)
{
    out->n = scandir(path, &out->entry, visible, by_name);
    if (out->n < 0)
        return fc_fail(err, FC_EDATA, "%s: cannot list: %s, expected a readable folder", path,
                       strerror(errno));
    return FC_OK;
}

static void free_names(names *v)
{
    for (int i = 0; i < v->n; i++)
        free(v->entry[i]);
    free(v->entry);
}

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Folders of a folder, as a NULL-terminated list of names. */
static fc_status list_classes(const char ***class_name, int *classes, const char *path,
                              fc_arena *arena, fc_error *err)
{
    names v;
    fc_status s = FC_OK;
    FC_TRY(list_names(&v, path, err));
    int n = 0;
    const char **name = fc_arena_alloc(arena, (size_t)v.n + 1, sizeof *name, err);
    for (int i = 0; name && s == FC_OK && i < v.n; i++) {
        char *child = fc_path_join(path, v.entry[i]->d_name, arena, err);
        if (!child ||
            (is_folder(child) && !(name[n++] = fc_arena_strdup(arena, v.entry[i]->d_name, err))))
            s = FC_EFAIL;
    }
    free_names(&v);
    *class_name = name;
    *classes = n;
    return name ? s : FC_EFAIL;
}

/* By its name only whether it is meant as an image; what it is, its content tells. Formats that are
 * not read are listed too: an error is better than a class that is silently smaller. */
static bool is_image_name(const char *name)
{
    static const char *const endings[] = {"png", "jpg", "jpeg", "ppm",  "pgm",
                                          "bmp", "gif", "tif",  "tiff", "webp"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++)
        if (strcasecmp(dot + 1, endings[i]) == 0)
            return true;
    return false;
}

typedef struct file {
    const char *path;
    int label;
    struct file *next;
} file;

/* The files of a split, before they are decoded. */
typedef struct file_list {
    file *first, **end; /* end: where the next one is linked */
    size_t n;
    fc_arena *arena;
} file_list;

/* All images below the folder of a class, until the list has n_max. */
static fc_status list_images(file_list *list, const char *path, int label, size_t n_max, int depth,
                             fc_error *err)
{
    names v;
    if (depth > DEPTH_MAX)
        return fc_fail(err, FC_EDATA, "%s: more than %d folders deep", path, DEPTH_MAX);
    FC_TRY(list_names(&v, path, err));
    fc_status s = FC_OK;
    for (int folders = 0; folders < 2; folders++)
        for (int i = 0; s == FC_OK && i < v.n && list->n < n_max; i++) {
            char *child = fc_path_join(path, v.entry[i]->d_name, list->arena, err);
            if (!child) {
                s = FC_EFAIL;
            } else if (is_folder(child)) {
                if (folders)
                    s = list_images(list, child, label, n_max, depth + 1, err);
            } else if (!folders && is_image_name(child)) {
                file *f = fc_arena_alloc(list->arena, 1, sizeof *f, err);
                if (!f) {
                    s = FC_EFAIL;
                    continue;
                }
                *f = (file){.path = child, .label = label};
                *list->end = f;
                list->end = &f->next;
                list->n++;
            }
        }
    free_names(&v);
    return s;
}

static fc_status load_split(fc_split *s, fc_dataset *d, const char *folder, int max_per_class,
                            fc_error *err)
{
    file_list list = {.arena = &d->arena};
    list.end = &list.first;
    for (int c = 0; c < d->classes; c++) {
        char *path = fc_path_join(folder, d->class_name[c], &d->arena, err);
        if (!path)
            return FC_EFAIL;
        size_t n_max = max_per_class > 0 ? list.n + (size_t)max_per_class : SIZE_MAX;
        FC_TRY(list_images(&list, path, c, n_max, 0, err));
    }
    FC_TRY(fc_split_alloc(s, list.n, &d->arena, err));
    size_t i = 0;
    for (const file *f = list.first; f; f = f->next, i++) {
        FC_TRY(fc_decode_file(&s->image[i], f->path, &d->arena, err));
        s->label[i] = f->label;
    }
    return FC_OK;
}

/* Both lists are sorted and end with NULL: the first difference is a class that one side lacks. */
static fc_status check_same(const char *const *a, const char *folder_a, const char *const *b,
                            const char *folder_b, fc_error *err)
{
    for (; *a || *b; a++, b++) {
        int order = !*a ? 1 : !*b ? -1 : strcmp(*a, *b);
        if (order != 0)
            return fc_fail(err, FC_EDATA, "%s: no folder %s, expected the same classes as in %s",
                           order < 0 ? folder_b : folder_a, order < 0 ? *a : *b,
                           order < 0 ? folder_a : folder_b);
    }
    return FC_OK;
}

static fc_status load_imagefolder(fc_dataset *out, const fc_data_request *q, fc_error *err)
{
    static const char *const folders[] = {"imagefolder", "", NULL}, *const markers[] = {"train",
                                                                                        NULL};
    FC_TRY(fc_data_find(&out->path, NULL, &fc_data_imagefolder, q, folders, markers, &out->arena,
                        err));
    char *train = fc_path_join(out->path, "train", &out->arena, err);
    char *test = fc_path_join(out->path, "test", &out->arena, err);
    if (test && !fc_path_exists(test))
        test = fc_path_join(out->path, "val", &out->arena, err);
    if (!train || !test)
        return FC_EFAIL;
    const char **class_name, **test_name;
    int test_classes;
    FC_TRY(list_classes(&class_name, &out->classes, train, &out->arena, err));
    FC_TRY(list_classes(&test_name, &test_classes, test, &out->arena, err));
    if (out->classes == 0)
        return fc_fail(err, FC_EDATA, "%s: no folders, expected one for each class", train);
    FC_TRY(check_same(class_name, train, test_name, test, err));
    out->class_name = class_name;
    FC_TRY(load_split(&out->train, out, train, q->max_train_per_class, err));
    return load_split(&out->test, out, test, q->max_test_per_class, err);
}
