#include "core/merge/rules/adamerging.h"

#include "core/base/parallel.h"
#include "core/linalg/gemm.h"

#include <cblas.h>
#include <float.h>
#include <string.h>

fc_status fc_ada_init(fc_adamerging *a, const fc_tv_set *in, const fc_ada_options *o,
                      fc_arena *arena, fc_error *err)
{
    FC_TRY(fc_combine_range("AdaMerging: init", o->init, -FLT_MAX, FLT_MAX, err));
    FC_TRY(fc_combine_range("AdaMerging: lr", o->lr, FLT_MIN, FLT_MAX, err));
    FC_TRY(fc_tv_check(in, err));
    *a = (fc_adamerging){.in = in, .columns = o->layer_wise ? in->tensors : 1};
    fc_optim_config adam = fc_optim_adam(o->lr);
    fc_params layout = {0};
    fc_spec *spec = fc_arena_alloc(arena, 1, sizeof *spec, err);
    if (!spec)
        return FC_EFAIL;
    fc_params_add(&layout, spec, "lambda", FC_GROUP_BACKBONE, 2, (int[]){in->n, a->columns});
    FC_TRY(fc_params_alloc(&a->lambda, &layout, arena, err));
    FC_TRY(fc_optim_init(&a->optim, &adam, &a->lambda, arena, err));
    a->dlambda = fc_arena_alloc(arena, a->lambda.n, sizeof *a->dlambda, err);
    a->product =
        fc_arena_alloc(arena, (size_t)in->n * (size_t)in->tensors, sizeof *a->product, err);
    if (!a->dlambda || !a->product)
        return FC_EFAIL;
    for (size_t k = 0; k < a->lambda.n; k++)
        a->lambda.p[k] = (fc_real)o->init;
    return FC_OK;
}

/* Where the coefficient of tensor t of update i is. */
static size_t coefficient(const fc_adamerging *a, int i, int t)
{
    return (size_t)i * (size_t)a->columns + (a->columns > 1 ? (size_t)t : 0);
}

typedef struct merge_job {
    double *const *out;
    const fc_adamerging *a;
} merge_job;

/* out_t = sum_i lambda_it tau_it */
static fc_status merge_coefficients(void *ctx, int t, fc_arena *scratch, fc_error *err)
{
    (void)scratch, (void)err;
    const merge_job *j = ctx;
    const fc_tv_set *in = j->a->in;
    memset(j->out[t], 0, fc_tv_size(&in->shape[t]) * sizeof *j->out[t]);
    for (int i = 0; i < in->n; i++)
        fc_tv_add(j->out[t], (double)j->a->lambda.p[coefficient(j->a, i, t)], fc_tv_at(in, i, t),
                  &in->shape[t]);
    return FC_OK;
}

fc_status fc_ada_merge(double *const *out, const fc_adamerging *a, fc_error *err)
{
    return fc_parallel_for(a->in->tensors, merge_coefficients, &(merge_job){out, a}, err);
}

static double inner_product(const double *x, const double *y, size_t n)
{
    return cblas_ddot((int)n, x, 1, y, 1);
}

typedef struct gradient_job {
    const fc_adamerging *a;
    const double *const *dtheta;
} gradient_job;

/* product_it = <d H / d theta_t, tau_it> of all updates i */
static fc_status tensor_products(void *ctx, int t, fc_arena *scratch, fc_error *err)
{
    const gradient_job *j = ctx;
    const fc_tv_set *in = j->a->in;
    const fc_tv_shape *s = &in->shape[t];
    const double *G = j->dtheta[t];
    for (int i = 0; i < in->n && fc_tv_size(s) > 0; i++) {
        const fc_tv *tv = fc_tv_at(in, i, t);
        double *product = &j->a->product[(size_t)i * (size_t)in->tensors + (size_t)t];
        if (tv->rank == 0) {
            *product = inner_product(G, tv->dense, fc_tv_size(s));
            continue;
        }
        size_t thin = (size_t)tv->rank * (size_t)s->cols;
        fc_mark mark = fc_arena_mark(scratch);
        double *BtG = fc_arena_alloc(scratch, thin, sizeof *BtG, err);
        if (!BtG)
            return FC_EFAIL;
        /* <G, B A> = <B^T G, A>    (r, rows) (rows, cols) */
        fc_dgemm(true, false, tv->rank, s->cols, s->rows, 1, tv->B, tv->rank, G, s->cols, 0, BtG,
                 s->cols);
        *product = inner_product(BtG, tv->A, thin);
        fc_arena_release(scratch, mark);
    }
    return FC_OK;
}

fc_status fc_ada_gradient(fc_adamerging *a, const double *const *dtheta, fc_error *err)
{
    const fc_tv_set *in = a->in;
    FC_TRY(fc_parallel_for(in->tensors, tensor_products, &(gradient_job){a, dtheta}, err));
    for (int i = 0; i < in->n; i++) {
        const double *product = a->product + (size_t)i * (size_t)in->tensors;
        double sum = 0;
        for (int t = 0; t < in->tensors; t++) {
            sum = (a->columns > 1 ? 0 : sum) + product[t];
            a->dlambda[coefficient(a, i, t)] = (fc_real)sum;
        }
    }
    return FC_OK;
}

void fc_ada_step(fc_adamerging *a)
{
    fc_optim_step(&a->optim, &a->lambda, a->dlambda, 1, false);
}
