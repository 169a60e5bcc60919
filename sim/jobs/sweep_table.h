/* Runs of a sweep as rows of text and as JSON. */
#ifndef FC_SWEEP_TABLE_H
#define FC_SWEEP_TABLE_H

#include "sim/sweep/sweep.h"

#include <jansson.h>

/* "id  method.name  fed.beta" of run r, or (NULL) the names, in columns; no newline. */
void fc_sweep_print_values(const fc_sweep *s, const fc_sweep_run *r);

/* {"id", "setting", "rung", "values": {column: text}, "dir"}; NULL when memory is out. */
json_t *fc_sweep_run_json(const fc_sweep *s, const fc_sweep_run *r);

#endif
