/* Mean and spread over seeds, and Student's t. */
#ifndef FC_MEAN_H
#define FC_MEAN_H

typedef struct fc_mean {
    int n;
    double mean; /* NaN for n = 0 */
    double sd;   /* sqrt(sum (x - mean)^2 / (n - 1)); NaN for n < 2 */
    double ci95; /* half width of the 95 % interval of the mean, t(0.975, n - 1) sd / sqrt(n); NaN
                    for n < 2 */
} fc_mean;

/* Of x (n); values that are NaN are left out. */
fc_mean fc_mean_of(const double *x, int n);

/* P(|T| > |t|) for Student's t with df > 0 degrees of freedom: the regularised incomplete beta
 * function I_x(df / 2, 1 / 2) at x = df / (df + t^2), to 1e-12. */
double fc_student_tails(double t, double df);

/* t with P(T <= t) = p, 0 < p < 1, to 1e-10 relative: by bisection of the above. */
double fc_student_quantile(double p, double df);

#endif
