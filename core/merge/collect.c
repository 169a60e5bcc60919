#include "core/merge/collect.h"

#include "core/gemm.h"
#include "core/linalg.h"
#include "core/merge/closed_form.h"
#include "core/merge/lora_average.h"
#include "core/parallel.h"
#include "core/threads.h"

#include <math.h>
#include <string.h>

struct fc_collect {
    const fc_merge_method *rule;
    const fc_merge_job *job;
    fc_merge_job head_job; /* the head alone */
    void *head;            /* state of its closed form; NULL: the head is not trained */
    fc_arena *arena;
    int tensors;
    int *spec;          /* (tensors) spec index of W; product: of A */
    fc_tv_shape *shape; /* (tensors) */
    bool streams;       /* one running sum, tv[0 .. tensors-1] */
    bool moved;         /* product: B_0 is not 0 */
    int n, rank;        /* updates folded; rows used of the stacked factors */
    fc_tv *tv;          /* (clients, tensors), or (tensors) */
    int *id;            /* (clients) */
    double *weight;     /* (clients) */
    double total;       /* of the weights that count for the rule */
    int *slot;          /* (tensors) whose Gram, -1: none; NULL without Grams */
    double **gram;      /* (clients, tensors) */
};

static bool streams(const fc_merge_method *rule, const fc_merge_job *job)
{
    return rule->scale && !(job->space.kind != FC_SPACE_FULL && job->space.isotropise);
}

static const fc_spec *spec_of(const fc_collect *c, int t)
{
    return &c->job->base->spec[c->spec[t]];
}

/* B of the pair whose A is tensor t. */
static const fc_spec *spec_B(const fc_collect *c, int t)
{
    return &c->job->base->spec[c->job->slot_B[t]];
}

/* The weight of slot t, or tensor t of the backbone. */
static void describe(fc_collect *c, const int *slot_of)
{
    const fc_merge_job *j = c->job;
    if (j->product) {
        c->tensors = j->slots;
        for (int t = 0; t < j->slots; t++) {
            c->spec[t] = j->slot_A[t];
            const fc_spec *A = spec_of(c, t), *B = spec_B(c, t);
            c->shape[t] = (fc_tv_shape){A->name, B->rows, A->cols, true};
        }
        return;
    }
    for (int s = 0; s < j->base->nspec; s++) {
        const fc_spec *W = &j->base->spec[s];
        if (W->group != FC_GROUP_BACKBONE)
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
    return c->job->product ? spec_of(c, t)->rows * (c->moved ? 2 : 1) : 0;
}

static int stack_rank(const fc_collect *c, int t)
{
    size_t m = (size_t)c->shape[t].rows, n = (size_t)c->shape[t].cols;
    size_t r = c->job->product ? (size_t)spec_of(c, t)->rows * (size_t)c->job->clients : 0;
    return r * (m + n) <= m * n ? (int)r : 0;
}

static fc_status tv_alloc(fc_tv *tv, const fc_tv_shape *s, int rank, fc_arena *arena, fc_error *err)
{
    size_t m = (size_t)s->rows, n = (size_t)s->cols, r = (size_t)rank;
    *tv = (fc_tv){.rank = rank};
    if (rank == 0) {
        tv->dense = fc_arena_alloc(arena, m * n, sizeof *tv->dense, err);
        return tv->dense ? FC_OK : FC_EFAIL;
    }
    tv->B = fc_arena_alloc(arena, m * r, sizeof *tv->B, err);
    tv->A = fc_arena_alloc(arena, r * n, sizeof *tv->A, err);
    return tv->B && tv->A ? FC_OK : FC_EFAIL;
}

/* The arrays of a task vector that we own. */
static double *own(const double *x)
{
    union {
        const double *given;
        double *ours;
    } u = {.given = x};
    return u.ours;
}

static bool any(const fc_params *p, const fc_spec *s)
{
    for (size_t i = 0; i < (size_t)s->rows * (size_t)s->cols; i++)
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
        c->slot[t] = c->job->product ? t : slot_of[c->spec[t]];
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

static fc_status begin_head(fc_collect *c, fc_error *err)
{
    c->head_job = *c->job;
    c->head_job.groups &= 1u << FC_GROUP_HEAD;
    if (!c->head_job.groups)
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
    *c = (fc_collect){.rule = rule, .job = job, .arena = arena, .streams = streams(rule, job)};
    size_t most = (size_t)job->base->nspec, clients = (size_t)job->clients;
    int *slot = slots_of(job, arena, err);
    c->spec = fc_arena_alloc(arena, most, sizeof *c->spec, err);
    c->shape = fc_arena_alloc(arena, most, sizeof *c->shape, err);
    c->id = fc_arena_alloc(arena, clients, sizeof *c->id, err);
    c->weight = fc_arena_alloc(arena, clients, sizeof *c->weight, err);
    if (!slot || !c->spec || !c->shape || !c->id || !c->weight)
        return FC_EFAIL;
    describe(c, slot);
    size_t T = (size_t)c->tensors;
    c->tv = fc_arena_alloc(arena, c->streams ? T : T * clients, sizeof *c->tv, err);
    if (!c->tv)
        return FC_EFAIL;
    for (int t = 0; t < c->tensors && job->product; t++)
        c->moved = c->moved || any(job->base, spec_B(c, t));
    size_t kept = c->streams ? 1 : clients;
    for (size_t k = 0; k < T * kept; k++) {
        int t = (int)(k % T), rank = c->streams ? stack_rank(c, t) : pair_rank(c, t);
        FC_TRY(tv_alloc(&c->tv[k], &c->shape[t], rank, arena, err));
    }
    if (rule->needs & FC_MERGE_NEEDS_GRAMS)
        FC_TRY(begin_grams(c, slot, err));
    return begin_head(c, err);
}

/* --- one update ---------------------------------------------------------------------------------
 */

static fc_status check_finite(const fc_update *u, const fc_spec *s, fc_error *err)
{
    for (size_t i = s->offset; i < s->offset + (size_t)s->rows * (size_t)s->cols; i++)
        if (!isfinite(u->params->p[i]))
            return fc_fail(err, FC_EFAIL,
                           "client %d: element %zu of %s is %g, expected a finite number",
                           u->client, i - s->offset, s->name, (double)u->params->p[i]);
    return FC_OK;
}

/* dst (rows, ld) from column `at` on = c x, x the tensor of p. */
static void put(double *dst, int ld, int at, double c, const fc_params *p, const fc_spec *s)
{
    const fc_real *x = p->p + s->offset;
    for (int i = 0; i < s->rows; i++)
        for (int j = 0; j < s->cols; j++)
            dst[(size_t)i * (size_t)ld + (size_t)(at + j)] = c * *x++;
}

/* tau of tensor t as it is kept. */
static void keep_tensor(fc_collect *c, const fc_update *u, int t)
{
    const fc_tv *tv = &c->tv[(size_t)c->n * (size_t)c->tensors + (size_t)t];
    const fc_spec *s = spec_of(c, t);
    if (!c->job->product) {
        for (size_t i = 0; i < fc_tv_size(&c->shape[t]); i++)
            own(tv->dense)[i] =
                (double)u->params->p[s->offset + i] - c->job->base->p[s->offset + i];
        return;
    }
    int r = s->rows;
    put(own(tv->B), tv->rank, 0, 1, u->params, spec_B(c, t));
    put(own(tv->A), s->cols, 0, 1, u->params, s);
    if (!c->moved)
        return;
    put(own(tv->B), tv->rank, r, -1, c->job->base, spec_B(c, t));
    put(own(tv->A) + (size_t)r * (size_t)s->cols, s->cols, 0, 1, c->job->base, s);
}

/* sum += w (tau + B_0 A_0) */
static fc_status add_tensor(fc_collect *c, const fc_update *u, int t, double w, fc_error *err)
{
    const fc_tv *tv = &c->tv[t];
    const fc_spec *s = spec_of(c, t), *B = c->job->product ? spec_B(c, t) : NULL;
    int r = s->rows, n = s->cols;
    if (!c->job->product) {
        for (size_t i = 0; i < fc_tv_size(&c->shape[t]); i++)
            own(tv->dense)[i] +=
                w * ((double)u->params->p[s->offset + i] - c->job->base->p[s->offset + i]);
        return FC_OK;
    }
    if (tv->rank) {
        put(own(tv->B), tv->rank, c->n * r, 1, u->params, B);
        put(own(tv->A) + (size_t)c->n * (size_t)r * (size_t)n, n, 0, w, u->params, s);
        return FC_OK;
    }
    fc_mark mark = fc_arena_mark(c->arena);
    double *Bd = fc_arena_alloc(c->arena, (size_t)B->rows * (size_t)r, sizeof *Bd, err);
    double *Ad = fc_arena_alloc(c->arena, (size_t)r * (size_t)n, sizeof *Ad, err);
    if (!Bd || !Ad)
        return FC_EFAIL;
    put(Bd, r, 0, 1, u->params, B);
    put(Ad, n, 0, 1, u->params, s);
    fc_dgemm(false, false, B->rows, n, r, w, Bd, r, Ad, n, 1, own(tv->dense), n);
    fc_arena_release(c->arena, mark);
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
    for (int t = 0; t < c->tensors; t++) {
        FC_TRY(check_finite(u, spec_of(c, t), err));
        if (c->job->product)
            FC_TRY(check_finite(u, spec_B(c, t), err));
    }
    if (c->head)
        FC_TRY(fc_closed_form_fold(c->head, &c->head_job, u, err));
    if (u->n_samples == 0)
        return FC_OK;
    if (c->n == c->job->clients)
        return fc_fail(err, FC_EFAIL, "merge of more than the %d updates announced", c->n);
    double w = c->job->weighted ? (double)u->n_samples : 1;
    double counts = c->rule->weighs ? w : 1;
    for (int t = 0; t < c->tensors; t++) {
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

/* --- the result ---------------------------------------------------------------------------------
 */

/* The pair of the server's model at the start of the round, times c. */
static fc_status base_pair(fc_tv *tv, const fc_collect *c, int t, double factor, fc_arena *arena,
                           fc_error *err)
{
    FC_TRY(tv_alloc(tv, &c->shape[t], spec_of(c, t)->rows, arena, err));
    put(own(tv->B), tv->rank, 0, factor, c->job->base, spec_B(c, t));
    put(own(tv->A), spec_of(c, t)->cols, 0, 1, c->job->base, spec_of(c, t));
    return FC_OK;
}

/* tau (tensors) of the streaming rules: the sum is scaled in place. *share: how much of B_0 A_0 has
 * to be added, since the sum is one of B_i A_i and not of their changes. */
static void scale_sum(double *share, fc_collect *c)
{
    double scale = c->rule->scale(c->job->options, c->total);
    *share = c->job->product ? -scale * c->total : 0;
    for (int t = 0; t < c->tensors; t++) {
        const fc_tv *tv = &c->tv[t];
        size_t n =
            tv->rank ? (size_t)tv->rank * (size_t)c->shape[t].cols : fc_tv_size(&c->shape[t]);
        double *x = own(tv->rank ? tv->A : tv->dense);
        for (size_t i = 0; i < n; i++)
            x[i] *= scale;
    }
}

static fc_status combine_all(fc_tv *tau, fc_collect *c, fc_error *err)
{
    double **out = fc_arena_alloc(c->arena, (size_t)c->tensors, sizeof *out, err);
    if (!out)
        return FC_EFAIL;
    for (int t = 0; t < c->tensors; t++) {
        FC_TRY(tv_alloc(&tau[t], &c->shape[t], 0, c->arena, err));
        out[t] = own(tau[t].dense);
    }
    const fc_tv_set set = {.n = c->n,
                           .tensors = c->tensors,
                           .shape = c->shape,
                           .tv = c->tv,
                           .kind = "client",
                           .id = c->id,
                           .weight = c->weight,
                           .gram = (const double *const *)c->gram,
                           .key = c->job->key};
    return fc_space_combine(out, &set, c->rule->combine, c->job->options, &c->job->space, c->arena,
                            err);
}

static fc_status store(fc_params *out, const fc_spec *s, size_t i, double x, fc_error *err)
{
    fc_real *to = &out->p[s->offset + i];
    *to = (fc_real)x;
    if (!isfinite(*to))
        return fc_fail(err, FC_EFAIL,
                       "merge of %s: element %zu came out as %g, expected a finite number", s->name,
                       i, x);
    return FC_OK;
}

typedef struct finish_job {
    const fc_collect *c;
    const fc_tv *tau;    /* (tensors) */
    double share;        /* of B_0 A_0 that is added */
    double *kept, *lost; /* (tensors) squared norms of what finish_pair keeps and what it cuts */
    fc_params *out;
} finish_job;

/* W = W_0 + tau */
static fc_status finish_full(void *ctx, int t, fc_arena *scratch, fc_error *err)
{
    const finish_job *j = ctx;
    const fc_collect *c = j->c;
    const fc_spec *s = spec_of(c, t);
    (void)scratch;
    for (size_t i = 0; i < fc_tv_size(&c->shape[t]); i++)
        FC_TRY(store(j->out, s, i, j->tau[t].dense[i] + c->job->base->p[s->offset + i], err));
    return FC_OK;
}

/* sum += tau + share B_0 A_0; B = 0 */
static fc_status finish_sum(void *ctx, int t, fc_arena *scratch, fc_error *err)
{
    const finish_job *j = ctx;
    const fc_collect *c = j->c;
    const fc_spec *B = spec_B(c, t);
    size_t size = fc_tv_size(&c->shape[t]);
    fc_real *W = c->job->sum + c->job->sum_offset[t];
    double *x = fc_arena_alloc(scratch, size, sizeof *x, err);
    fc_tv base;
    if (!x)
        return FC_EFAIL;
    FC_TRY(base_pair(&base, c, t, j->share, scratch, err));
    fc_tv_dense(x, &j->tau[t], &c->shape[t]);
    fc_tv_add(x, 1, &base, &c->shape[t]);
    for (size_t i = 0; i < size; i++) {
        W[i] += (fc_real)x[i];
        if (!isfinite(W[i]))
            return fc_fail(err, FC_EFAIL, "merge of %s: found %g, expected a finite number",
                           c->shape[t].name, x[i]);
    }
    memset(j->out->p + B->offset, 0, (size_t)B->rows * (size_t)B->cols * sizeof *j->out->p);
    return FC_OK;
}

/* B A = the best approximation of tau + share B_0 A_0 of the rank of A */
static fc_status finish_pair(void *ctx, int t, fc_arena *scratch, fc_error *err)
{
    const finish_job *j = ctx;
    const fc_spec *A = spec_of(j->c, t), *B = spec_B(j->c, t);
    size_t n_A = (size_t)A->rows * (size_t)A->cols, n_B = (size_t)B->rows * (size_t)B->cols;
    fc_tv pair[2] = {j->tau[t]}, best;
    double error;
    FC_TRY(base_pair(&pair[1], j->c, t, j->share, scratch, err));
    const fc_tv_set set = {
        .n = j->share != 0 ? 2 : 1, .tensors = 1, .shape = &j->c->shape[t], .tv = pair};
    FC_TRY(
        fc_lora_flex(&best, &error, &set, NULL, &(fc_flex_options){.rank = A->rows}, scratch, err));
    for (size_t i = 0; i < n_B; i++)
        FC_TRY(store(j->out, B, i, best.B[i], err));
    for (size_t i = 0; i < n_A; i++)
        FC_TRY(store(j->out, A, i, best.A[i], err));
    j->kept[t] = fc_sum_squares(best.B, n_B); /* rows of A are orthonormal */
    j->lost[t] = error * error;
    return FC_OK;
}

static double lost_share(const finish_job *j)
{
    double lost = 0, kept = 0;
    for (int t = 0; t < j->c->tensors; t++) {
        lost += j->lost[t];
        kept += j->kept[t];
    }
    return lost > 0 ? sqrt(lost / (lost + kept)) : 0;
}

fc_status fc_collect_finish(fc_collect *c, fc_params *out, fc_error *err)
{
    if (c->n == 0)
        return fc_fail(err, FC_EFAIL, "merge: updates without a sample, expected at least one");
    memcpy(out->p, c->job->base->p, c->job->base->n * sizeof *out->p);
    if (c->head)
        FC_TRY(fc_closed_form_finish(c->head, &c->head_job, out, err));
    size_t T = (size_t)c->tensors;
    finish_job j = {.c = c, .out = out};
    fc_tv *tau = fc_arena_alloc(c->arena, T, sizeof *tau, err);
    j.kept = fc_arena_alloc(c->arena, T, sizeof *j.kept, err);
    j.lost = fc_arena_alloc(c->arena, T, sizeof *j.lost, err);
    if (!tau || !j.kept || !j.lost)
        return FC_EFAIL;
    j.tau = c->streams ? c->tv : tau;
    if (c->streams)
        scale_sum(&j.share, c);
    else
        FC_TRY(combine_all(tau, c, err));
    if (!c->job->product)
        return fc_parallel_for(c->tensors, finish_full, &j, err);
    if (c->job->sum)
        return fc_parallel_for(c->tensors, finish_sum, &j, err);
    j.share += 1; /* of the pair itself, which is not in the weights */
    FC_TRY(fc_parallel_for(c->tensors, finish_pair, &j, err));
    if (c->job->lost)
        *c->job->lost = lost_share(&j);
    return FC_OK;
}

size_t fc_collect_kept_bytes(const fc_merge_method *rule, const fc_merge_job *job)
{
    size_t one = 0, pairs = job->sum ? 1 : 2; /* with a sum every round begins with B_0 = 0 */
    if (streams(rule, job))
        return 0;
    for (int s = 0; s < job->base->nspec; s++) {
        const fc_spec *p = &job->base->spec[s];
        bool kept = job->product ? p->group == FC_GROUP_A || p->group == FC_GROUP_B
                                 : p->group == FC_GROUP_BACKBONE;
        if (kept)
            one += (size_t)p->rows * (size_t)p->cols * (job->product ? pairs : 1);
    }
    for (int i = 0; rule->needs & FC_MERGE_NEEDS_GRAMS && i < job->slots; i++)
        one += (size_t)job->shape->slot[i].dim * (size_t)job->shape->slot[i].dim;
    return one * sizeof(double) * (size_t)job->clients;
}

size_t fc_collect_work_bytes(const fc_merge_method *rule, const fc_merge_job *job)
{
    enum { SVD = 5 }; /* matrices that the cut of one takes */
    size_t all = 0, sum = 0, largest = 0;
    for (int s = 0, i = 0; s < job->base->nspec; s++) {
        const fc_spec *p = &job->base->spec[s];
        size_t m = (size_t)p->rows, n = (size_t)p->cols, stack = 0;
        if (p->group != (job->product ? FC_GROUP_A : FC_GROUP_BACKBONE))
            continue;
        if (job->product) { /* A (r, n) and B (m, r) */
            m = (size_t)job->base->spec[job->slot_B[i++]].rows;
            stack = (size_t)p->rows * (size_t)job->clients * (m + n);
        }
        all += m * n;
        sum += stack && stack <= m * n ? stack : m * n;
        largest = m * n > largest ? m * n : largest;
    }
    bool running = streams(rule, job);
    size_t cut = job->product && !job->sum ? SVD * largest : largest;
    size_t scratch = cut + (running ? 0 : all); /* malloc keeps what the rule gives back */
    return ((running ? sum : all) + scratch * (size_t)fc_threads()) * sizeof(double);
}
