#include "sim/sweep/sweep.h"

#include <stdio.h>
#include <string.h>

void fc_sweep_free(fc_sweep *s)
{
    fc_arena_free(&s->arena);
    *s = (fc_sweep){0};
}

int fc_sweep_column(const fc_sweep *s, const char *name)
{
    for (int i = 0; i < s->n_columns; i++)
        if (strcmp(s->column[i], name) == 0)
            return i;
    return -1;
}

void fc_sweep_label(char *buf, size_t size, const fc_sweep *s, const fc_sweep_run *r)
{
    size_t used = (size_t)snprintf(buf, size, "%s ", r->id);
    for (int i = 0; i < s->n_columns && used < size; i++)
        if (*r->value[i])
            used += (size_t)snprintf(buf + used, size - used, " %s=%s", s->column[i], r->value[i]);
}

const fc_sweep_run *fc_sweep_find(const fc_sweep *s, const char *id)
{
    for (int i = 0; i < s->n_runs; i++)
        if (strcmp(s->run[i].id, id) == 0)
            return &s->run[i];
    return NULL;
}
