/* The activations of a network: what forward leaves for backward, and the scratch of both. */
#ifndef FC_VIT_ACTS_H
#define FC_VIT_ACTS_H

#include "core/linalg/gemm.h"
#include "core/vit/vit_layout.h"

/* Bounds on the models and images that they are for. */
typedef struct fc_acts_size {
    int rank, classes;
    int n_max;     /* images */
    bool backward; /* keep what backward needs (and its scratch); otherwise layers share buffers */
    int experts;   /* beside each layer; 0: none */
    int gate_k;    /* of SMILE's router */
    bool gates;    /* the experts are WEMoE's */
    bool whole;    /* all images go through each layer at once: for its batch_reduce */
} fc_acts_size;

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

/* All scratch of forward and backward for a block of at most n_max images, allocated once; one per
 * thread. Of core/vit/vit.c: callers take logits and features by the functions below. */
typedef struct fc_acts {
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
} fc_acts;

/* e: isa and bf16 of the products; its scratch is made here. */
fc_status fc_acts_new(fc_acts **out, const fc_vit_shape *s, const fc_acts_size *size,
                      const fc_engine *e, fc_error *err);
void fc_acts_free(fc_acts *a); /* accepts NULL */
const fc_real *fc_acts_logits(const fc_acts *a);
const fc_real *fc_acts_features(const fc_acts *a);
/* Bytes of all of it, for the prediction of memory. */
size_t fc_acts_bytes(const fc_vit_shape *s, const fc_acts_size *size, const fc_engine *e);

#endif
