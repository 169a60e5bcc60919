#include "core/merge/combine.h"

#include "core/linalg/gemm.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* out (rows, cols) = c B A + beta out */
static void product(double *out, double c, const fc_tv *tv, const fc_tv_shape *shape, double beta)
{
    int m = shape->rows, n = shape->cols, r = tv->rank;
    if (m && n)
        fc_dgemm(false, false, m, n, r, c, tv->B, r, tv->A, n, beta, out, n);
}

void fc_tv_dense(double *dense, const fc_tv *tv, const fc_tv_shape *shape)
{
    if (tv->rank == 0)
        memcpy(dense, tv->dense, fc_tv_size(shape) * sizeof *dense);
    else
        product(dense, 1, tv, shape, 0);
}

void fc_tv_add(double *out, double c, const fc_tv *tv, const fc_tv_shape *shape)
{
    if (tv->rank) {
        product(out, c, tv, shape, 1);
        return;
    }
    for (size_t e = 0; e < fc_tv_size(shape); e++)
        out[e] += c * tv->dense[e];
}

void fc_tv_sum(double *out, double c, const fc_tv_set *in, int tensor)
{
    const fc_tv_shape *s = &in->shape[tensor];
    memset(out, 0, fc_tv_size(s) * sizeof *out);
    for (int i = 0; i < in->n; i++)
        fc_tv_add(out, c, fc_tv_at(in, i, tensor), s);
}

const double *fc_tv_view(const fc_tv_set *in, int update, int tensor, double *scratch)
{
    const fc_tv *tv = fc_tv_at(in, update, tensor);
    if (tv->rank == 0)
        return tv->dense;
    fc_tv_dense(scratch, tv, &in->shape[tensor]);
    return scratch;
}

size_t fc_tv_scratch(const fc_tv_set *in, int tensor)
{
    for (int i = 0; i < in->n; i++)
        if (fc_tv_at(in, i, tensor)->rank)
            return fc_tv_size(&in->shape[tensor]);
    return 0;
}

static bool is_finite(const double *x, size_t n)
{
    bool ok = true;
    for (size_t i = 0; i < n; i++)
        ok &= isfinite(x[i]) != 0;
    return ok;
}

const char *fc_tv_name(char buf[FC_TV_NAME_MAX], const fc_tv_set *in, int update)
{
    snprintf(buf, FC_TV_NAME_MAX, "%s %d", in->kind ? in->kind : "update",
             in->id ? in->id[update] : update);
    return buf;
}

fc_status fc_tv_check(const fc_tv_set *in, fc_error *err)
{
    if (in->n < 1)
        return fc_fail(err, FC_EUSAGE, "merge of %d updates, expected at least one", in->n);
    for (int i = 0; i < in->n; i++)
        for (int t = 0; t < in->tensors; t++) {
            const fc_tv *tv = fc_tv_at(in, i, t);
            const fc_tv_shape *s = &in->shape[t];
            size_t m = (size_t)s->rows, n = (size_t)s->cols, r = (size_t)tv->rank;
            bool ok = r ? is_finite(tv->B, m * r) && is_finite(tv->A, r * n)
                        : is_finite(tv->dense, m * n);
            char who[FC_TV_NAME_MAX];
            if (!ok)
                return fc_fail(err, FC_EFAIL, "%s, tensor %s: found a number that is not finite",
                               fc_tv_name(who, in, i), s->name);
        }
    return FC_OK;
}

fc_status fc_combine_range(const char *option, double x, double low, double high, fc_error *err)
{
    if (!(x >= low && x <= high))
        return fc_fail(err, FC_EUSAGE, "%s is %g, expected %g .. %g", option, x, low, high);
    return FC_OK;
}
