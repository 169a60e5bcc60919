/* Optimisers with torch's update rules, and learning-rate schedules. */
#ifndef FC_OPTIM_H
#define FC_OPTIM_H

#include "core/base/arena.h"
#include "core/base/params.h"
#include "core/base/status.h"

typedef enum fc_optim_kind { FC_ADAMW, FC_ADAM, FC_SGD } fc_optim_kind;
#define FC_OPTIM_CHOICES "adamw|adam|sgd"

typedef struct fc_optim_config {
    fc_optim_kind kind;
    double lr[FC_NGROUP];     /* only groups in `groups` are touched */
    unsigned groups;          /* bits 1 << fc_group */
    double weight_decay;      /* AdamW: decoupled; Adam and SGD: L2 added to the gradient */
    double beta1, beta2, eps; /* 0.9, 0.999, 1e-8 */
    double momentum;          /* SGD */
    double clip_norm;         /* > 0: global norm of the trained groups is cut to this (torch's
                                 clip_grad_norm_) */
} fc_optim_config;

/* State of one optimiser: moments of all of p, zero at the start. */
typedef struct fc_optim {
    fc_optim_config cfg;
    fc_real *m, *v; /* (n) each; v NULL for SGD */
    long step;
} fc_optim;

/* Adam with torch's defaults (0.9, 0.999, 1e-8) and no weight decay, of one block of numbers that
 * are all of group FC_GROUP_BACKBONE. */
fc_optim_config fc_optim_adam(double lr);

/* Buffers from arena. */
fc_status fc_optim_init(fc_optim *o, const fc_optim_config *cfg, const fc_params *p,
                        fc_arena *arena, fc_error *err);
/* Forget moments and steps; take a new configuration (a new client, a new round). */
void fc_optim_reset(fc_optim *o, const fc_optim_config *cfg, const fc_params *p);
/* One step. AdamW: p <- p (1 - lr wd); m, v as usual; p <- p - lr/(1-b1^s) m /
 * (sqrt(v)/sqrt(1-b2^s) + eps). lr_scale multiplies every lr (schedule). grad has p's layout and
 * may be scaled by clipping. no_decay_1d: tensors with ndim <= 1, cls_token and pos_embed get no
 * weight decay (pretraining). */
void fc_optim_step(fc_optim *o, fc_params *p, fc_real *grad, double lr_scale, int no_decay_1d);

/* So many steps of plain SGD with the same rate and gradients go as far as k steps of this one:
 * with momentum rho [k - rho (1 - rho^k) / (1 - rho)] / (1 - rho) (Wang et al., NeurIPS 2020, arXiv
 * 2007.07481), else k. */
double fc_optim_plain_steps(const fc_optim_config *cfg, long k);

typedef enum fc_schedule { FC_CONSTANT, FC_COSINE } fc_schedule;
#define FC_SCHEDULE_CHOICES "constant|cosine"
/* Factor for step s of n (0-based): linear warm-up over the first `warmup` steps ((s+1)/warmup),
 * then 1 or 0.5 (1 + cos(pi (s - warmup) / (n - warmup))). */
double fc_schedule_at(fc_schedule kind, long s, long n, long warmup);

#endif
