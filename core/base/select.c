#include "core/base/select.h"

#include "core/base/rng.h"

double fc_select(double *x, size_t n, size_t k)
{
    fc_rng g = fc_rng_at((fc_key){0}); /* random pivots: no order of x is a bad one */
    ptrdiff_t lo = 0, hi = (ptrdiff_t)n - 1, rank = (ptrdiff_t)k;
    while (lo < hi) {
        double pivot = x[lo + (ptrdiff_t)(fc_rng_uniform(&g) * (double)(hi - lo + 1))];
        ptrdiff_t i = lo, j = hi;
        while (i <= j) { /* Hoare, "Find", CACM 1961: stops on equals, which halves them */
            while (x[i] < pivot)
                i++;
            while (pivot < x[j])
                j--;
            if (i <= j) {
                double t = x[i];
                x[i++] = x[j];
                x[j--] = t;
            }
        }
        if (rank <= j)
            hi = j;
        else if (rank >= i)
            lo = i;
        else
            break;
    }
    return x[k];
}

int fc_ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
