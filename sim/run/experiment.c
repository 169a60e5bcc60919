#include "sim/run/experiment.h"

#include "sim/run/setup.h"
#include "sim/run/task_source.h"

fc_status fc_experiment_open(fc_experiment *e, fc_config *cfg, fc_console console, fc_error *err)
{
    return fc_run_open(&e->run, &e->setup, cfg, console, fc_task_source_look, err);
}

void fc_experiment_close(fc_experiment *e)
{
    fc_run_close(&e->run, &e->setup);
}

fc_status fc_experiment_run(fc_experiment *e, const char *dir, const fc_run_how *how,
                            bool *done_before, fc_error *err)
{
    *done_before = false;
    if (how->resume)
        FC_TRY(fc_run_done(done_before, &e->run, dir, err));
    if (*done_before)
        return FC_OK;
    FC_TRY(fc_task_source_take(&e->run, err));
    return fc_run_in(&e->run, dir, how, err);
}
