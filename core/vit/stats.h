/* Gram matrices G = X^T X of the inputs of linear layers: specs of LoRM (Salami et al., ICLR 2025,
 * eq. 6) and RegMean (Jin et al., ICLR 2023, eq. 2). Sums, never divided by the number of rows.
 *
 * With alpha = 0 only the diagonal is used, so it alone is stored: d numbers, never d x d. */
#ifndef FC_STATS_H
#define FC_STATS_H

#include "core/base/arena.h"
#include "core/base/real.h"
#include "core/base/status.h"

#include <stdbool.h>
#include <stddef.h>

/* One matrix per slot (a linear layer; the head is the last slot where there is one). */
typedef struct fc_gram_slot {
    int dim;      /* d_in */
    bool full;    /* dim * dim numbers, else dim (the diagonal) */
    double alpha; /* off-diagonals are scaled by this in fc_grams_finish */
    size_t offset;
} fc_gram_slot;

typedef struct fc_grams {
    int n;
    fc_gram_slot *slot;
    double *g; /* size doubles */
    size_t size;
    fc_real *scratch; /* dim_max^2 if any slot is full, else NULL */
} fc_grams;

/* dims (n), alphas (n): alpha 0 -> diagonal storage. Zeroed. Memory from arena. */
fc_status fc_grams_init(fc_grams *s, int n, const int *dims, const double *alphas, fc_arena *arena,
                        fc_error *err);
/* Zeroed Grams of the same shape. */
fc_status fc_grams_like(fc_grams *s, const fc_grams *like, fc_arena *arena, fc_error *err);
/* The first n slots, sharing memory. */
fc_grams fc_grams_first(const fc_grams *s, int n);
void fc_grams_zero(fc_grams *s);
/* G_i += X^T X, X (rows, ld) with dim columns used. Sums over the rows in order, in double for
 * diagonals, in fc_real per call and double across calls for full ones. */
void fc_grams_add(fc_grams *s, int slot, const fc_real *X, int rows, int ld);
/* G <- alpha G + (1 - alpha) diag(G) for full slots. Call once, after the last pass. */
void fc_grams_finish(fc_grams *s);
/* dst += src (same shape). */
void fc_grams_accumulate(fc_grams *dst, const fc_grams *src);

#endif
