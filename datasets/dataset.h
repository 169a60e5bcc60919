/* Images and labels in memory: uint8 pixels exactly as stored, never converted ahead of use. */
#ifndef FC_DATASET_H
#define FC_DATASET_H

#include "core/base/arena.h"
#include "core/base/opt.h"
#include "core/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One image as a strided view: value(x, y, c) = p[y * row + x * col + c * chan]. CIFAR's planes are
 * read in place (col 1, row 32, chan 1024), decoded files are interleaved (col 3, chan 1), grey
 * images repeat themselves (chan 0). Always 3 channels. */
typedef struct fc_image {
    const uint8_t *p;
    int width, height;
    ptrdiff_t row, col, chan;
} fc_image;

typedef struct fc_split {
    size_t n;
    fc_image *image; /* (n) */
    int32_t *label;  /* (n), in [0, classes) */
} fc_split;

typedef struct fc_dataset {
    const char *name; /* of the reader */
    const char *path; /* folder or file it came from, "" for synth */
    int classes;
    const char *const *class_name; /* (classes), or NULL */
    fc_split train, test;
    char sha256[65]; /* of all pixels and labels in order, so that a run can say what it saw */
    fc_arena arena;
    void *map[8]; /* mapped files (core/base/file.h), released by fc_dataset_free */
    size_t map_size[8];
    int n_map;
} fc_dataset;

typedef struct fc_data_source fc_data_source;

/* What a reader is asked for. */
typedef struct fc_data_request {
    const char *name;
    const char *path; /* "" = search: $FCIL_DATA (passed as root), ./data */
    const char *root; /* data directory: --data, $FCIL_DATA, config, ./data in that order, resolved
                         by the caller */
    uint64_t seed;    /* synth: which world of classes */
    int classes, per_class_train, per_class_test, size,
        first_class;   /* synth only; see ds_synth.c */
    double difficulty; /* synth only */
    int max_train_per_class,
        max_test_per_class; /* 0 = all; else the first so many of each class, in file order */
} fc_data_request;

/* One reader: one file ds_<name>.c, one row of dataset_table.def. */
struct fc_data_source {
    const char *name, *help;
    const char *layout; /* the files it looks for, for messages and `fcil list datasets` */
    fc_status (*load)(fc_dataset *out, const fc_data_request *q, fc_error *err);
};
extern const fc_data_source *const fc_data_table[];
extern const int fc_data_count;

/* Load by name, check labels, count classes, apply max_*_per_class, hash. Every class needs a
 * training and a test image. Errors FC_EUSAGE (unknown name), FC_EDATA (file, what was found, what
 * was expected), *out then {0}. */
fc_status fc_dataset_load(fc_dataset *out, const fc_data_request *q, fc_error *err);
void fc_dataset_free(fc_dataset *d); /* accepts {0} */

/* Which images of s are among the last n of their class, from the arena; count (classes), unless
 * NULL: how many each class has. NULL with err set when memory is out. */
bool *fc_last_of_class(int *count, const fc_split *s, int classes, int n, fc_arena *arena,
                       fc_error *err);

/* The last `hold` training images of each class become the test images. Errors FC_EUSAGE where a
 * class has no more than that. */
fc_status fc_dataset_hold_out(fc_dataset *d, int hold, fc_error *err);

int fc_dataset_side(const fc_dataset *d); /* longest side of any image */

#endif
