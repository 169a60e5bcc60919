/* What the spectral rules share: weighted sums of task vectors and their SVD, in factors where the
 * updates come in factors.
 *
 * p (n): one coefficient per update, NULL: all 1. t: index of the tensor. Serial, but for
 * fc_each_weight. */
#ifndef FC_SPECTRAL_H
#define FC_SPECTRAL_H

#include "core/linalg/linalg.h"
#include "core/merge/combine.h"

/* All updates of tensor t come in factors; else FC_EUSAGE, naming the first that does not. */
fc_status fc_tv_need_factors(const fc_tv_set *in, int t, fc_error *err);

/* out (rows, cols) = sum_i p_i Delta_i, dense. */
void fc_tv_weighted_sum(double *out, const fc_tv_set *in, int t, const double *p);

/* The exact sum in factors: B = [B_1 .. B_n] (rows, R), A = [p_1 A_1; ..; p_n A_n] (R, cols), R =
 * sum_i rank_i, so that B A = sum_i p_i B_i A_i. out points into the arena: (rows + cols) R
 * doubles. Errors: those of fc_tv_need_factors. */
fc_status fc_tv_stack(fc_tv *out, const fc_tv_set *in, int t, const double *p, fc_arena *arena,
                      fc_error *err);

/* Thin SVD of sum_i p_i Delta_i. Factored updates with R < min(rows, cols): from the stack,
 * O((rows + cols) R^2 + R^3), no dense matrix, k = R; else from the dense sum. The stack (the sum)
 * stays in the arena with x until the caller releases both. */
fc_status fc_tv_sum_svd(fc_usv *x, const fc_tv_set *in, int t, const double *p, fc_arena *arena,
                        fc_error *err);

/* Thin SVD of one task vector, whatever its form. */
fc_status fc_tv_svd(fc_usv *x, const fc_tv *tv, const fc_tv_shape *shape, fc_arena *arena,
                    fc_error *err);

/* A rule of one linear weight: out (rows, cols). Scratch is released by the caller. */
typedef fc_status fc_weight_rule(double *out, const fc_tv_set *in, int t, const void *options,
                                 fc_arena *arena, fc_error *err);

/* The set is checked, the rule applied to each linear weight; other tensors: lambda times the mean.
 * Tensors in parallel, each with a scratch of its own. */
fc_status fc_each_weight(double *const *out, const fc_tv_set *in, fc_weight_rule *rule,
                         const void *options, double lambda, fc_error *err);

/* Singular triplets of several matrices side by side; places that stay empty are zero. */
typedef struct fc_triplets {
    int m, n, most, used;
    double *U, *S, *Vt; /* (m, most), (most), (most, n) */
} fc_triplets;

fc_status fc_triplets_init(fc_triplets *s, int m, int n, int most, fc_arena *arena, fc_error *err);

/* The first k triplets of x. */
void fc_triplets_add(fc_triplets *s, const fc_usv *x, int k);

/* U = polar(U), Vt = polar(Vt), on their supports: empty places stay zero. S is kept. */
fc_status fc_triplets_orthogonalise(fc_triplets *s, const char *what, fc_arena *scratch,
                                    fc_error *err);

/* sum_j s_j over n singular values, added in order. */
double fc_sum_singular(const double *S, int n);

/* out (m, n) = level U V^T over the numerical support of x, its first fc_svd_rank triplets. */
void fc_flatten_spectrum(double *out, const fc_usv *x, double level);

/* X (m, n) <- (sum_j s_j / count) U V^T on the support of X: Iso-C of one matrix, in place. count:
 * how many singular values the mean runs over, min(m, n) for X as it stands. */
fc_status fc_isotropise(double *X, int m, int n, int count, const char *what, fc_arena *scratch,
                        fc_error *err);

#endif
