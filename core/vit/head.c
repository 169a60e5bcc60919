#include "core/vit/head.h"

#include <stddef.h>
#include <string.h>

double fc_ce(fc_real *dlogits, const fc_real *logits, const int *labels, int n, int classes, int lo,
             int hi, int n_total)
{
    double loss = 0;
    if (dlogits)
        memset(dlogits, 0, (size_t)n * (size_t)classes * sizeof *dlogits);
    for (int i = 0; i < n; i++) {
        const fc_real *z = logits + (size_t)i * (size_t)classes;
        /* -log softmax(z)_y = log(sum_c exp(z_c - max)) - (z_y - max) */
        double max = (double)z[fc_argmax(z, lo, hi)], sum = 0;
        for (int c = lo; c < hi; c++)
            sum += exp((double)z[c] - max);
        loss += log(sum) - ((double)z[labels[i]] - max);
        if (!dlogits)
            continue;
        /* d loss / d z_c = p_c - [c = y], p = softmax(z) */
        fc_real *d = dlogits + (size_t)i * (size_t)classes;
        for (int c = lo; c < hi; c++) {
            double p = exp((double)z[c] - max) / sum;
            d[c] = (fc_real)((p - (c == labels[i])) / n_total);
        }
    }
    return loss;
}

double fc_entropy(fc_real *dlogits, const fc_real *logits, int n, int classes, int lo, int hi,
                  int n_total)
{
    const double eps = 1e-8;
    double loss = 0;
    if (dlogits)
        memset(dlogits, 0, (size_t)n * (size_t)classes * sizeof *dlogits);
    for (int i = 0; i < n; i++) {
        const fc_real *z = logits + (size_t)i * (size_t)classes;
        /* H = -sum_c p_c log(p_c + eps); dH/dp_c = -log(p_c + eps) - p_c / (p_c + eps) */
        double max = (double)z[fc_argmax(z, lo, hi)], sum = 0;
        double mean = 0; /* sum_c p_c dH/dp_c */
        for (int c = lo; c < hi; c++)
            sum += exp((double)z[c] - max);
        for (int c = lo; c < hi; c++) {
            double p = exp((double)z[c] - max) / sum, log_p = log(p + eps);
            loss -= p * log_p;
            mean -= p * (log_p + p / (p + eps));
        }
        /* dH/dz_c = p_c (dH/dp_c - sum_k p_k dH/dp_k) */
        fc_real *d = dlogits ? dlogits + (size_t)i * (size_t)classes : NULL;
        for (int c = lo; d && c < hi; c++) {
            double p = exp((double)z[c] - max) / sum, dp = -log(p + eps) - p / (p + eps);
            d[c] = (fc_real)(p * (dp - mean) / n_total);
        }
    }
    return loss;
}

int fc_argmax(const fc_real *z, int lo, int hi)
{
    int best = lo;
    for (int c = lo + 1; c < hi; c++)
        if (z[c] > z[best])
            best = c;
    return best;
}
