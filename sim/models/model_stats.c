#include "sim/models/model_stats.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Spec of the weight whose inputs Gram i is of. */
static const fc_spec *weight_of(const fc_params *layout, const fc_grams *g, int i)
{
    return &layout->spec[i + 1 < g->n ? fc_slot_tensor(i) : fc_train_head(layout)];
}

/* It has a name (memory was left), and finite numbers: those of a model that overflows are not. */
static fc_status check_entry(const fc_st_entry *e, const char *path, fc_error *err)
{
    const double *v = e->data;
    size_t n = 1;
    if (!e->name)
        return FC_EFAIL;
    for (int d = 0; d < e->ndim; d++)
        n *= (size_t)e->dim[d];
    for (size_t i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return fc_fail(err, FC_EFAIL, "%s: tensor %s: element %zu is %g, expected a finite one",
                           path, e->name, i, v[i]);
    return FC_OK;
}

static fc_status write_stats(const char *path, const fc_grams *grams, const double *F,
                             const fc_params *layout, size_t samples, fc_arena *arena,
                             fc_error *err)
{
    int n = 0, n_grams = grams ? grams->n : 0;
    size_t most = (size_t)n_grams + (size_t)layout->nspec;
    fc_st_entry *e = fc_arena_alloc(arena, most, sizeof *e, err);
    if (!e)
        return FC_EFAIL;
    for (int i = 0; i < n_grams; i++) {
        const fc_gram_slot *s = &grams->slot[i];
        e[n++] =
            (fc_st_entry){fc_arena_format(arena, err, "gram.%s", weight_of(layout, grams, i)->name),
                          FC_F64,
                          2,
                          {s->dim, s->dim},
                          grams->g + s->offset};
    }
    for (int i = 0; F && i < layout->nspec; i++) {
        const fc_spec *s = &layout->spec[i];
        e[n] = (fc_st_entry){
            fc_arena_format(arena, err, "fisher.%s", s->name), FC_F64, s->ndim, {0}, F + s->offset};
        for (int d = 0; d < s->ndim; d++)
            e[n].dim[d] = s->dim[d];
        n++;
    }
    for (int i = 0; i < n; i++)
        FC_TRY(check_entry(&e[i], path, err));
    char text[32];
    snprintf(text, sizeof text, "%zu", samples);
    const char *const metadata[][2] = {{"samples", text}};
    return fc_st_write(path, e, n, metadata, 1, err);
}

fc_status fc_model_stats_write(const char *path, const fc_grams *grams, const double *F,
                               const fc_params *layout, size_t samples, fc_error *err)
{
    fc_arena arena = {0};
    fc_status s = write_stats(path, grams, F, layout, samples, &arena, err);
    fc_arena_free(&arena);
    return s;
}

fc_status fc_model_stats_open(fc_model_stats *s, const char *path, fc_error *err)
{
    *s = (fc_model_stats){0};
    FC_TRY(fc_st_open(&s->file, path, err));
    const char *text = fc_st_metadata(&s->file, "samples");
    char *end = NULL;
    s->samples = text ? strtod(text, &end) : 0;
    if (text && *end == '\0' && s->samples >= 1 && isfinite(s->samples))
        return FC_OK;
    fc_model_stats_close(s);
    return fc_fail(err, FC_EDATA,
                   "%s: metadata: samples: expected a number, as fcil stats writes it", path);
}

void fc_model_stats_close(fc_model_stats *s)
{
    fc_st_close(&s->file);
    *s = (fc_model_stats){0};
}

static fc_status read_statistic(const double **out, const fc_model_stats *s, const char *kind,
                                const char *name, size_t n, fc_arena *arena, fc_error *err)
{
    char full[FC_NAME_MAX + 256];
    *out = NULL;
    snprintf(full, sizeof full, "%s.%s", kind, name);
    const fc_tensor *t = fc_st_find(&s->file, full);
    if (!t)
        return FC_OK;
    if (t->count != n)
        return fc_fail(err, FC_EDATA, "%s: tensor %s: %zu numbers, expected %zu", s->file.path,
                       full, t->count, n);
    double *v = fc_arena_alloc(arena, n, sizeof *v, err);
    *out = v;
    return v ? fc_st_read_double(v, &s->file, t, err) : FC_EFAIL;
}

fc_status fc_model_stats_gram(const double **out, const fc_model_stats *s, const char *weight,
                              int n, fc_arena *arena, fc_error *err)
{
    return read_statistic(out, s, "gram", weight, (size_t)n * (size_t)n, arena, err);
}

fc_status fc_model_stats_fisher(const double **out, const fc_model_stats *s, const char *tensor,
                                size_t n, fc_arena *arena, fc_error *err)
{
    return read_statistic(out, s, "fisher", tensor, n, arena, err);
}
