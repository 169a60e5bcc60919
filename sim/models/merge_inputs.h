/* The inputs of a merge of files, as sim/models/merge_files.c opens them. */
#ifndef FC_MERGE_INPUTS_H
#define FC_MERGE_INPUTS_H

#include "core/merge/merge.h"
#include "sim/models/model_file.h"

/* One tensor of the set. */
typedef struct fc_merge_tensor {
    const char *name; /* "blocks.0.attn.qkv.weight" */
    int ndim;
    int64_t dim[8];
    bool layer;            /* of an adapter; in the set as B A, (m, n) whatever the base has */
    const fc_tensor *base; /* NULL without a base */
} fc_merge_tensor;

typedef struct fc_merge_files {
    int n;
    fc_model_file *file; /* (n) */
    fc_st *model;        /* (n) of whole models */
    const char *base_path;
    fc_st base;              /* {0} without */
    bool transposed;         /* layers of the base are (n, m) */
    fc_merge_tensor *tensor; /* (set.tensors) */
    fc_tv_set set;           /* its tv by load */
    fc_tv_shape *shape;
    int rows, width;         /* of the head; 0: there is none */
    double *head_w, *head_b; /* (rows, width), (rows) */
    bool apart;              /* the rows of each input, one below the other; else their mean */
    fc_model_meta meta;      /* of the result: what all inputs say */
    fc_pairs metadata;       /* the same as pairs */
    int n_metadata;
    fc_arena arena;
} fc_merge_files;

#endif
