/* Pictures of data: a contact sheet (classes x samples) and a partition (clients x classes). Pure
 * functions to RGB; fc_png_write makes files of them. */
#ifndef FC_CONTACT_SHEET_H
#define FC_CONTACT_SHEET_H

#include "core/base/arena.h"
#include "core/base/status.h"
#include "datasets/dataset.h"
#include "datasets/partition.h"
#include "datasets/tasks.h"

typedef struct fc_picture {
    uint8_t *rgb; /* (height, width, 3), from the arena */
    int width, height;
} fc_picture;

/* The first `columns` images of each of the first `rows` classes of order (d->classes), one row per
 * class, its number at the left. cell: side of one image in pixels; images are cut to their central
 * square and resampled to it. Classes with fewer images leave white cells. Errors FC_EFAIL
 * (memory). */
fc_status fc_contact_sheet(fc_picture *out, const fc_dataset *d, const fc_split *split,
                           const int *order, int rows, int columns, int cell, fc_arena *arena,
                           fc_error *err);

enum { FC_PARTITION_ROWS = 200 }; /* clients in a picture at most: the first ones */

/* Rows: clients; columns: classes in the order in which they are learnt, one colour and frame per
 * task, numbered by dataset class. The area of a dot is the number of samples, largest = full cell;
 * with more than 100 columns or rows cells get too small for dots and their strength is the number.
 * Errors FC_EFAIL (memory). */
fc_status fc_partition_picture(fc_picture *out, const fc_partition *p, const fc_dataset *d,
                               const fc_tasks *t, fc_arena *arena, fc_error *err);

#endif
