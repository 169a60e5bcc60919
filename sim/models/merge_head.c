#include "sim/models/merge_head.h"

#include <stdlib.h>
#include <string.h>

static bool same_list(const fc_ints *a, const fc_ints *b)
{
    return a->n == b->n && (a->n == 0 || memcmp(a->v, b->v, (size_t)a->n * sizeof *a->v) == 0);
}

static bool lists_overlap(const fc_ints *a, const fc_ints *b)
{
    for (int i = 0; i < a->n; i++)
        for (int k = 0; k < b->n; k++)
            if (a->v[i] == b->v[k])
                return true;
    return false;
}

/* How the heads are put together. */
typedef enum how { NO_HEAD, MEAN, BELOW } how;

static fc_status decide_head(how *out, const fc_merge_files *f, fc_error *err)
{
    const fc_model_file *first = &f->file[0];
    bool same = true, apart = first->meta.classes.n > 0;
    for (int i = 1; i < f->n; i++) {
        const fc_model_file *m = &f->file[i];
        if ((m->classes > 0) != (first->classes > 0))
            return fc_fail(err, FC_EDATA, "%s has a head, %s has none",
                           m->classes ? m->path : first->path, m->classes ? first->path : m->path);
        if (m->width != first->width)
            return fc_fail(err, FC_EDATA, "%s: the head is for %d features, that of %s for %d",
                           m->path, m->width, first->path, first->width);
        same = same && m->classes == first->classes &&
               same_list(&m->meta.classes, &first->meta.classes);
        apart = apart && m->meta.classes.n > 0;
        for (int k = 0; k < i && apart; k++)
            apart = !lists_overlap(&m->meta.classes, &f->file[k].meta.classes);
    }
    if (first->classes > 0 && !same && !apart)
        return fc_fail(err, FC_EDATA,
                       "%s and the other inputs: their heads are neither for the same classes nor "
                       "all for classes of their own",
                       first->path);
    *out = first->classes == 0 ? NO_HEAD : same ? MEAN : BELOW;
    return FC_OK;
}

static fc_status join_numbers(fc_merge_files *f, how h, fc_error *err)
{
    f->width = f->file[0].width;
    for (int i = 0; i < (h == MEAN ? 1 : f->n); i++)
        f->rows += f->file[i].classes;
    size_t rows = (size_t)f->rows, D = (size_t)f->width;
    f->head_w = fc_arena_alloc(&f->arena, rows * D, sizeof *f->head_w, err);
    f->head_b = fc_arena_alloc(&f->arena, rows, sizeof *f->head_b, err);
    if (!f->head_w || !f->head_b)
        return FC_EFAIL;
    /* BELOW: W = [W_1; W_2; ..] (sum of rows, D); MEAN: W = sum_i W_i / n (rows, D) */
    double share = h == MEAN ? 1.0 / f->n : 1;
    size_t at = 0;
    for (int i = 0; i < f->n; i++) {
        const fc_model_file *m = &f->file[i];
        size_t n = (size_t)m->classes;
        for (size_t e = 0; e < n * D; e++)
            f->head_w[at * D + e] += share * (double)m->head_w[e];
        for (size_t e = 0; e < n; e++)
            f->head_b[at + e] += share * (double)m->head_b[e];
        at += h == BELOW ? n : 0;
    }
    return FC_OK;
}

/* --- metadata -----------------------------------------------------------------------------------
 */

static fc_status append_list(fc_ints *to, const fc_ints *list, fc_arena *arena, fc_error *err)
{
    int *v = fc_arena_alloc(arena, (size_t)(to->n + list->n), sizeof *v, err);
    if (!v)
        return FC_EFAIL;
    if (to->n > 0)
        memcpy(v, to->v, (size_t)to->n * sizeof *v);
    if (list->n > 0)
        memcpy(v + to->n, list->v, (size_t)list->n * sizeof *v);
    *to = (fc_ints){.v = v, .n = to->n + list->n};
    return FC_OK;
}

/* Does every input say the same of this option? */
static bool agreed(const fc_merge_files *f, const fc_setting *s)
{
    for (int i = 1; i < f->n; i++)
        if (!fc_model_meta_says(&f->file[i].meta, s))
            return false;
    return true;
}

static fc_status join_metadata(fc_merge_files *f, how h, fc_error *err)
{
    const fc_model_meta *first = &f->file[0].meta;
    fc_model_meta *all = &f->meta;
    all->setting = fc_arena_alloc(&f->arena, (size_t)first->n_settings, sizeof *all->setting, err);
    if (!all->setting)
        return FC_EFAIL;
    for (int i = 0; i < (h == BELOW ? f->n : 1); i++) {
        FC_TRY(append_list(&all->classes, &f->file[i].meta.classes, &f->arena, err));
        FC_TRY(append_list(&all->tasks, &f->file[i].meta.tasks, &f->arena, err));
    }
    for (int k = 0; k < first->n_settings; k++)
        if (agreed(f, &first->setting[k]))
            all->setting[all->n_settings++] = first->setting[k];
    return fc_model_meta_pairs(&f->metadata, &f->n_metadata, all, &f->arena, err);
}

fc_status fc_merge_head_join(fc_merge_files *f, fc_error *err)
{
    how h;
    FC_TRY(decide_head(&h, f, err));
    f->apart = h == BELOW;
    if (h != NO_HEAD)
        FC_TRY(join_numbers(f, h, err));
    return join_metadata(f, h, err);
}
