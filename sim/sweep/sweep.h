/* A sweep: one YAML file that says which runs there are (README, "Sweeps"). sim/sweep/sweep_load.h
 * reads it.
 *
 *   name: lr_by_beta                  # run.name of all runs
 *   config: ../tiny/synth_lorm.yaml   # relative to this file; a list is an axis
 *   set: {fed.rounds: 2}              # options of all runs
 *   axes:                             # every combination of:
 *     method.name: [lorm, fedavg_lora]
 *     train.lr: {log: [1e-4, 1e-2], n: 5}   # or linear; or {range: [low, high, step]}
 *     "train.lr_A, train.lr_B": [[1e-3, 1e-3], [3e-3, 1e-3]]   # together
 *     train.batch: {log: [4, 64]}     # no n: drawn at random, with all such axes
 *   draws: {count: 20, seed: 1}
 *   seeds: 3                          # run.seed 0, 1, 2; or a list
 *   where: ["method.name != lorm or train.lr <= 1e-3"]
 *   baseline: {method.name: fedavg_lora}
 *   search:
 *     halving: {budget: fed.rounds, values: [1, 2, 5], keep: 0.5, metric: faa}
 *
 * An option that only some methods or merge rules have applies to their runs alone; runs that come
 * out the same are one run. */
#ifndef FC_SWEEP_H
#define FC_SWEEP_H

#include "core/base/arena.h"
#include "core/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fc_sweep_run {
    char id[9];  /* fc_config_hash of the resolved config, and what inputs an axis chose */
    int setting; /* runs of one setting differ in run.seed and in the budget of a search; from 0 */
    int rung;    /* of a search: its budget is values[rung]; 0 without one */
    int64_t seed;
    const char *method;
    const char *config; /* file that `fcil run` reads */
    char **override;    /* (n_override) "section.key=value" for `fcil run` */
    int n_override;
    const char **value; /* (n_columns) as in the dump of the config; "" where the run has no such
                           option */
    const char *dir;    /* <out>/<name>/<method>-s<seed>-<id>: there when the run is done */
    long rows;          /* of rounds.csv when it is done */
} fc_sweep_run;

/* Successive halving: rung k runs the settings that are left with budget value[k], and the best
 * part of them goes on. */
typedef struct fc_halving {
    int rungs; /* 0: no search, all runs are wanted */
    const char *budget, **value;
    double keep;
    const char *metric; /* key of summary.json; higher is better */
} fc_halving;

typedef struct fc_sweep {
    const char *path, *name, *out;
    int threads;   /* run.threads, for a worker and all its children; 0: not given */
    int n_columns; /* "config" if that is an axis, the axes' options, the budget, "run.seed" */
    const char **column;
    int *width; /* (n_columns) of the longest value or name, for tables */
    int n_runs; /* in plan order: rung, axes, draws, seeds; each id once */
    fc_sweep_run *run;
    int n_settings, duplicates, excluded; /* excluded: by `where` */
    const char **baseline; /* (n_columns) NULL where it says nothing; all NULL without one */
    fc_halving halving;
    bool on_test_images; /* a search whose runs choose on test images */
    fc_arena arena;
} fc_sweep;

void fc_sweep_free(fc_sweep *s); /* accepts {0} */

/* Index of a column, -1 if there is none of that name. */
int fc_sweep_column(const fc_sweep *s, const char *name);

/* "0123abcd  method.name=lorm fed.beta=0.5": its id and its values. */
void fc_sweep_label(char *buf, size_t size, const fc_sweep *s, const fc_sweep_run *r);

/* The run of that id; NULL if there is none. */
const fc_sweep_run *fc_sweep_find(const fc_sweep *s, const char *id);

#endif
