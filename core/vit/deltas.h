/* The deltas of finished tasks and the models built from them: of LoRA in factored form, or dense
 * ones over a whole backbone block.
 *
 * Reference (released LoRM code): running mean M of B A, running sums P += (B A) Gs, Q += Gs, and
 * W0 + P Q^+. Here P is never formed: with A_t Gs_t = AG_t (r, d_in) kept per task, P Q^+ = sum_t
 * B_t (AG_t Q^+), which costs r (d_in + d_out) numbers per task instead of d_in d_out, and is the
 * same up to rounding. */
#ifndef FC_DELTAS_H
#define FC_DELTAS_H

#include "core/base/arena.h"
#include "core/base/params.h"
#include "core/vit/stats.h"
#include "core/vit/vit.h"

typedef struct fc_deltas {
    const fc_vit_shape *shape;
    int rank, tasks_max, tasks; /* tasks finished so far */
    size_t n_A, n_B;            /* elements of all A, of all B */
    fc_real *A, *B;             /* (tasks_max, n_A), (tasks_max, n_B) */
    fc_real *W;                 /* dense: (tasks_max, n_W), and A and B NULL */
    size_t n_W;                 /* elements of the backbone */
    double *AG;                 /* (tasks_max, n_A) A_t Gs_t, or NULL without Grams */
    fc_grams Q;                 /* sum of Gs, slots without the head; n = 0 without Grams */
} fc_deltas;

/* grams (may be NULL: no Gram merge wanted) gives dims and alphas of the slots. */
fc_status fc_deltas_init(fc_deltas *d, const fc_vit_shape *s, int rank, int tasks_max,
                         const fc_grams *grams, fc_arena *arena, fc_error *err);
/* Dense deltas, without Grams. */
fc_status fc_deltas_init_dense(fc_deltas *d, const fc_vit_shape *s, size_t n_W, int tasks_max,
                               fc_arena *arena, fc_error *err);
/* Append w - start, or (start NULL) w itself. */
void fc_deltas_push_dense(fc_deltas *d, const fc_real *w, const fc_real *start);
/* Append the final A, B of a task (trained block layout) and its summed Grams Gs (NULL without). */
fc_status fc_deltas_push(fc_deltas *d, const fc_params *train, const fc_grams *Gs, fc_error *err);
/* w += c * sum over finished tasks of B_t A_t (all tasks_done of them, or the first n). */
void fc_deltas_add_sum(fc_real *w, const fc_deltas *d, int n, double c);
/* w += P Q^+ : diagonal Grams: column j divided by Q_j, 0 where Q_j = 0; full: pseudo-inverse with
 * threshold n * 2.2e-16 * max. Slots in parallel, same bits for any number of threads. */
fc_status fc_deltas_add_gram_merge(fc_real *w, const fc_deltas *d, fc_error *err);

#endif
