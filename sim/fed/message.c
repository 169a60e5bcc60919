#include "sim/fed/message.h"

#include "core/base/safetensors.h"

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

enum { ENTRIES_MAX = FC_NGROUP + 2 + FC_PARTS_MAX };

/* An entry per trained group, for Fisher information and each part; Grams are the caller's. Returns
 * how many. */
static int list_entries(fc_st_entry e[ENTRIES_MAX], const fc_message_body *b)
{
    int n = 0;
    for (int g = 0; b->p && g < FC_NGROUP; g++) {
        size_t offset, count = b->groups >> g & 1 ? fc_params_group(b->p, (fc_group)g, &offset) : 0;
        if (count)
            e[n++] = vector(group_name[g], count, b->p->p ? b->p->p + offset : NULL);
    }
    if (b->fisher)
        e[n++] = vector("fisher", b->fisher->n, b->fisher->p);
    for (int i = 0; i < b->parts; i++)
        e[n++] = vector(b->part[i].name, b->part[i].n, b->part[i].p);
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

/* All fields as text of one width, so that the size of a message does not depend on what is in it.
 */
enum { N_META = 9, META_WIDTH = 24 };
typedef struct meta_text {
    char value[N_META][META_WIDTH + 1];
    const char *pair[N_META][2];
} meta_text;

static void write_meta(meta_text *m, const fc_message_head *h)
{
    static const char *const key[N_META] = {"client",    "loss_first", "loss_last",
                                            "loss_mean", "n_classes",  "n_samples",
                                            "round",     "steps",      "task"};
    const double value[N_META] = {h->client,    h->loss_first,    h->loss_last,
                                  h->loss_mean, h->n_classes,     (double)h->n_samples,
                                  h->round,     (double)h->steps, h->task};
    for (int i = 0; i < N_META; i++) {
        snprintf(m->value[i], sizeof m->value[i], "%*.17g", META_WIDTH, value[i]);
        m->pair[i][0] = key[i];
        m->pair[i][1] = m->value[i];
    }
}

fc_status fc_message_pack(fc_message *out, const fc_message_head *h, const fc_message_body *body,
                          fc_error *err)
{
    meta_text meta;
    fc_st_entry entry[ENTRIES_MAX];
    int n = list_entries(entry, body);
    float *wire = NULL;
    if (h)
        write_meta(&meta, h);
    if (body->grams) {
        size_t count = fc_message_gram_count(body->grams);
        wire = malloc(count * sizeof *wire);
        if (!wire)
            return fc_fail(err, FC_EFAIL, "out of memory: %zu numbers of Grams", count);
        gram_copy(wire, body->grams, true);
        entry[n++] = vector("grams", count, wire);
    }
    fc_status s =
        fc_st_serialize(&out->data, &out->n, entry, n,
                        h ? (const char *const(*)[2])meta.pair : NULL, h ? N_META : 0, err);
    free(wire);
    return s;
}

fc_status fc_message_size(size_t *bytes, bool head, const fc_message_body *body, fc_error *err)
{
    meta_text meta;
    fc_st_entry entry[ENTRIES_MAX];
    int n = list_entries(entry, body);
    write_meta(&meta, &(fc_message_head){0});
    if (body->grams)
        entry[n++] = vector("grams", fc_message_gram_count(body->grams), NULL);
    return fc_st_size(bytes, entry, n, head ? (const char *const(*)[2])meta.pair : NULL,
                      head ? N_META : 0, err);
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

fc_status fc_message_unpack(fc_message_head *head, const fc_message_body *body, const fc_message *m,
                            fc_error *err)
{
    fc_st f;
    fc_st_entry entry[ENTRIES_MAX];
    float *wire = NULL;
    FC_TRY(fc_st_parse(&f, m->data, m->n, head ? "message of a client" : "message of the server",
                       err));
    fc_status s = head ? read_head(head, &f, err) : FC_OK;
    int n = list_entries(entry, body), expected = n + (body->grams != NULL);
    if (s == FC_OK && f.n > expected)
        s = fc_fail(err, FC_ECKPT, "%s: %d tensors, expected %d", f.path, f.n, expected);
    for (int i = 0; s == FC_OK && i < n; i++)
        s = read_vector((float *)(uintptr_t)entry[i].data, (size_t)entry[i].dim[0], entry[i].name,
                        &f, err);
    if (s == FC_OK && body->grams) {
        size_t count = fc_message_gram_count(body->grams);
        wire = malloc(count * sizeof *wire);
        s = wire ? read_vector(wire, count, "grams", &f, err)
                 : fc_fail(err, FC_EFAIL, "out of memory: %zu numbers of Grams", count);
        if (s == FC_OK)
            gram_copy(wire, body->grams, false);
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
