#include "core/merge/closed_form.h"

#include "core/base/parallel.h"
#include "core/linalg/gemm.h"
#include "core/linalg/linalg.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* A Gram term and its denominator. */
typedef struct solve {
    fc_gram_term term;
    bool full;   /* M is (dim, dim), else its diagonal */
    int dim;     /* columns of W */
    double *den; /* sum_i M_i */
} solve;

typedef struct state {
    double *num;   /* (n) sum of W_i M_i or of w_i W_i, in the layout of the block */
    bool *by_gram; /* (nspec) */
    solve *solve;  /* (n_solve) */
    int n_solve;
    int clients;   /* updates folded */
    double weight; /* sum of w_i */
} state;

static bool is_merged(const fc_merge_job *job, const fc_spec *s)
{
    return (job->groups >> s->group & 1) != 0;
}

static fc_status add_solve(state *st, const fc_merge_job *job, fc_gram_term term, fc_arena *arena,
                           fc_error *err)
{
    const fc_spec *W = &job->base->spec[term.tensor];
    const fc_spec *input = term.common < 0 ? W : &job->base->spec[term.common];
    const fc_gram_slot *G = &job->shape->slot[term.slot];
    if (G->dim != input->cols)
        return fc_fail(err, FC_EFAIL, "merge of %s: its Gram has size %d, expected %d", W->name,
                       G->dim, input->cols);
    solve *s = &st->solve[st->n_solve++];
    *s = (solve){.term = term, .full = G->full || term.common >= 0, .dim = W->cols};
    size_t d = (size_t)s->dim;
    s->den = fc_arena_alloc(arena, s->full ? d * d : d, sizeof *s->den, err);
    st->by_gram[term.tensor] = true;
    return s->den ? FC_OK : FC_EFAIL;
}

fc_status fc_closed_form_begin(void **out, const fc_merge_job *job, const fc_gram_term *term, int n,
                               bool head, fc_arena *arena, fc_error *err)
{
    state *st = fc_arena_alloc(arena, 1, sizeof *st, err);
    if (!st)
        return FC_EFAIL;
    st->num = fc_arena_alloc(arena, job->base->n, sizeof *st->num, err);
    st->by_gram = fc_arena_alloc(arena, (size_t)job->base->nspec, sizeof *st->by_gram, err);
    st->solve = fc_arena_alloc(arena, (size_t)n + 1, sizeof *st->solve, err);
    if (!st->num || !st->by_gram || !st->solve)
        return FC_EFAIL;
    for (int i = 0; i < n; i++)
        FC_TRY(add_solve(st, job, term[i], arena, err));
    if (head && job->head_W >= 0 && is_merged(job, &job->base->spec[job->head_W]) && job->shape &&
        job->shape->n > job->slots)
        FC_TRY(add_solve(st, job, (fc_gram_term){job->head_W, job->slots, -1}, arena, err));
    *out = st;
    return FC_OK;
}

/* Every number that fold will read is finite. */
static fc_status check_update(const state *st, const fc_merge_job *job, const fc_update *u,
                              fc_error *err)
{
    for (int t = 0; t < job->base->nspec; t++) {
        const fc_spec *s = &job->base->spec[t];
        if (!is_merged(job, s))
            continue;
        for (size_t i = 0; i < fc_spec_size(s); i++)
            if (!isfinite(u->params->p[s->offset + i]))
                return fc_fail(err, FC_EFAIL,
                               "client %d: element %zu of %s is %g, expected a finite number",
                               u->client, i, s->name, (double)u->params->p[s->offset + i]);
    }
    for (int k = 0; k < st->n_solve; k++) {
        const solve *s = &st->solve[k];
        const char *name = job->base->spec[s->term.tensor].name;
        if (!u->grams || u->grams->size != job->shape->size)
            return fc_fail(err, FC_EFAIL, "client %d: no Gram of %s, which this merge needs",
                           u->client, name);
        const fc_gram_slot *G = &u->grams->slot[s->term.slot];
        size_t n = (size_t)G->dim * (G->full ? (size_t)G->dim : 1);
        for (size_t i = 0; i < n; i++)
            if (!isfinite(u->grams->g[G->offset + i]))
                return fc_fail(
                    err, FC_EFAIL,
                    "client %d: element %zu of the Gram of %s is %g, expected a finite number",
                    u->client, i, name, u->grams->g[G->offset + i]);
    }
    return FC_OK;
}

/* A tensor as double, from scratch. */
static double *to_double(const fc_params *p, int tensor, fc_arena *scratch, fc_error *err)
{
    const fc_spec *s = &p->spec[tensor];
    double *x = fc_arena_alloc(scratch, fc_spec_size(s), sizeof *x, err);
    for (size_t i = 0; x && i < fc_spec_size(s); i++)
        x[i] = p->p[s->offset + i];
    return x;
}

/* M (r, r) = A G A^T; a diagonal G costs O(r^2 d_in). */
static double *project(const fc_params *base, int A_tensor, const double *G, bool full,
                       fc_arena *scratch, fc_error *err)
{
    int r = base->spec[A_tensor].rows, d = base->spec[A_tensor].cols;
    const double *A = to_double(base, A_tensor, scratch, err);
    double *AG = fc_arena_alloc(scratch, fc_spec_size(&base->spec[A_tensor]), sizeof *AG, err);
    double *M = fc_arena_alloc(scratch, (size_t)r * (size_t)r, sizeof *M, err);
    if (!A || !AG || !M)
        return NULL;
    /* AG = A G    (r, d) (d, d), or column j of A times G_jj */
    if (full)
        fc_dgemm(false, false, r, d, d, 1, A, d, G, d, 0, AG, d);
    else
        for (size_t i = 0; i < fc_spec_size(&base->spec[A_tensor]); i++)
            AG[i] = A[i] * G[i % (size_t)d];
    /* M = AG A^T    (r, d) (d, r) */
    fc_dgemm(false, true, r, r, d, 1, AG, d, A, d, 0, M, r);
    return M;
}

typedef struct fold_job {
    state *st;
    const fc_merge_job *job;
    const fc_update *u;
} fold_job;

/* num += W M, den += M */
static fc_status fold_solve(void *ctx, int k, fc_arena *scratch, fc_error *err)
{
    const fold_job *f = ctx;
    const solve *s = &f->st->solve[k];
    const fc_spec *spec = &f->job->base->spec[s->term.tensor];
    const fc_gram_slot *slot = &f->u->grams->slot[s->term.slot];
    const double *M = f->u->grams->g + slot->offset;
    if (s->term.common >= 0)
        M = project(f->job->base, s->term.common, M, slot->full, scratch, err);
    const double *W = to_double(f->u->params, s->term.tensor, scratch, err);
    if (!M || !W)
        return FC_EFAIL;

    double *num = f->st->num + spec->offset;
    size_t d = (size_t)s->dim;
    /* num += W_i M_i    (rows, dim) (dim, dim) */
    if (s->full)
        fc_dgemm(false, false, spec->rows, s->dim, s->dim, 1, W, s->dim, M, s->dim, 1, num, s->dim);
    else
        for (size_t i = 0; i < fc_spec_size(spec); i++)
            num[i] += W[i] * M[i % d];
    /* den += M_i (dim, dim) */
    for (size_t i = 0; i < (s->full ? d * d : d); i++)
        s->den[i] += M[i];
    return FC_OK;
}

fc_status fc_closed_form_fold(void *state_, const fc_merge_job *job, const fc_update *u,
                              fc_error *err)
{
    state *st = state_;
    assert(u->params->n == job->base->n);
    FC_TRY(check_update(st, job, u, err));
    double w = job->weighted ? (double)u->n_samples : u->n_samples > 0;
    for (int t = 0; t < job->base->nspec; t++) {
        const fc_spec *s = &job->base->spec[t];
        if (!is_merged(job, s) || st->by_gram[t])
            continue;
        /* num += w_i W_i */
        for (size_t i = s->offset; i < s->offset + fc_spec_size(s); i++)
            st->num[i] += w * u->params->p[i];
    }
    st->weight += w;
    st->clients++;
    return fc_parallel_for(st->n_solve, fold_solve, &(fold_job){st, job, u}, err);
}

typedef struct finish_job {
    state *st;
    const fc_merge_job *job;
    fc_params *out;
} finish_job;

/* Round the finished double tensor once. */
static fc_status write_out(const finish_job *f, int tensor, fc_error *err)
{
    const fc_spec *s = &f->job->base->spec[tensor];
    for (size_t i = s->offset; i < s->offset + fc_spec_size(s); i++) {
        f->out->p[i] = (fc_real)f->st->num[i];
        if (!isfinite(f->out->p[i]))
            return fc_fail(err, FC_EFAIL,
                           "merge of %s: element %zu came out as %g, expected a finite number",
                           s->name, i - s->offset, f->st->num[i]);
    }
    return FC_OK;
}

/* W = num den^+ */
static fc_status finish_solve(void *ctx, int k, fc_arena *scratch, fc_error *err)
{
    const finish_job *f = ctx;
    const solve *s = &f->st->solve[k];
    const fc_spec *spec = &f->job->base->spec[s->term.tensor];
    double *num = f->st->num + spec->offset;
    /* W* = num den^+    (rows, dim) (dim, dim); diagonal: column by column, 0/0 = 0 */
    if (s->full) {
        FC_TRY(fc_spd_solve(num, s->den, num, spec->rows, s->dim, spec->name, NULL, scratch, err));
    } else {
        for (size_t i = 0; i < fc_spec_size(spec); i++) {
            double g = s->den[i % (size_t)s->dim];
            num[i] = g != 0 ? num[i] / g : 0;
        }
    }
    return write_out(f, s->term.tensor, err);
}

fc_status fc_closed_form_finish(void *state_, const fc_merge_job *job, fc_params *out,
                                fc_error *err)
{
    state *st = state_;
    if (!(st->weight > 0))
        return fc_fail(err, FC_EFAIL, "merge: %d updates without a sample, expected at least one",
                       st->clients);
    finish_job f = {st, job, out};
    memcpy(out->p, job->base->p, job->base->n * sizeof *out->p);
    for (int t = 0; t < job->base->nspec; t++) {
        const fc_spec *s = &job->base->spec[t];
        if (!is_merged(job, s) || st->by_gram[t])
            continue;
        /* W* = sum_i w_i W_i / sum_i w_i */
        for (size_t i = s->offset; i < s->offset + fc_spec_size(s); i++)
            st->num[i] /= st->weight;
        FC_TRY(write_out(&f, t, err));
    }
    return fc_parallel_for(st->n_solve, finish_solve, &f, err);
}
