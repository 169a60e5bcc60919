#include "core/merge/space.h"

#include "core/base/parallel.h"
#include "core/linalg/gemm.h"
#include "core/merge/spectral.h"

#include <string.h>

/* One tensor seen from inside: W = left diag(rows) X right, X of the shape `inside`. */
typedef struct frame {
    fc_tv_shape inside;
    const double *left, *right, *rows; /* NULL: the identity; left NULL: not transformed at all */
    int ld;                            /* of left */
    int iso_count;                     /* singular values in the mean of Iso-C */
} frame;

typedef struct context {
    const fc_tv_set *in;
    const fc_inner *inner;
    fc_knots_form form;
    double eps;
} context;

/* The frame of tensor t, and each update in it: tv[i * stride]. */
typedef fc_status enter_space(frame *f, fc_tv *tv, size_t stride, const context *s, int t,
                              fc_arena *arena, fc_error *err);

/* out (m, n) = left diag(rows) X right, X (k, l) what the rule made of the updates; overwritten. */
static fc_status leave_space(double *out, const frame *f, double *X, const context *s, int t,
                             fc_arena *arena, fc_error *err)
{
    const fc_tv_shape *shape = &s->in->shape[t];
    int m = shape->rows, n = shape->cols, k = f->inside.rows, l = f->inside.cols;
    /* X <- diag(rows) X    (k, k) (k, l): S of KnOTS */
    for (int i = 0; f->rows && i < k; i++)
        for (int j = 0; j < l; j++)
            X[(size_t)i * (size_t)l + (size_t)j] *= f->rows[i];
    if (s->inner->isotropise)
        FC_TRY(fc_isotropise(X, k, l, f->iso_count, shape->name, arena, err));
    /* W = left X right    (m, k) (k, l) (l, n); right NULL: l = n and W = left X */
    double *XR = X; /* X right */
    if (f->right) {
        XR = fc_arena_alloc(arena, (size_t)k * (size_t)n, sizeof *XR, err);
        if (!XR)
            return FC_EFAIL;
        fc_dgemm(false, false, k, n, l, 1, X, l, f->right, n, 0, XR, n);
    }
    fc_dgemm(false, false, m, n, k, 1, f->left, f->ld, XR, n, 0, out, n);
    return FC_OK;
}

/* Tensors first .. first + count - 1, merged by one call of the rule. What is in the space stays
 * in an arena of each tensor, so that they can be brought there in parallel. */
typedef struct group {
    double *const *out;
    const context *s;
    enter_space *enter;
    int first, count;
    frame *f;           /* (count) */
    fc_arena *arena;    /* (count) */
    fc_tv_shape *shape; /* (count) as the rule sees them */
    fc_tv *tv;          /* (n, count) */
    double **merged;    /* (count) */
} group;

static fc_status enter_tensor(void *ctx, int i, fc_arena *scratch, fc_error *err)
{
    group *g = ctx;
    const fc_tv_set *in = g->s->in;
    size_t C = (size_t)g->count;
    int t = g->first + i;
    (void)scratch;
    g->shape[i] = in->shape[t];
    g->merged[i] = g->out[t];
    if (!in->shape[t].linear) {
        for (int k = 0; k < in->n; k++)
            g->tv[(size_t)k * C + (size_t)i] = *fc_tv_at(in, k, t);
        return FC_OK;
    }
    FC_TRY(g->enter(&g->f[i], g->tv + i, C, g->s, t, &g->arena[i], err));
    g->shape[i] = g->f[i].inside;
    g->merged[i] = fc_arena_alloc(&g->arena[i], fc_tv_size(&g->shape[i]), sizeof(double), err);
    return g->merged[i] ? FC_OK : FC_EFAIL;
}

static fc_status leave_tensor(void *ctx, int i, fc_arena *scratch, fc_error *err)
{
    const group *g = ctx;
    int t = g->first + i;
    if (!g->f[i].left)
        return FC_OK;
    return leave_space(g->out[t], &g->f[i], g->merged[i], g->s, t, scratch, err);
}

static fc_status merge_group(group *g, fc_arena *scratch, fc_error *err)
{
    fc_tv_set inside = *g->s->in;
    inside.tensors = g->count;
    inside.shape = g->shape;
    inside.tv = g->tv;
    inside.key.epoch = (uint32_t)g->first; /* another stream for each group */
    inside.gram = inside.fisher = NULL;    /* they are not of these coordinates */
    FC_TRY(fc_parallel_for(g->count, enter_tensor, g, err));
    FC_TRY(g->s->inner->rule(g->merged, &inside, g->s->inner->options, scratch, err));
    return fc_parallel_for(g->count, leave_tensor, g, err);
}

/* Group i of those that are like the one given. */
static fc_status merge_piece(void *ctx, int i, fc_arena *scratch, fc_error *err)
{
    group g = *(const group *)ctx;
    g.first = i * g.count;
    size_t C = (size_t)g.count;
    g.f = fc_arena_alloc(scratch, C, sizeof *g.f, err);
    g.arena = fc_arena_alloc(scratch, C, sizeof *g.arena, err);
    g.shape = fc_arena_alloc(scratch, C, sizeof *g.shape, err);
    g.tv = fc_arena_alloc(scratch, (size_t)g.s->in->n * C, sizeof *g.tv, err);
    g.merged = fc_arena_alloc(scratch, C, sizeof *g.merged, err);
    if (!g.f || !g.arena || !g.shape || !g.tv || !g.merged)
        return FC_EFAIL;
    fc_status status = merge_group(&g, scratch, err);
    for (int t = 0; t < g.count; t++)
        fc_arena_free(&g.arena[t]);
    return status;
}

/* Each tensor alone, or all of them together. */
static fc_status merge_in(double *const *out, const context *s, enter_space *enter, bool together,
                          fc_error *err)
{
    FC_TRY(fc_tv_check(s->in, err));
    int tensors = s->in->tensors;
    group like = {out, s, enter, .count = together ? tensors : 1};
    return fc_parallel_for(together ? 1 : tensors, merge_piece, &like, err);
}

/* Core Space: M_i = (U_B^T B_i) (A_i V_A), and W = U_B X V_A^T on the way back. */
static fc_status enter_core(frame *f, fc_tv *tv, size_t stride, const context *s, int t,
                            fc_arena *arena, fc_error *err)
{
    const fc_tv_shape *shape = &s->in->shape[t];
    int m = shape->rows, n = shape->cols;
    fc_tv stack;
    fc_usv b, a;
    /* [B_1 .. B_T] = U_B S V^T, U_B (m, R_B); [A_1; ..; A_T] = U S V_A^T, V_A^T (R_A, n) */
    FC_TRY(fc_tv_stack(&stack, s->in, t, NULL, arena, err));
    FC_TRY(fc_svd(&b, stack.B, m, stack.rank, shape->name, arena, err));
    FC_TRY(fc_svd(&a, stack.A, stack.rank, n, shape->name, arena, err));
    for (int i = 0; i < s->in->n; i++) {
        const fc_tv *x = fc_tv_at(s->in, i, t);
        int r = x->rank;
        double *UB = fc_arena_alloc(arena, (size_t)b.k * (size_t)r, sizeof *UB, err);
        double *AV = fc_arena_alloc(arena, (size_t)r * (size_t)a.k, sizeof *AV, err);
        if (!UB || !AV)
            return FC_EFAIL;
        /* M_i = (U_B^T B_i) (A_i V_A)    (R_B, r) (r, R_A) */
        fc_dgemm(true, false, b.k, r, m, 1, b.U, b.k, x->B, r, 0, UB, r);
        fc_dgemm(false, true, r, a.k, n, 1, x->A, n, a.Vt, n, 0, AV, a.k);
        tv[(size_t)i * stride] = (fc_tv){.rank = r, .B = UB, .A = AV};
    }
    *f = (frame){.inside = {shape->name, b.k, a.k, true},
                 .left = b.U,
                 .ld = b.k,
                 .right = a.Vt,
                 .iso_count = b.k < a.k ? b.k : a.k};
    return FC_OK;
}

fc_status fc_space_core(double *const *out, const fc_tv_set *in, const fc_inner *inner,
                        fc_arena *arena, fc_error *err)
{
    const context s = {.in = in, .inner = inner};
    (void)arena;
    return merge_in(out, &s, enter_core, false, err);
}

/* Delta = C Q with orthonormal rows of Q: its columns C of the concatenation, and how to come back.
 * Factors: A = L Q with L lower triangular, C = B L. Dense: C = Delta (m, n), Q NULL. */
typedef struct block {
    int width;  /* columns of C, rows of Q */
    double *Qt; /* (n, width) Q^T */
} block;

/* cat (m, ld) begins with C. */
static fc_status fill_block(block *b, double *cat, int ld, const fc_tv *x, const fc_tv_shape *shape,
                            fc_arena *arena, fc_error *err)
{
    size_t m = (size_t)shape->rows, n = (size_t)shape->cols, r = (size_t)x->rank;
    if (r == 0) {
        for (size_t i = 0; i < m; i++)
            memcpy(cat + i * (size_t)ld, x->dense + i * n, n * sizeof *cat);
        return FC_OK;
    }
    b->Qt = fc_arena_alloc(arena, n * (size_t)b->width, sizeof *b->Qt, err);
    fc_mark mark = fc_arena_mark(arena);
    double *At = fc_arena_alloc(arena, n * r, sizeof *At, err);
    double *R = fc_arena_alloc(arena, (size_t)b->width * r, sizeof *R, err);
    if (!b->Qt || !At || !R)
        return FC_EFAIL;
    /* A^T = Q^T R, so that L = R^T and C = B R^T    (m, r) (r, width) */
    for (size_t i = 0; i < r; i++)
        for (size_t j = 0; j < n; j++)
            At[j * r + i] = x->A[i * n + j];
    FC_TRY(fc_qr(b->Qt, R, At, (int)n, (int)r, shape->name, arena, err));
    fc_dgemm(false, true, (int)m, b->width, (int)r, 1, x->B, (int)r, R, (int)r, 0, cat, ld);
    fc_arena_release(arena, mark);
    return FC_OK;
}

/* x = the SVD of [C_1 .. C_T]. */
static fc_status concatenate(fc_usv *x, block *b, const context *s, int t, fc_arena *arena,
                             fc_error *err)
{
    const fc_tv_shape *shape = &s->in->shape[t];
    int width = 0, at = 0;
    for (int i = 0; i < s->in->n; i++) {
        int r = fc_tv_at(s->in, i, t)->rank;
        b[i].width = r > 0 && r < shape->cols ? r : shape->cols;
        width += b[i].width;
    }
    double *cat = fc_arena_alloc(arena, (size_t)shape->rows * (size_t)width, sizeof *cat, err);
    if (!cat)
        return FC_EFAIL;
    for (int i = 0; i < s->in->n; at += b[i++].width)
        FC_TRY(fill_block(&b[i], cat + at, width, fc_tv_at(s->in, i, t), shape, arena, err));
    /* [C_1 .. C_T] = U S [Y_1 .. Y_T]    (m, width), Y_i of as many columns as C_i */
    return fc_svd(x, cat, shape->rows, width, shape->name, arena, err);
}

/* X (k, n) = V_i, or diag(S) V_i with_S; Y_i are columns `at` on of Vt. */
static void knot(double *X, const fc_usv *x, int k, const block *b, int at, int n, bool with_S)
{
    /* V_i = Y_i Q_i    (k, width) (width, n); Delta_i dense: Q_i is the identity */
    const double *V = x->Vt + at;
    if (b->Qt)
        fc_dgemm(false, true, k, n, b->width, 1, V, x->n, b->Qt, b->width, 0, X, n);
    else
        for (int i = 0; i < k; i++)
            memcpy(X + (size_t)i * (size_t)n, V + (size_t)i * (size_t)x->n, (size_t)n * sizeof *X);
    for (int i = 0; with_S && i < k; i++)
        for (int j = 0; j < n; j++)
            X[(size_t)i * (size_t)n + (size_t)j] *= x->S[i];
}

/* KnOTS: S V_i (or V_i), and W = U X (or U S X) on the way back. */
static fc_status enter_knots(frame *f, fc_tv *tv, size_t stride, const context *s, int t,
                             fc_arena *arena, fc_error *err)
{
    const fc_tv_shape *shape = &s->in->shape[t];
    int m = shape->rows, n = shape->cols, k = 0, at = 0;
    block *b = fc_arena_alloc(arena, (size_t)s->in->n, sizeof *b, err);
    if (!b)
        return FC_EFAIL;
    fc_usv x;
    FC_TRY(concatenate(&x, b, s, t, arena, err));
    for (int rank = fc_svd_rank(&x); k < rank && x.S[k] > s->eps;)
        k++;
    int rows = k ? k : x.k; /* nothing left: zeros, so that no rule lacks rows */
    for (int i = 0; i < s->in->n; at += b[i++].width) {
        double *X = fc_arena_alloc(arena, (size_t)rows * (size_t)n, sizeof *X, err);
        if (!X)
            return FC_EFAIL;
        knot(X, &x, k, &b[i], at, n, s->form == FC_KNOTS_SV);
        tv[(size_t)i * stride] = (fc_tv){.dense = X};
    }
    *f = (frame){.inside = {shape->name, rows, n, true},
                 .left = x.U,
                 .ld = x.k,
                 .rows = s->form == FC_KNOTS_V ? x.S : NULL,
                 .iso_count = m < n ? m : n};
    return FC_OK;
}

fc_status fc_space_knots(double *const *out, const fc_tv_set *in, const fc_inner *inner,
                         fc_knots_form form, double eps, fc_arena *arena, fc_error *err)
{
    const context s = {.in = in, .inner = inner, .form = form, .eps = eps};
    (void)arena;
    return merge_in(out, &s, enter_knots, form == FC_KNOTS_SV, err);
}

fc_status fc_space_check(const fc_space *space, fc_error *err)
{
    if (space->kind == FC_SPACE_FULL && space->isotropise)
        return fc_fail(err, FC_EUSAGE,
                       "isotropise works in the spaces core and knots only, found full, where rule "
                       "iso_c does it");
    return FC_OK;
}

fc_status fc_space_combine(double *const *out, const fc_tv_set *in, fc_combine *rule,
                           const void *options, const fc_space *space, fc_arena *arena,
                           fc_error *err)
{
    const fc_inner inner = {rule, options, space->isotropise};
    if (space->kind == FC_SPACE_CORE)
        return fc_space_core(out, in, &inner, arena, err);
    if (space->kind == FC_SPACE_KNOTS)
        return fc_space_knots(out, in, &inner, space->knots, space->knots_eps, arena, err);
    return rule(out, in, options, arena, err);
}
