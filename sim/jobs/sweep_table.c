#include "sim/jobs/sweep_table.h"

#include "sim/io/outfile.h"

#include <stdio.h>

void fc_sweep_print_values(const fc_sweep *s, const fc_sweep_run *r)
{
    printf("%-8s", r ? r->id : "id");
    for (int c = 0; c < s->n_columns; c++)
        printf("  %-*s", s->width[c], r ? r->value[c] : s->column[c]);
}

json_t *fc_sweep_run_json(const fc_sweep *s, const fc_sweep_run *r)
{
    json_t *values = json_object();
    for (int c = 0; c < s->n_columns; c++)
        json_object_set_new(values, s->column[c], fc_out_json_text(r->value[c]));
    return json_pack("{s:s, s:i, s:i, s:o, s:o}", "id", r->id, "setting", r->setting, "rung",
                     r->rung, "values", values, "dir", fc_out_json_text(r->dir));
}
