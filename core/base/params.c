#include "core/base/params.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

void fc_params_add(fc_params *layout, fc_spec *spec, const char *name, fc_group group, int ndim,
                   const int *dim)
{
    fc_spec *s = &spec[layout->nspec];
    *s = (fc_spec){.group = group, .ndim = ndim, .rows = 1, .cols = 1, .offset = layout->n};
    snprintf(s->name, sizeof s->name, "%s", name);
    for (int i = 0; i < ndim; i++) {
        s->dim[i] = dim[i];
        if (i == 0 && ndim > 1)
            s->rows = dim[i];
        else
            s->cols *= dim[i];
    }
    layout->spec = spec;
    layout->n += fc_spec_size(s);
    layout->nspec++;
}

fc_status fc_params_alloc(fc_params *out, const fc_params *like, fc_arena *arena, fc_error *err)
{
    fc_real *p = fc_arena_alloc(arena, like->n, sizeof *p, err);
    if (!p)
        return FC_EFAIL;
    *out = (fc_params){p, like->n, like->spec, like->nspec};
    return FC_OK;
}

const fc_spec *fc_params_find(const fc_params *p, const char *name)
{
    for (int i = 0; i < p->nspec; i++)
        if (strcmp(p->spec[i].name, name) == 0)
            return &p->spec[i];
    return NULL;
}

size_t fc_params_group(const fc_params *p, fc_group g, size_t *offset)
{
    size_t n = 0;
    *offset = 0;
    for (int i = 0; i < p->nspec; i++) {
        const fc_spec *s = &p->spec[i];
        if (s->group != g)
            continue;
        if (n == 0)
            *offset = s->offset;
        assert(s->offset == *offset + n);
        n += fc_spec_size(s);
    }
    return n;
}

size_t fc_params_group_of(const fc_params *p, unsigned groups, fc_group g, size_t *offset)
{
    *offset = 0;
    return groups >> g & 1 ? fc_params_group(p, g, offset) : 0;
}
