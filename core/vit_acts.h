/* The activations of a network, for the files that run it (core/vit*.c) only. */
#ifndef FC_VIT_ACTS_H
#define FC_VIT_ACTS_H

#include "core/vit.h"

/* What backward needs of one block. R = n_max * tokens rows (one chunk without backward). Inputs of
 * linear layers that follow a LayerNorm or GELU are not kept: where a gradient needs them they are
 * made again. */
typedef struct fc_block_acts {
    fc_real *x;     /* (R, D) input */
    fc_real *stat1; /* (R, 2) of norm1 */
    fc_real *qkv;   /* (R, 3 D) */
    fc_real *P;     /* (n_max, heads, T, T) attention weights */
    fc_real *att;   /* (R, D) attention output */
    fc_real *mid;   /* (R, D) x + attn.proj */
    fc_real *stat2; /* (R, 2) of norm2 */
    fc_real *pre;   /* (R, hidden) fc1 output, before GELU; or the derivative of GELU there */
    fc_real *xa[4]; /* (R, rank) x A^T of each slot */
    fc_real *z;     /* (R, D), and */
    fc_real *mean;  /* (n_max, D) of the gate, and */
    double *w;      /* (n_max, experts) weights of the experts: with gates only */
} fc_block_acts;

struct fc_acts {
    fc_vit_shape shape;
    fc_acts_size size;
    int chunk;        /* images */
    fc_engine engine; /* with the scratch below */
    int n;            /* images of the last forward */
    bool keep;        /* for backward; otherwise all layers use the first one's buffers */
    bool keep_inputs; /* backward needs the inputs of layers, and pre for them */
    bool cls_only;    /* its last block ran on class tokens only after the attention */

    fc_real *cols;     /* (n_max (T - 1), 3 patch^2) */
    fc_real *top;      /* (n_max, D) class tokens of the last block's output */
    fc_real *stat;     /* (n_max, 2) of the final norm */
    fc_real *features; /* (n_max, D) */
    fc_real *logits;   /* (n_max, classes) */

    /* of one chunk, C = chunk * tokens rows */
    fc_real *norm;  /* (C, D) LayerNorm output */
    fc_real *gelu;  /* (C, hidden) GELU output */
    fc_real *out;   /* (C, D) output of the last block */
    fc_real *xacls; /* (chunk, rank) x A^T of class tokens */

    /* backward only */
    fc_real *dtop;     /* (n_max, D) */
    fc_real *dfeature; /* (n_max, D) */
    fc_real *dcls;     /* (chunk, D) of class tokens */
    fc_real *dx;       /* (C, D) of the residual stream */
    fc_real *dnorm;    /* (C, D) */
    fc_real *dwide;    /* (C, max(3 D, hidden)) */
    double *dw;        /* (chunk, experts) with gates only */

    fc_block_acts block[]; /* (depth) */
};

#endif
