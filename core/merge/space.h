/* Spaces: the same rule applied in other coordinates of the linear weights.
 *
 * Core Space, Panariello et al., NeurIPS 2025 (arXiv 2509.17786), section 4. LoRA pairs B_i (m, r),
 * A_i (r, n) of T updates, R = sum of ranks:
 *
 *     U_B (m, R_B) left vectors of [B_1 .. B_T]       R_B = min(m, R)
 *     V_A (n, R_A) right vectors of [A_1; ..; A_T]    R_A = min(R, n)
 *     M_i = (U_B^T B_i) (A_i V_A)                     lossless: U_B M_i V_A^T = B_i A_i
 *     Delta = U_B rule(M_1 .. M_T) V_A^T
 *
 * The rule sees the M_i in factors of rank r; the last product is the first m x n matrix. Cost per
 * weight: two SVDs, O((m + n) R^2), the rule on T cores, and O(m n R) at the end. Memory:
 * (m + n) R + T r (R_B + R_A) + R_B R_A doubles and what the rule takes.
 *
 * KnOTS, Stoica et al., ICLR 2025 (arXiv 2410.19735), section 4:
 *
 *     [Delta_1 .. Delta_T] (m, n T) = U S [V_1 .. V_T]    singular values > eps kept, R_k of them
 *     FC_KNOTS_SV   Delta = U rule(S V_1 .. S V_T)        original code; all weights at once
 *     FC_KNOTS_V    Delta = U S rule(V_1 .. V_T)          Core Space's code; each weight alone
 *
 * For factors A_i = L_i Q_i (L_i lower triangular) and only [B_1 L_1 .. B_T L_T] (m, R) is
 * decomposed: O((m + n T) R^2) and no m x n matrix but the result. eps is absolute, as published
 * (1e-5; FusionBench 1e-4), so updates below it give 0; values at or below FC_SUPPORT s_1 are
 * dropped always, since they are rounding. Memory: T R_k n doubles and the SVD. TSV-Merge of the
 * V_i is not unique where it takes fewer singular vectors than they have singular values of 1
 * (sum_i V_i V_i^T = I), as for n < T r <= m.
 *
 * Tensors that are not linear weights go to the rule as they are. Rules that do not depend on the
 * signs of rows and columns give results that do not depend on LAPACK's choice of vectors. */
#ifndef FC_SPACE_H
#define FC_SPACE_H

#include "core/merge/combine.h"

/* What is done inside the space. */
typedef struct fc_inner {
    fc_combine *rule;
    const void *options; /* of the rule */
    bool isotropise;     /* singular values of each merged weight become their mean: Iso-C */
} fc_inner;

typedef enum fc_knots_form { FC_KNOTS_SV, FC_KNOTS_V } fc_knots_form;
#define FC_KNOTS_CHOICES "sv|v"

typedef enum fc_space_kind { FC_SPACE_FULL, FC_SPACE_CORE, FC_SPACE_KNOTS } fc_space_kind;
#define FC_SPACE_CHOICES "full|core|knots"

/* A space as a config chooses it. */
typedef struct fc_space {
    fc_space_kind kind;
    bool isotropise;     /* core, knots: see fc_inner */
    fc_knots_form knots; /* knots */
    double knots_eps;
} fc_space;

/* FC_EUSAGE where isotropise is asked for in full space, which has rules for that. */
fc_status fc_space_check(const fc_space *space, fc_error *err);

/* The rule in that space: one of the functions below, or (full) the rule itself. */
fc_status fc_space_combine(double *const *out, const fc_tv_set *in, fc_combine *rule,
                           const void *options, const fc_space *space, fc_arena *arena,
                           fc_error *err);

/* out, in, arena, errors as in fc_combine. The rule is called once per tensor. Errors: FC_EUSAGE
 * where the update of a linear weight is dense. */
fc_status fc_space_core(double *const *out, const fc_tv_set *in, const fc_inner *inner,
                        fc_arena *arena, fc_error *err);

fc_status fc_space_knots(double *const *out, const fc_tv_set *in, const fc_inner *inner,
                         fc_knots_form form, double eps, fc_arena *arena, fc_error *err);

#endif
