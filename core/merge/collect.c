#include "core/merge/collect.h"

#include "core/base/parallel.h"
#include "core/base/threads.h"
#include "core/linalg/gemm.h"
#include "core/merge/closed_form.h"
#include "core/merge/collect_parts.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <string.h>

/* Groups whose tensors are task vectors as they are. */
static unsigned dense_groups(const fc_merge_method *rule, const fc_merge_job *job)
{
    unsigned head = rule->entry_weights ? job->groups & 1u << FC_GROUP_HEAD : 0;
    return head | (job->product ? 0 : 1u << FC_GROUP_BACKBONE);
}

/* The weights of the slots that are pairs, then whole tensors. */
static void describe_tensors(fc_collect *c, const int *slot_of)
{
    const fc_merge_job *j = c->job;
    c->tensors = c->pairs = j->product ? j->slots : 0;
    for (int t = 0; t < c->pairs; t++) {
        c->spec[t] = j->slot_A[t];
        const fc_spec *A = spec_of(c, t), *B = spec_B(c, t);
        c->shape[t] = (fc_tv_shape){A->name, B->rows, A->cols, true};
    }
    for (int s = 0; s < j->base->nspec; s++) {
        const fc_spec *W = &j->base->spec[s];
        if (!(dense_groups(c->rule, j) >> W->group & 1))
            continue;
        c->spec[c->tensors] = s;
        c->shape[c->tensors++] = (fc_tv_shape){W->name, W->rows, W->cols, slot_of[s] >= 0};
    }
}

/* (nspec) the slot whose weight a tensor is, or -1. */
static int *slots_of(const fc_merge_job *j, fc_arena *arena, fc_error *err)
{
    int *slot = fc_arena_alloc(arena, (size_t)j->base->nspec, sizeof *slot, err);
    for (int s = 0; slot && s < j->base->nspec; s++)
        slot[s] = -1;
    for (int i = 0; slot && j->slot_W && i < j->slots; i++)
        slot[j->slot_W[i]] = i;
    return slot;
}

/* The rank of one update's pair, and of the stack of all of them; 0: dense. */
static int pair_rank(const fc_collect *c, int t)
{
    return t < c->pairs ? spec_of(c, t)->rows * (c->moved ? 2 : 1) : 0;
}

static int stack_rank(const fc_collect *c, int t)
{
    size_t m = (size_t)c->shape[t].rows, n = (size_t)c->shape[t].cols;
    bool stack = t < c->pairs && !c->rule->entry_weights;
    size_t r = stack ? (size_t)spec_of(c, t)->rows * (size_t)c->job->clients : 0;
    return r * (m + n) <= m * n ? (int)r : 0;
}

static bool any_nonzero(const fc_params *p, const fc_spec *s)
{
    for (size_t i = 0; i < fc_spec_size(s); i++)
        if (p->p[s->offset + i] != 0)
            return true;
    return false;
}

/* Room for (clients) Grams of each tensor that is a slot. */
static fc_status begin_grams(fc_collect *c, const int *slot_of, fc_error *err)
{
    size_t T = (size_t)c->tensors;
    c->gram = fc_arena_alloc(c->arena, T * (size_t)c->job->clients, sizeof *c->gram, err);
    c->slot = fc_arena_alloc(c->arena, T, sizeof *c->slot, err);
    if (!c->gram || !c->slot)
        return FC_EFAIL;
    for (int t = 0; t < c->tensors; t++)
        c->slot[t] = t < c->pairs ? t : slot_of[c->spec[t]];
    for (size_t k = 0; k < T * (size_t)c->job->clients; k++) {
        size_t d = (size_t)c->shape[k % T].cols;
        if (c->slot[k % T] < 0)
            continue;
        c->gram[k] = fc_arena_alloc(c->arena, d, d * sizeof **c->gram, err);
        if (!c->gram[k])
            return FC_EFAIL;
    }
    return FC_OK;
}

static fc_status begin_weights(fc_collect *c, fc_error *err)
{
    c->den = fc_arena_alloc(c->arena, (size_t)c->tensors, sizeof *c->den, err);
    for (int t = 0; c->den && t < c->tensors; t++) {
        c->den[t] = fc_arena_alloc(c->arena, fc_tv_size(&c->shape[t]), sizeof **c->den, err);
        if (!c->den[t])
            return FC_EFAIL;
    }
    return c->den ? FC_OK : FC_EFAIL;
}

static fc_status begin_head(fc_collect *c, fc_error *err)
{
    c->head_job = *c->job;
    c->head_job.groups &= 1u << FC_GROUP_HEAD;
    if (!c->head_job.groups || c->rule->entry_weights)
        return FC_OK;
    bool gram = (c->rule->needs & FC_MERGE_NEEDS_GRAMS) != 0;
    return fc_closed_form_begin(&c->head, &c->head_job, NULL, 0, gram, c->arena, err);
}

fc_status fc_collect_begin(fc_collect **out, const fc_merge_method *rule, const fc_merge_job *job,
                           fc_arena *arena, fc_error *err)
{
    fc_collect *c = *out = fc_arena_alloc(arena, 1, sizeof *c, err);
    if (!c)
        return FC_EFAIL;
    *c = (fc_collect){
        .rule = rule, .job = job, .arena = arena, .streams = fc_collect_streams(rule, job)};
    size_t most = (size_t)job->base->nspec, clients = (size_t)job->clients;
    int *slot = slots_of(job, arena, err);
    c->spec = fc_arena_alloc(arena, most, sizeof *c->spec, err);
    c->shape = fc_arena_alloc(arena, most, sizeof *c->shape, err);
    c->id = fc_arena_alloc(arena, clients, sizeof *c->id, err);
    c->weight = fc_arena_alloc(arena, clients, sizeof *c->weight, err);
    if (!slot || !c->spec || !c->shape || !c->id || !c->weight)
        return FC_EFAIL;
    describe_tensors(c, slot);
    size_t T = (size_t)c->tensors;
    c->tv = fc_arena_alloc(arena, c->streams ? T : T * clients, sizeof *c->tv, err);
    if (!c->tv)
        return FC_EFAIL;
    for (int t = 0; t < c->pairs; t++)
        c->moved = c->moved || any_nonzero(job->base, spec_B(c, t));
    size_t kept = c->streams ? 1 : clients;
    for (size_t k = 0; k < T * kept; k++) {
        int t = (int)(k % T), rank = c->streams ? stack_rank(c, t) : pair_rank(c, t);
        FC_TRY(fc_collect_tv(&c->tv[k], &c->shape[t], rank, arena, err));
    }
    if (rule->needs & FC_MERGE_NEEDS_GRAMS)
        FC_TRY(begin_grams(c, slot, err));
    if (rule->entry_weights)
        FC_TRY(begin_weights(c, err));
    return begin_head(c, err);
}

/* ---- one update --------------------------------------------------------------------------- */

static fc_status check_finite_tensor(const fc_update *u, const fc_spec *s, fc_error *err)
{
    for (size_t i = s->offset; i < s->offset + fc_spec_size(s); i++)
        if (!isfinite(u->params->p[i]))
            return fc_fail(err, FC_EFAIL,
                           "client %d: element %zu of %s is %g, expected a finite number",
                           u->client, i - s->offset, s->name, (double)u->params->p[i]);
    return FC_OK;
}

/* tau of tensor t as it is kept. */
static void keep_tensor(fc_collect *c, const fc_update *u, int t)
{
    const fc_tv *tv = &c->tv[(size_t)c->n * (size_t)c->tensors + (size_t)t];
    const fc_spec *s = spec_of(c, t);
    if (t >= c->pairs) {
        /* tau_i = W_i - W_0 */
        for (size_t i = 0; i < fc_tv_size(&c->shape[t]); i++)
            own_array(tv->dense)[i] =
                (double)u->params->p[s->offset + i] - c->job->base->p[s->offset + i];
        return;
    }
    /* tau_i = B_i A_i - B_0 A_0 = [B_i, -B_0] [A_i; A_0] */
    int r = s->rows;
    fc_collect_put(own_array(tv->B), tv->rank, 0, 1, u->params, spec_B(c, t));
    fc_collect_put(own_array(tv->A), s->cols, 0, 1, u->params, s);
    if (!c->moved)
        return;
    fc_collect_put(own_array(tv->B), tv->rank, r, -1, c->job->base, spec_B(c, t));
    fc_collect_put(own_array(tv->A) + (size_t)r * (size_t)s->cols, s->cols, 0, 1, c->job->base, s);
}

/* sum (rows, cols) += w (tau + B_0 A_0) */
static fc_status add_dense_update(double *sum, const fc_collect *c, const fc_update *u, int t,
                                  double w, fc_arena *arena, fc_error *err)
{
    const fc_spec *s = spec_of(c, t);
    int r = s->rows, n = s->cols;
    if (t >= c->pairs) {
        for (size_t i = 0; i < fc_tv_size(&c->shape[t]); i++)
            sum[i] += w * ((double)u->params->p[s->offset + i] - c->job->base->p[s->offset + i]);
        return FC_OK;
    }
    const fc_spec *B = spec_B(c, t);
    fc_mark mark = fc_arena_mark(arena);
    double *Bd = fc_arena_alloc(arena, (size_t)B->rows * (size_t)r, sizeof *Bd, err);
    double *Ad = fc_arena_alloc(arena, (size_t)r * (size_t)n, sizeof *Ad, err);
    if (!Bd || !Ad)
        return FC_EFAIL;
    fc_collect_put(Bd, r, 0, 1, u->params, B);
    fc_collect_put(Ad, n, 0, 1, u->params, s);
    /* sum += w B_i A_i    (rows, r) (r, cols) */
    fc_dgemm(false, false, B->rows, n, r, w, Bd, r, Ad, n, 1, sum, n);
    fc_arena_release(arena, mark);
    return FC_OK;
}

/* The running sum += w (tau + B_0 A_0), dense or stacked. */
static fc_status add_tensor(fc_collect *c, const fc_update *u, int t, double w, fc_error *err)
{
    const fc_tv *tv = &c->tv[t];
    if (tv->rank == 0)
        return add_dense_update(own_array(tv->dense), c, u, t, w, c->arena, err);
    /* stacked: sum_i w_i B_i A_i = [B_1 .. B_n] [w_1 A_1; ..; w_n A_n] */
    const fc_spec *A = spec_of(c, t);
    size_t above = (size_t)c->n * (size_t)A->rows;
    fc_collect_put(own_array(tv->B), tv->rank, (int)above, 1, u->params, spec_B(c, t));
    fc_collect_put(own_array(tv->A) + above * (size_t)A->cols, A->cols, 0, w, u->params, A);
    return FC_OK;
}

/* One update of a rule with entry_weights. */
typedef struct weigh_job {
    const fc_collect *c;
    const fc_update *u;
    double count, norm; /* of its Fisher information, which counts so much */
} weigh_job;

/* sum += w (tau + B_0 A_0), den += w: entry by entry */
static fc_status add_weighted(void *ctx, int t, fc_arena *scratch, fc_error *err)
{
    const weigh_job *j = ctx;
    const fc_collect *c = j->c;
    const fc_params *fisher = j->u->fisher;
    const fc_real *F = fisher->p + fisher->spec[t].offset;
    size_t n = fc_tv_size(&c->shape[t]);
    double *sum = own_array(c->tv[t].dense);
    double *w = fc_arena_alloc(scratch, n, sizeof *w, err);
    double *x = fc_arena_alloc(scratch, n, sizeof *x, err);
    if (!w || !x)
        return FC_EFAIL;
    for (size_t i = 0; i < n; i++)
        w[i] = j->count * F[i];
    c->rule->entry_weights(w, n, j->norm, c->job->options);
    FC_TRY(add_dense_update(x, c, j->u, t, 1, scratch, err));
    for (size_t i = 0; i < n; i++) {
        sum[i] += w[i] * x[i];
        c->den[t][i] += w[i];
    }
    return FC_OK;
}

/* *norm = ||F||_2 of the update, each number of which is finite and not negative. */
static fc_status check_fisher_update(double *norm, const fc_collect *c, const fc_update *u,
                                     fc_error *err)
{
    double sum = 0;
    if (!u->fisher || u->fisher->nspec != c->tensors)
        return fc_fail(err, FC_EFAIL, "client %d: no Fisher information, which this merge needs",
                       u->client);
    for (int t = 0; t < c->tensors; t++) {
        const fc_spec *s = &u->fisher->spec[t];
        assert(fc_spec_size(s) == fc_tv_size(&c->shape[t]));
        for (size_t i = 0; i < fc_tv_size(&c->shape[t]); i++) {
            double F = u->fisher->p[s->offset + i];
            if (!(F >= 0 && F <= DBL_MAX))
                return fc_fail(err, FC_EFAIL,
                               "client %d: element %zu of the Fisher information of %s is %g, "
                               "expected a finite number from 0 on",
                               u->client, i, s->name, F);
            sum += F * F;
        }
    }
    *norm = sqrt(sum);
    return FC_OK;
}

/* Grams (d, d), from full or diagonal ones. */
static fc_status keep_grams(fc_collect *c, const fc_update *u, fc_error *err)
{
    if (!u->grams)
        return fc_fail(err, FC_EFAIL, "client %d: no Grams, which this merge needs", u->client);
    for (int t = 0; t < c->tensors; t++) {
        if (c->slot[t] < 0)
            continue;
        const fc_gram_slot *G = &u->grams->slot[c->slot[t]];
        size_t d = (size_t)G->dim;
        double *to = c->gram[(size_t)c->n * (size_t)c->tensors + (size_t)t];
        for (size_t i = 0; i < (G->full ? d * d : d); i++)
            to[G->full ? i : i * (d + 1)] = u->grams->g[G->offset + i];
    }
    return FC_OK;
}

fc_status fc_collect_fold(fc_collect *c, const fc_update *u, fc_error *err)
{
    double norm = 0;
    for (int t = 0; t < c->tensors; t++) {
        FC_TRY(check_finite_tensor(u, spec_of(c, t), err));
        if (t < c->pairs)
            FC_TRY(check_finite_tensor(u, spec_B(c, t), err));
    }
    if (c->den)
        FC_TRY(check_fisher_update(&norm, c, u, err));
    if (c->head)
        FC_TRY(fc_closed_form_fold(c->head, &c->head_job, u, err));
    if (u->n_samples == 0)
        return FC_OK;
    if (c->n == c->job->clients)
        return fc_fail(err, FC_EFAIL, "merge of more than the %d updates announced", c->n);
    double w = c->job->weighted ? (double)u->n_samples : 1;
    double counts = c->rule->weighs ? w : 1;
    weigh_job weighed = {c, u, w, w * norm};
    if (c->den)
        FC_TRY(fc_parallel_for(c->tensors, add_weighted, &weighed, err));
    for (int t = 0; t < c->tensors && !c->den; t++) {
        if (c->streams)
            FC_TRY(add_tensor(c, u, t, counts, err));
        else
            keep_tensor(c, u, t);
    }
    if (c->gram)
        FC_TRY(keep_grams(c, u, err));
    c->id[c->n] = u->client;
    c->weight[c->n++] = w;
    c->total += counts;
    return FC_OK;
}

/* Numbers of all tensors, of the running sums, and of the largest tensor. */
typedef struct sizes {
    size_t all, sums, largest;
} sizes;

static sizes sizes_of(const fc_merge_method *rule, const fc_merge_job *job)
{
    const unsigned groups = dense_groups(rule, job) | (job->product ? 1u << FC_GROUP_A : 0);
    sizes z = {0};
    for (int s = 0, i = 0; s < job->base->nspec; s++) {
        const fc_spec *p = &job->base->spec[s];
        size_t m = (size_t)p->rows, n = (size_t)p->cols, stack = 0;
        if (!(groups >> p->group & 1))
            continue;
        if (p->group == FC_GROUP_A) { /* (r, n), and B (m, r) */
            m = (size_t)job->base->spec[job->slot_B[i++]].rows;
            stack = (size_t)p->rows * (size_t)job->clients * (m + n);
        }
        z.all += m * n;
        z.sums += rule->entry_weights ? 2 * m * n : stack && stack <= m * n ? stack : m * n;
        z.largest = m * n > z.largest ? m * n : z.largest;
    }
    return z;
}

bool fc_collect_streams(const fc_merge_method *rule, const fc_merge_job *job)
{
    bool scaled = rule->scale && !(job->space.kind != FC_SPACE_FULL && job->space.isotropise);
    return scaled || rule->entry_weights;
}

size_t fc_collect_kept_bytes(const fc_merge_method *rule, const fc_merge_job *job)
{
    size_t one = 0, pairs = job->sum ? 1 : 2; /* with a sum every round begins with B_0 = 0 */
    if (fc_collect_streams(rule, job))
        return sizes_of(rule, job).sums * sizeof(double);
    for (int s = 0; s < job->base->nspec; s++) {
        const fc_spec *p = &job->base->spec[s];
        bool kept = job->product ? p->group == FC_GROUP_A || p->group == FC_GROUP_B
                                 : p->group == FC_GROUP_BACKBONE;
        if (kept)
            one += fc_spec_size(p) * (job->product ? pairs : 1);
    }
    for (int i = 0; rule->needs & FC_MERGE_NEEDS_GRAMS && i < job->slots; i++)
        one += (size_t)job->shape->slot[i].dim * (size_t)job->shape->slot[i].dim;
    return one * sizeof(double) * (size_t)job->clients;
}

size_t fc_collect_work_bytes(const fc_merge_method *rule, const fc_merge_job *job)
{
    enum { SVD = 5, WEIGHTED = 2 }; /* matrices that the cut, or the sum, of one takes */
    sizes z = sizes_of(rule, job);
    size_t one = job->product && !job->sum ? SVD : rule->entry_weights ? WEIGHTED : 1;
    size_t result = fc_collect_streams(rule, job) ? 0 : z.all; /* a running sum is the result */
    size_t scratch = one * z.largest + result; /* malloc keeps what the rule gives back */
    return (result + scratch * (size_t)fc_threads()) * sizeof(double);
}
