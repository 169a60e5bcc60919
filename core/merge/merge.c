#include "core/merge/merge.h"

#include <string.h>

/* merge_table.inc: FC_ROW(name) for every row of merge_table.def */
#define FC_ROW(name) extern const fc_merge_method fc_merge_##name;
#include "merge_table.inc"
#undef FC_ROW

#define FC_ROW(name) &fc_merge_##name,
const fc_merge_method *const fc_merge_table[] = {
#include "merge_table.inc"
};
#undef FC_ROW

const int fc_merge_count = sizeof fc_merge_table / sizeof *fc_merge_table;

const fc_merge_method *fc_merge_find(const char *name)
{
    for (int i = 0; i < fc_merge_count; i++)
        if (strcmp(fc_merge_table[i]->name, name) == 0)
            return fc_merge_table[i];
    return NULL;
}
