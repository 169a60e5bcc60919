/* AdaMerging: coefficients of task arithmetic learnt without labels. Yang et al., ICLR 2024 (arXiv
 * 2310.02575), eq. 3 to 5.
 *
 *     theta_t = theta_0,t + sum_i lambda_it tau_it           t: tensor, i: update
 *     minimise sum over tasks of the mean entropy of the merged model's predictions (fc_entropy)
 *     d H / d lambda_it = <d H / d theta_t, tau_it>
 *
 * layer-wise one coefficient per update and tensor; task-wise one per update, lambda_i, whose
 * gradient is the sum over tensors. Adam (0.9, 0.999, 1e-8), no weight decay, coefficients are not
 * clamped. Published: init 0.3, lr 1e-3, 1000 steps. Here is all but the network, whose gradient
 * comes from the caller (sim/train/adamerging.h).
 *
 * Factors stay factors: <G, B A> = <B^T G, A>. Memory: O(coefficients); for each thread r cols
 * doubles of the largest tensor that comes in factors. Same bits for any number of threads. */
#ifndef FC_ADAMERGING_H
#define FC_ADAMERGING_H

#include "core/merge/combine.h"
#include "core/vit/optim.h"

typedef struct fc_ada_options {
    bool layer_wise;
    double init; /* 0.3 */
    double lr;   /* > 0: 1e-3 */
} fc_ada_options;

/* And how they are trained: the options of the row adamerging. */
typedef struct fc_ada_training {
    fc_ada_options options;
    int steps, batch; /* 1000; 16 of each task */
} fc_ada_training;

typedef struct fc_adamerging {
    const fc_tv_set *in;
    int columns;      /* tensors, or 1: coefficients of an update */
    fc_params lambda; /* (n, columns) */
    fc_real *dlambda; /* (n, columns) */
    fc_optim optim;   /* Adam's moments and steps */
    double *product;  /* (n, tensors) <d H / d theta_t, tau_it> */
} fc_adamerging;

/* All coefficients at init. in must outlive a. Memory from arena. Errors: fc_tv_check's; FC_EUSAGE
 * for options out of range. */
fc_status fc_ada_init(fc_adamerging *a, const fc_tv_set *in, const fc_ada_options *o,
                      fc_arena *arena, fc_error *err);

/* The merged task vector: out[t] (rows, cols) = sum_i lambda_it tau_it, written. */
fc_status fc_ada_merge(double *const *out, const fc_adamerging *a, fc_error *err);

/* dlambda from dtheta[t] (rows, cols) = d H / d theta_t. */
fc_status fc_ada_gradient(fc_adamerging *a, const double *const *dtheta, fc_error *err);

/* One step of Adam along dlambda. */
void fc_ada_step(fc_adamerging *a);

#endif
