/* Recipes: a sweep of one setting over its seeds, with the numbers that should come out and where
 * these were found.
 *
 *   name: cifar100_twin_b0.5_lorm          # and config, set, seeds: sim/sweep/sweep.h
 *   expect:
 *     faa: {mean: 26.9, tolerance: 2, sd: 1.7, n: 3}   # sd and n of the source: optional
 *   source: {kind: own run, text: "2026-11-21, two cores of an AMD EPYC"}   # or paper, issue
 *   paper: {title: "Salami et al., ICLR 2025", row: "CIFAR-100, beta 0.5", published: 86.95,
 *           setting: "ViT-B/16, 224 px"}   # what it is a twin of
 *   recorded: ../../results/cifar100_vit_tiny/b0.5     # kept runs, relative to this file
 *   note: one line for the table */
#ifndef FC_RECIPE_H
#define FC_RECIPE_H

#include "sim/report/metric.h"
#include "sim/sweep/sweep.h"

typedef struct fc_expected {
    const fc_metric *metric;
    double mean, tolerance; /* in the units of summary.json */
    double sd;              /* of the source, NaN if it says none */
    int n;                  /* its seeds, 0 if it says none */
} fc_expected;

typedef struct fc_recipe {
    fc_sweep sweep;
    int n_expected;
    fc_expected *expected;
    const char *kind, *source;                     /* where the expected numbers come from */
    const char *title, *row, *published, *setting; /* of the paper, "" if there is none */
    const char *recorded;                          /* "" if there are none */
    const char *note;
    fc_arena arena;
} fc_recipe;

/* Reads the file as a sweep and the rest of it. On error *r is {0}. Errors: FC_EUSAGE with
 * file:line:col and what is wrong there. */
fc_status fc_recipe_load(fc_recipe *r, const char *path, char *const *override, int n,
                         fc_error *err);
void fc_recipe_free(fc_recipe *r); /* accepts {0} */

/* One expectation against the values of our n runs. */
typedef struct fc_verdict {
    fc_mean ours;
    double z;  /* (ours - expected) / sqrt(sd^2 / n + sd_source^2 / n_source); NaN where neither has
                  a standard deviation */
    bool pass; /* |ours - expected| <= tolerance; no run is a failure */
} fc_verdict;
fc_verdict fc_recipe_judge(const fc_expected *e, const double *ours, int n);

#endif
