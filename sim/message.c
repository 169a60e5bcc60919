#include "sim/message.h"

#include "core/safetensors.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const group_name[FC_NGROUP] = {"backbone", "lora_A", "lora_B", "head"};

static fc_st_entry vector(const char *name, size_t n, const float *data)
{
    return (fc_st_entry){
        .name = name, .dtype = FC_F32, .ndim = 1, .dim = {(int64_t)n}, .data = data};
}

/* One entry per trained group; returns how many. */
static int group_entries(fc_st_entry *e, const fc_params *p, unsigned groups)
{
    int n = 0;
    for (int g = 0; g < FC_NGROUP; g++) {
        size_t offset, count = groups >> g & 1 ? fc_params_group(p, (fc_group)g, &offset) : 0;
        if (count)
            e[n++] = vector(group_name[g], count, p->p ? p->p + offset : NULL);
    }
    return n;
}

size_t fc_message_gram_count(const fc_grams *g)
{
    size_t n = 0;
    for (int i = 0; i < g->n; i++) {
        size_t d = (size_t)g->slot[i].dim;
        n += g->slot[i].full ? d * (d + 1) / 2 : d;
    }
    return n;
}

/* wire <- grams, or grams <- wire. */
static void gram_copy(float *wire, const fc_grams *g, bool to_wire)
{
    for (int i = 0; i < g->n; i++) {
        const fc_gram_slot *s = &g->slot[i];
        double *m = g->g + s->offset;
        for (int r = 0; r < s->dim; r++)
            for (int c = s->full ? 0 : r; c <= r; c++, wire++) {
                size_t at = s->full ? (size_t)r * (size_t)s->dim + (size_t)c : (size_t)r;
                if (to_wire) {
                    *wire = (float)m[at];
                } else {
                    m[at] = *wire;
                    if (s->full)
                        m[(size_t)c * (size_t)s->dim + (size_t)r] = *wire;
                }
            }
    }
}

fc_status fc_message_pack(fc_message *out, const fc_message_head *h, const fc_params *p,
                          unsigned groups, const fc_grams *grams, fc_error *err)
{
    char text[9][32];
    const char *meta[9][2] = {
        {"client", text[0]},    {"loss_first", text[1]}, {"loss_last", text[2]},
        {"loss_mean", text[3]}, {"n_classes", text[4]},  {"n_samples", text[5]},
        {"round", text[6]},     {"steps", text[7]},      {"task", text[8]}};
    snprintf(text[0], sizeof text[0], "%d", h->client);
    snprintf(text[1], sizeof text[1], "%.17g", h->loss_first);
    snprintf(text[2], sizeof text[2], "%.17g", h->loss_last);
    snprintf(text[3], sizeof text[3], "%.17g", h->loss_mean);
    snprintf(text[4], sizeof text[4], "%d", h->n_classes);
    snprintf(text[5], sizeof text[5], "%zu", h->n_samples);
    snprintf(text[6], sizeof text[6], "%d", h->round);
    snprintf(text[7], sizeof text[7], "%ld", h->steps);
    snprintf(text[8], sizeof text[8], "%d", h->task);

    fc_st_entry entry[FC_NGROUP + 1];
    int n = p ? group_entries(entry, p, groups) : 0;
    float *wire = NULL;
    if (grams) {
        size_t count = fc_message_gram_count(grams);
        wire = malloc(count * sizeof *wire);
        if (!wire)
            return fc_fail(err, FC_EFAIL, "out of memory: %zu numbers of Grams", count);
        gram_copy(wire, grams, true);
        entry[n++] = vector("grams", count, wire);
    }
    fc_status s =
        fc_st_serialize(&out->data, &out->n, entry, n, (const char *const(*)[2])meta, 9, err);
    free(wire);
    return s;
}

static fc_status read_vector(float *out, size_t n, const char *name, const fc_st *f, fc_error *err)
{
    const fc_tensor *t = fc_st_find(f, name);
    if (!t || t->dtype != FC_F32 || t->count != n)
        return fc_fail(err, FC_ECKPT, "%s: tensor %s: %s, expected %zu float32 numbers", f->path,
                       name, t ? "another size or type" : "missing", n);
    memcpy(out, t->data, n * sizeof *out); /* not finite is found, with its client, by the merge */
    return FC_OK;
}

/* max: of a count, a whole number; 0: any number, NaN too. */
static fc_status read_head(fc_message_head *h, const fc_st *f, fc_error *err)
{
    static const struct {
        const char *key;
        double max;
    } field[] = {{"client", INT_MAX}, {"loss_first", 0},      {"loss_last", 0},
                 {"loss_mean", 0},    {"n_classes", INT_MAX}, {"n_samples", 0x1p53},
                 {"round", INT_MAX},  {"steps", 0x1p53},      {"task", INT_MAX}};
    double v[9];
    for (int i = 0; i < 9; i++) {
        const char *text = fc_st_metadata(f, field[i].key);
        char *end = NULL;
        double max = field[i].max;
        v[i] = text ? strtod(text, &end) : 0;
        bool number = text && end != text && !*end;
        if (!number || (max > 0 && !(v[i] >= 0 && v[i] <= max && v[i] == floor(v[i]))))
            return fc_fail(err, FC_ECKPT, "%s: metadata %s: %s, expected a %s", f->path,
                           field[i].key, text ? text : "missing",
                           max > 0 ? "whole number" : "number");
    }
    *h = (fc_message_head){.client = (int)v[0],
                           .loss_first = v[1],
                           .loss_last = v[2],
                           .loss_mean = v[3],
                           .n_classes = (int)v[4],
                           .n_samples = (size_t)v[5],
                           .round = (int)v[6],
                           .steps = (long)v[7],
                           .task = (int)v[8]};
    return FC_OK;
}

fc_status fc_message_unpack(fc_message_head *head, fc_params *p, unsigned groups, fc_grams *grams,
                            const fc_message *m, fc_error *err)
{
    fc_st f;
    fc_st_entry entry[FC_NGROUP];
    float *wire = NULL;
    FC_TRY(fc_st_parse(&f, m->data, m->n, "message of a client", err));
    fc_status s = read_head(head, &f, err);
    int n = p ? group_entries(entry, p, groups) : 0, expected = n + (grams != NULL);
    if (s == FC_OK && f.n > expected)
        s = fc_fail(err, FC_ECKPT, "%s: %d tensors, expected %d", f.path, f.n, expected);
    for (int i = 0; s == FC_OK && i < n; i++)
        s = read_vector((float *)(uintptr_t)entry[i].data, (size_t)entry[i].dim[0], entry[i].name,
                        &f, err);
    if (s == FC_OK && grams) {
        size_t count = fc_message_gram_count(grams);
        wire = malloc(count * sizeof *wire);
        s = wire ? read_vector(wire, count, "grams", &f, err)
                 : fc_fail(err, FC_EFAIL, "out of memory: %zu numbers of Grams", count);
        if (s == FC_OK)
            gram_copy(wire, grams, false);
    }
    free(wire);
    fc_st_close(&f);
    return s;
}

void fc_message_free(fc_message *m)
{
    free(m->data);
    *m = (fc_message){0};
}

fc_status fc_message_down_size(size_t *bytes, const fc_params *p, unsigned groups, int n_deltas,
                               size_t n_AB, fc_error *err)
{
    fc_st_entry entry[FC_NGROUP + 1];
    int n = group_entries(entry, p, groups);
    if (n_deltas > 0 && n_AB > 0)
        entry[n++] = vector("deltas", (size_t)n_deltas * n_AB, NULL);
    return fc_st_size(bytes, entry, n, NULL, 0, err);
}
