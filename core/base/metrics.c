#include "core/base/metrics.h"

#include <math.h>
#include <stddef.h>

static size_t matrix_index(const fc_acc_matrix *m, int i, int s)
{
    return (size_t)i * (size_t)m->ld + (size_t)s;
}

static double percent_of(long correct, long total)
{
    return total > 0 ? 100.0 * (double)correct / (double)total : NAN;
}

double fc_acc(const fc_acc_matrix *m, int i, int s)
{
    return percent_of(m->correct[matrix_index(m, i, s)], m->total[matrix_index(m, i, s)]);
}

double fc_acc_micro(const fc_acc_matrix *m, int i)
{
    long correct = 0, total = 0;
    for (int s = 0; s <= i; s++) {
        correct += m->correct[matrix_index(m, i, s)];
        total += m->total[matrix_index(m, i, s)];
    }
    return percent_of(correct, total);
}

double fc_acc_task_mean(const fc_acc_matrix *m, int i)
{
    double sum = 0;
    for (int s = 0; s <= i; s++)
        sum += fc_acc(m, i, s);
    return sum / (i + 1);
}

fc_metrics fc_metrics_of(const fc_acc_matrix *m)
{
    int T = m->done, last = T - 1;
    fc_metrics r = {.faa = fc_acc_micro(m, last), .faa_task_mean = fc_acc_task_mean(m, last)};
    double drop = 0, drop_max = 0; /* sums over tasks 0 .. T-2; task T-1 has dropped by 0 */
    for (int i = 0; i < T; i++) {
        r.aia += fc_acc_micro(m, i) / T;
        r.aia_task_mean += fc_acc_task_mean(m, i) / T;
        r.learning_accuracy += fc_acc(m, i, i) / T;
        double best = 0;
        for (int l = i; l < last; l++) {
            double acc = fc_acc(m, l, i);
            best = acc > best || isnan(acc) ? acc : best; /* unlike fmax: untested stays NaN */
        }
        if (i < last) {
            drop += fc_acc(m, i, i) - fc_acc(m, last, i);
            drop_max += best - fc_acc(m, last, i);
        }
    }
    r.forgetting_fedmammoth = drop / T;
    if (T > 1) {
        r.forgetting_max = drop_max / (T - 1);
        r.bwt = -drop / (T - 1);
    }
    return r;
}
