/* Averages that know that updates are LoRA pairs. p (n): the weights of the updates, n_i / N in a
 * round of clients; they should sum to 1. Delta = sum_i p_i B_i A_i.
 *
 *   FedIT      A = sum p_i A_i, B = sum p_i B_i              not Delta
 *              (Zhang et al., ICASSP 2024, arXiv 2305.05644)
 *   FLoRA      A = [p_1 A_1; ..; p_n A_n], B = [B_1 .. B_n]  exact, of rank R = sum of ranks
 *              (Wang et al., NeurIPS 2024, arXiv 2409.05976)
 *   FlexLoRA   B A = the best approximation of Delta of a wanted rank
 *              (Bai et al., NeurIPS 2024, arXiv 2402.11505)
 *
 * out (tensors): the factors of linear weights; of other tensors the weighted sum, dense. They
 * point into the arena. Serial. Errors: FC_EFAIL for a number that is not finite; FedIT and FLoRA:
 * FC_EUSAGE for a dense update of a linear weight. */
#ifndef FC_LORA_AVERAGE_H
#define FC_LORA_AVERAGE_H

#include "core/merge/combine.h"

/* All updates of a tensor have one rank r; else FC_EUSAGE. O(n r (rows + cols)). */
fc_status fc_lora_fedit(fc_tv *out, const fc_tv_set *in, const double *p, fc_arena *arena,
                        fc_error *err);

/* Ranks may differ. O(R (rows + cols)). */
fc_status fc_lora_flora(fc_tv *out, const fc_tv_set *in, const double *p, fc_arena *arena,
                        fc_error *err);

typedef struct fc_flex_options {
    int rank;      /* of the result, >= 1 */
    bool balanced; /* B = U sqrt(S), A = sqrt(S) V^T, which trains both alike; else B = U S, A = V^T
                    */
} fc_flex_options;

/* Ranks may differ. Columns of B and rows of A beyond min(rows, cols, R) are zero. error (tensors):
 * |Delta - B A|_F, 0 for tensors that are not linear weights. SVD from the stacks: O((rows + cols)
 * R^2 + R^3), scratch about 5 (rows + cols) R; dense only where R >= min(rows, cols). */
fc_status fc_lora_flex(fc_tv *out, double *error, const fc_tv_set *in, const double *p,
                       const fc_flex_options *options, fc_arena *arena, fc_error *err);

#endif
