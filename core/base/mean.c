#include "core/base/mean.h"

#include <math.h>

fc_mean fc_mean_of(const double *x, int n)
{
    fc_mean s = {.mean = NAN, .sd = NAN, .ci95 = NAN};
    double sum = 0, squares = 0;
    for (int i = 0; i < n; i++)
        if (!isnan(x[i])) {
            sum += x[i];
            s.n++;
        }
    if (s.n == 0)
        return s;
    s.mean = sum / s.n;
    if (s.n == 1)
        return s;
    for (int i = 0; i < n; i++)
        if (!isnan(x[i]))
            squares += (x[i] - s.mean) * (x[i] - s.mean);
    s.sd = sqrt(squares / (s.n - 1));
    s.ci95 = fc_student_quantile(0.975, s.n - 1) * s.sd / sqrt(s.n);
    return s;
}

/* The continued fraction of the incomplete beta function (DLMF 8.17.22) by Lentz's method;
 * converges fast for x < (a + 1) / (a + b + 2). */
static double beta_fraction(double x, double a, double b)
{
    const double tiny = 1e-300;
    double c = 1, d = 1 / (1 - (a + b) * x / (a + 1)), f = d;
    for (int m = 1; m < 10000; m++) {
        const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        double step = 1;
        for (int k = 0; k < 2; k++) {
            double z = k ? odd : even;
            d = 1 + z * d;
            c = 1 + z / c;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = fabs(c) < tiny ? tiny : c;
            step = c * d;
            f *= step;
        }
        if (fabs(step - 1) < 1e-15)
            break;
    }
    return f;
}

/* I_x(a, b) = x^a (1-x)^b / (a B(a, b)) times the fraction; 1 - I_{1-x}(b, a) where that is faster.
 */
static double beta_regularised(double x, double a, double b)
{
    if (x <= 0 || x >= 1)
        return x <= 0 ? 0 : 1;
    double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    return x < (a + 1) / (a + b + 2) ? front * beta_fraction(x, a, b) / a
                                     : 1 - front * beta_fraction(1 - x, b, a) / b;
}

double fc_student_tails(double t, double df)
{
    return beta_regularised(df / (df + t * t), df / 2, 0.5);
}

double fc_student_quantile(double p, double df)
{
    double tails = 2 * (p < 0.5 ? p : 1 - p), low = 0, high = 1;
    if (tails >= 1)
        return 0;
    while (fc_student_tails(high, df) > tails)
        high *= 2;
    while (high - low > 1e-12 * high) {
        double middle = 0.5 * (low + high);
        if (middle <= low || middle >= high)
            break;
        *(fc_student_tails(middle, df) > tails ? &low : &high) = middle;
    }
    return p < 0.5 ? -high : high;
}
