#include "core/merge/combine.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

void fc_tv_dense(double *dense, const fc_tv *tv, const fc_tv_shape *shape)
{
    int m = shape->rows, n = shape->cols, r = tv->rank;
    if (r == 0)
        memcpy(dense, tv->dense, (size_t)m * (size_t)n * sizeof *dense);
    else /* B A */
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, n, r, 1, tv->B, r, tv->A, n, 0,
                    dense, n);
}

static bool is_finite(const double *x, size_t n)
{
    bool ok = true;
    for (size_t i = 0; i < n; i++)
        ok &= isfinite(x[i]) != 0;
    return ok;
}

fc_status fc_tv_check(const fc_tv_set *in, fc_error *err)
{
    for (int i = 0; i < in->n; i++)
        for (int t = 0; t < in->tensors; t++) {
            const fc_tv *tv = fc_tv_at(in, i, t);
            const fc_tv_shape *s = &in->shape[t];
            size_t m = (size_t)s->rows, n = (size_t)s->cols, r = (size_t)tv->rank;
            bool ok = r ? is_finite(tv->B, m * r) && is_finite(tv->A, r * n)
                        : is_finite(tv->dense, m * n);
            if (!ok)
                return fc_fail(err, FC_EFAIL,
                               "update %d, tensor %s: found a number that is not finite", i,
                               s->name);
        }
    return FC_OK;
}
