/* A run in its directory: what is written there before the first round, the loop, and how it ended.
 */
#ifndef FC_RUN_DIR_H
#define FC_RUN_DIR_H

#include "sim/fed/state.h"

typedef struct fc_run_how {
    bool resume;
    int argc; /* for the manifest */
    char **argv;
} fc_run_how;

/* Is there a run in dir that is done? Then its state is restored. All ranks call it. */
fc_status fc_run_done(bool *done, fc_run *r, const char *dir, fc_error *err);

/* A fresh run in its directory, to the end: the files of its start, the loop, the marker DONE,
 * FAILED or STOPPED. With resume it goes on from its last checkpoint. All ranks call it. */
fc_status fc_run_in(fc_run *r, const char *dir, const fc_run_how *how, fc_error *err);

#endif
