/* What the files of the sweep module share: axes and conditions. */
#ifndef FC_SWEEP_PARTS_H
#define FC_SWEEP_PARTS_H

#include "sim/config/config.h"
#include "sim/config/config_parts.h"
#include "sim/io/yaml.h"
#include "sim/sweep/sweep.h"

/* Values that one or several options take together. */
typedef struct fc_axis {
    const fc_yaml *yaml;
    int n_keys;
    const char **key;  /* (n_keys) "train.lr" */
    int n;             /* values */
    bool drawn;        /* value i belongs to draw i of all drawn axes */
    fc_setting *value; /* (n, n_keys) */
} fc_axis;

typedef struct fc_draws {
    int count;
    int64_t seed;
} fc_draws;

/* Settings of one kind, in the order of the file. */
typedef struct fc_setting_list {
    fc_setting *v;
    int n;
} fc_setting_list;

/* What the file says, before it is multiplied out. */
enum { FC_RUNS_MAX = 10000, FC_AXES_MAX = 100 };

typedef struct fc_sweep_builder {
    fc_sweep *s;
    const fc_yaml *root, *where;
    const char **config;     /* (n_configs) paths */
    fc_setting_list configs; /* as they were written */
    fc_setting_list name, set, seeds, budget, args;
    fc_axis axis[FC_AXES_MAX];
    int n_axes;
    fc_draws draws;
    int *number;         /* (combinations) of the setting that one is, -1: not yet known */
    fc_setting *one_run; /* scratch: the settings of one run */
    fc_arena *arena;
    fc_error *err;
} fc_sweep_builder;

/* Reads all that the file and the command line say into b, whose s, arena and err are set; runs are
 * not made yet. Errors FC_EUSAGE with a place. */
fc_status fc_sweep_file_read(fc_sweep_builder *b, char *const *override, int n);

/* Do both set the same option? */
bool fc_setting_same(const fc_setting *a, const fc_setting *b);

/* One entry of `axes:`. Errors FC_EUSAGE with its place. */
fc_status fc_axis_read(fc_axis *axis, const fc_yaml *y, const fc_draws *draws, fc_arena *arena,
                       fc_error *err);

/* A setting "section.key" with the text or list y as its value. Errors FC_EUSAGE if it is a map. */
fc_status fc_sweep_setting(fc_setting *s, const char *key, const char *at_key, const fc_yaml *y,
                           fc_arena *arena, fc_error *err);

/* Is that condition true in config c? It compares options with values and with each other:
 *   or, and, not, ( ), == != < <= > >=, OPTION in [a, b]
 * An option that c's method does not have is neither equal, greater nor smaller. at heads messages.
 * Errors FC_EUSAGE: what was found where. */
fc_status fc_where_holds(bool *holds, const char *text, const char *at, fc_config *c,
                         fc_arena *arena, fc_error *err);

#endif
