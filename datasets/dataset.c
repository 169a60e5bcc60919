#include "datasets/dataset.h"

#include "core/base/file.h"

#include <sha2.h>
#include <stdbool.h>
#include <string.h>

#define FC_ROW(row) extern const fc_data_source fc_data_##row;
#include "dataset_table.inc"
#undef FC_ROW
#define FC_ROW(row) &fc_data_##row,
const fc_data_source *const fc_data_table[] = {
#include "dataset_table.inc"
};
const int fc_data_count = sizeof fc_data_table / sizeof *fc_data_table;

static const fc_data_source *find_source(const char *name, fc_error *err)
{
    const char *names[64];
    int n = fc_data_count < 64 ? fc_data_count : 64;
    for (int i = 0; i < n; i++) {
        names[i] = fc_data_table[i]->name;
        if (strcmp(names[i], name) == 0)
            return fc_data_table[i];
    }
    const char *near = fc_nearest(name, names, n);
    fc_fail(err, FC_EUSAGE, "unknown dataset '%s'%s%s%s", name, near ? ", did you mean '" : "",
            near ? near : "; see `fcil list datasets`", near ? "'?" : "");
    return NULL;
}

/* Checks every label, keeps the first `max` images of each class (0: all), demands one of each. */
static fc_status select_images(fc_dataset *d, fc_split *s, const char *which, int max,
                               fc_error *err)
{
    fc_mark mark = fc_arena_mark(&d->arena);
    size_t *count = fc_arena_alloc(&d->arena, (size_t)d->classes, sizeof *count, err);
    if (!count)
        return FC_EFAIL;
    fc_status status = FC_OK;
    size_t kept = 0;
    for (size_t i = 0; status == FC_OK && i < s->n; i++) {
        int32_t c = s->label[i];
        if (c < 0 || c >= d->classes) {
            status = fc_fail(err, FC_EDATA, "%s: %s image %zu: label %d, expected 0 to %d", d->path,
                             which, i, (int)c, d->classes - 1);
        } else if (max == 0 || count[c] < (size_t)max) {
            count[c]++;
            s->image[kept] = s->image[i];
            s->label[kept++] = c;
        }
    }
    for (int c = 0; status == FC_OK && c < d->classes; c++)
        if (count[c] == 0)
            status =
                fc_fail(err, FC_EDATA, "%s: class %d%s%s%s has no %s image, expected at least one",
                        d->path, c, d->class_name ? " (" : "",
                        d->class_name ? d->class_name[c] : "", d->class_name ? ")" : "", which);
    fc_arena_release(&d->arena, mark);
    s->n = kept;
    return status;
}

static void hash_u32(SHA2_CTX *ctx, uint32_t v)
{
    const uint8_t b[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
    SHA256Update(ctx, b, sizeof b);
}

/* Plane by plane, row by row; a grey image has one plane. row has room for one row. */
static void hash_pixels(SHA2_CTX *ctx, const fc_image *m, uint8_t *row)
{
    size_t width = (size_t)m->width, plane = width * (size_t)m->height;
    int planes = m->chan == 0 ? 1 : 3;
    if (m->col == 1 && m->row == m->width && (planes == 1 || m->chan == (ptrdiff_t)plane)) {
        SHA256Update(ctx, m->p, plane * (size_t)planes); /* stored in this order already */
        return;
    }
    for (int c = 0; c < planes; c++)
        for (int y = 0; y < m->height; y++) {
            const uint8_t *p = m->p + c * m->chan + y * m->row;
            for (size_t x = 0; x < width; x++, p += m->col)
                row[x] = *p;
            SHA256Update(ctx, row, width);
        }
}

/* Of label, width, height (32 bits each, little-endian) and pixels of every image, train then test.
 */
static fc_status hash_dataset(fc_dataset *d, fc_error *err)
{
    const fc_split *split[] = {&d->train, &d->test};
    int width = 0;
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < split[k]->n; i++)
            width = split[k]->image[i].width > width ? split[k]->image[i].width : width;
    fc_mark mark = fc_arena_mark(&d->arena);
    uint8_t *row = fc_arena_alloc(&d->arena, (size_t)width, 1, err);
    if (!row)
        return FC_EFAIL;
    SHA2_CTX ctx;
    SHA256Init(&ctx);
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < split[k]->n; i++) {
            const fc_image *m = &split[k]->image[i];
            hash_u32(&ctx, (uint32_t)split[k]->label[i]);
            hash_u32(&ctx, (uint32_t)m->width);
            hash_u32(&ctx, (uint32_t)m->height);
            hash_pixels(&ctx, m, row);
        }
    SHA256End(&ctx, d->sha256);
    fc_arena_release(&d->arena, mark);
    return FC_OK;
}

fc_status fc_dataset_load(fc_dataset *out, const fc_data_request *q, fc_error *err)
{
    *out = (fc_dataset){0};
    const fc_data_source *source = find_source(q->name, err);
    if (!source)
        return FC_EUSAGE;
    fc_status s = source->load(out, q, err);
    out->name = source->name;
    if (s == FC_OK)
        s = select_images(out, &out->train, "training", q->max_train_per_class, err);
    if (s == FC_OK)
        s = select_images(out, &out->test, "test", q->max_test_per_class, err);
    if (s == FC_OK)
        s = hash_dataset(out, err);
    if (s != FC_OK)
        fc_dataset_free(out);
    return s;
}

bool *fc_last_of_class(int *count, const fc_split *s, int classes, int n, fc_arena *arena,
                       fc_error *err)
{
    int *left = fc_arena_alloc(arena, (size_t)classes, sizeof *left, err);
    bool *last = fc_arena_alloc(arena, s->n, sizeof *last, err);
    if (!left || !last)
        return NULL;
    for (size_t i = 0; i < s->n; i++)
        left[s->label[i]]++;
    if (count)
        memcpy(count, left, (size_t)classes * sizeof *count);
    for (size_t i = 0; i < s->n; i++)
        last[i] = left[s->label[i]]-- <= n;
    return last;
}

fc_status fc_dataset_hold_out(fc_dataset *d, int hold, fc_error *err)
{
    fc_split *s = &d->train, kept, held;
    int *count = fc_arena_alloc(&d->arena, (size_t)d->classes, sizeof *count, err);
    const bool *last = count ? fc_last_of_class(count, s, d->classes, hold, &d->arena, err) : NULL;
    kept.image = fc_arena_alloc(&d->arena, s->n, sizeof *kept.image, err);
    kept.label = fc_arena_alloc(&d->arena, s->n, sizeof *kept.label, err);
    held.image = fc_arena_alloc(&d->arena, s->n, sizeof *held.image, err);
    held.label = fc_arena_alloc(&d->arena, s->n, sizeof *held.label, err);
    if (!last || !kept.image || !kept.label || !held.image || !held.label)
        return FC_EFAIL;
    for (int c = 0; c < d->classes; c++)
        if (count[c] <= hold)
            return fc_fail(err, FC_EUSAGE,
                           "data.validation_per_class: %d, but class %d has %d training images, "
                           "expected more than that",
                           hold, c, count[c]);
    kept.n = held.n = 0;
    for (size_t i = 0; i < s->n; i++) {
        fc_split *to = last[i] ? &held : &kept;
        to->image[to->n] = s->image[i];
        to->label[to->n++] = s->label[i];
    }
    d->train = kept;
    d->test = held;
    return FC_OK;
}

int fc_dataset_side(const fc_dataset *d)
{
    int side = 1;
    for (int s = 0; s < 2; s++) {
        const fc_split *split = s ? &d->test : &d->train;
        for (size_t i = 0; i < split->n; i++) {
            side = split->image[i].width > side ? split->image[i].width : side;
            side = split->image[i].height > side ? split->image[i].height : side;
        }
    }
    return side;
}

void fc_dataset_free(fc_dataset *d)
{
    for (int i = 0; i < d->n_map; i++)
        fc_file_unmap(d->map[i], d->map_size[i]);
    fc_arena_free(&d->arena);
    *d = (fc_dataset){0};
}
