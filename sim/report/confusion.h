/* Which classes a model takes for which: counts, as a table and as a picture. */
#ifndef FC_CONFUSION_H
#define FC_CONFUSION_H

#include "core/base/arena.h"
#include "datasets/tasks.h"
#include "sim/draw/plot.h"

typedef struct fc_confusion {
    const fc_tasks *tasks;
    int n;       /* logits: rows and columns are the classes in the order of the tasks */
    long *count; /* (n, n) images of the row's class that were taken for the column's */
} fc_confusion;

/* answer: as fc_test has it, of the test images of all tasks of k. */
fc_status fc_confusion_make(fc_confusion *out, const fc_tasks *k, const fc_split *images,
                            const int *answer, fc_arena *arena, fc_error *err);

/* CSV: task,class, then a column for each class. */
fc_status fc_confusion_csv(const char *path, const fc_confusion *c, fc_error *err);

/* A heat map, each row in per cent of the class's images, with lines between the tasks; malloc'ed,
 * with a zero behind. Errors FC_EFAIL: no memory; of fc_gnuplot. */
fc_status fc_confusion_draw(char **out, size_t *size, const fc_confusion *c, fc_plot_format format,
                            fc_error *err);

#endif
