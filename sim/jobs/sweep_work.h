/* The folders of runs that are worked on: work/<id>.<g>, one per claim. */
#ifndef FC_SWEEP_WORK_H
#define FC_SWEEP_WORK_H

#include "sim/io/outfile.h"
#include "sim/jobs/sweep_state.h"

/* path = the work folder of generation g, or (log) the file of its messages. */
fc_status fc_work_path(char path[FC_PATH_MAX], const fc_sweep_view *v, const char *id, int g,
                       bool log, fc_error *err);

/* Make the newest older work folder that of generation g: renamed if its owner let go of it
 * (released: that is g - 1), else copied, as its owner may still write there; then the older ones
 * are removed. Nothing is done if there is none. Errors: FC_EFAIL if it cannot be copied. */
fc_status fc_work_inherit(const fc_sweep_view *v, const char *id, int g, bool released,
                          fc_error *err);

/* Rename the work folder of generation g to the folder of the finished run. *first: false if that
 * is there already, or ours was taken away; ours is removed then. Errors: FC_EFAIL. */
fc_status fc_work_publish(bool *first, const fc_sweep_view *v, const fc_sweep_run *r, int g,
                          fc_error *err);

/* Remove the work folder of one generation. It is out of its owner's reach first, who can then no
 * longer publish it. */
void fc_work_remove(const fc_sweep_view *v, const char *id, int g);

/* Remove all claims, work folders and marks of a published run. */
void fc_work_clean(const fc_sweep_view *v, const char *id);

#endif
