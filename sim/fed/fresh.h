/* A run before its first round: its state as it begins, and all buffers. sim/run/setup.c calls it.
 */
#ifndef FC_FRESH_H
#define FC_FRESH_H

#include "sim/fed/state.h"

/* Fresh state and its buffers: memory, threads. r->scratch.progress and .ranks are there already.
 * Nothing is written. On error the caller frees what is there. */
fc_status fc_run_init(fc_run *r, const fc_setup *s, fc_error *err);
void fc_run_free(fc_run *r); /* accepts {0}; the set-up stays the caller's */

#endif
