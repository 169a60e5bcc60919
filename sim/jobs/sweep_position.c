#include "sim/jobs/sweep_position.h"

#include "sim/io/csv.h"
#include "sim/jobs/sweep_work.h"
#include "sim/record/runlog.h"

#include <math.h>

/* 0 where it is no number from 0 to high. */
static double last_in_range(const fc_csv *csv, const char *column, double high)
{
    double x = fc_csv_last(csv, column);
    return x >= 0 && x <= high ? x : 0;
}

fc_sweep_position fc_sweep_position_of(fc_sweep_view *v, int i)
{
    char dir[FC_PATH_MAX], path[FC_PATH_MAX];
    const fc_sweep_run *run = &v->sweep->run[i];
    const fc_run_view *r = &v->run[i];
    fc_sweep_position at = {0};
    fc_csv csv;
    if (r->state == FC_RUN_DONE)
        return (fc_sweep_position){.rows = run->rows, .seconds = r->seconds};
    if (r->state == FC_RUN_FAILED || r->generation < 0)
        return at;
    fc_mark mark = fc_arena_mark(&v->arena);
    if (fc_work_path(dir, v, run->id, r->generation, false, NULL) == FC_OK &&
        fc_out_path(path, NULL, "%s/rounds.csv", dir) == FC_OK &&
        fc_csv_read(&csv, path, &v->arena, NULL) == FC_OK && csv.rows > 0) {
        at.task = (int)last_in_range(&csv, FC_ROUND_COLUMN(task), 1e6);
        at.round = (int)last_in_range(&csv, FC_ROUND_COLUMN(round), 1e6);
        at.rows = (long)fmin((double)csv.rows, (double)run->rows);
        at.seconds = last_in_range(&csv, FC_ROUND_COLUMN(wall_s), 1e12);
    }
    fc_arena_release(&v->arena, mark);
    return at;
}
