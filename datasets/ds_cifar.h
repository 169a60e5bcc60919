/* CIFAR-10 and CIFAR-100 differ in names and label bytes only (Krizhevsky 2009,
 * https://www.cs.toronto.edu/~kriz/cifar.html).
 *
 * Binary record: label bytes, then 3072 bytes, 1024 red, 1024 green, 1024 blue, row by row. Files
 * are mapped and read in place; any whole number of records is fine. Python files: a pickled dict
 * with the array "data" (n, 3072) in the same order and a list of labels. */
#ifndef FC_DS_CIFAR_H
#define FC_DS_CIFAR_H

#include "datasets/dataset.h"

/* Lists end with NULL. */
typedef struct fc_cifar {
    const fc_data_source *source;
    const char *const *folders; /* where the files may be, below the data directory */
    int classes;
    int coarse_classes; /* of a label byte before the label, or 0: none */
    const char *const *bin_train, *const *py_train; /* files of the training split */
    const char *bin_test, *py_test;
    const char *bin_names, *py_meta;   /* class names: one a line, or a pickle; may be absent */
    const char *label_key, *names_key; /* keys of the python dicts */
} fc_cifar;

fc_status fc_cifar_load(fc_dataset *out, const fc_data_request *q, const fc_cifar *c,
                        fc_error *err);

#endif
