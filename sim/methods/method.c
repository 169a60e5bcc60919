/* The table of methods, from method_table.def. */
#include "sim/methods/method.h"

#include <string.h>

#define FC_ROW(name) extern const fc_method fc_method_##name;
#include "method_table.inc"
#undef FC_ROW

const fc_method *const fc_method_table[] = {
#define FC_ROW(name) &fc_method_##name,
#include "method_table.inc"
#undef FC_ROW
};
const int fc_method_count = sizeof fc_method_table / sizeof *fc_method_table;

const fc_method *fc_method_find(const char *name)
{
    for (int i = 0; i < fc_method_count; i++)
        if (strcmp(fc_method_table[i]->name, name) == 0)
            return fc_method_table[i];
    return NULL;
}
