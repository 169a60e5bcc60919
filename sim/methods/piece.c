/* The table of pieces that go with every method, from piece_table.def. */
#include "sim/methods/piece.h"

#include <string.h>

#define FC_ROW(name) extern const fc_piece fc_piece_##name;
#include "piece_table.inc"
#undef FC_ROW

const fc_piece *const fc_piece_table[] = {
#define FC_ROW(name) &fc_piece_##name,
#include "piece_table.inc"
#undef FC_ROW
};
const int fc_piece_count = sizeof fc_piece_table / sizeof *fc_piece_table;

const fc_piece *fc_piece_find(const char *name)
{
    for (int i = 0; i < fc_piece_count; i++)
        if (strcmp(fc_piece_table[i]->name, name) == 0)
            return fc_piece_table[i];
    return NULL;
}
