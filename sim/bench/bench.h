/* fcil bench: how fast the parts of a run are on this machine. One JSON line per measurement on
 * stdout. The figures are for people and scripts; nothing else depends on them. */
#ifndef FC_BENCH_H
#define FC_BENCH_H

#include "core/linalg/isa.h"
#include "core/vit/vit.h"

#include <jansson.h>
#include <stdbool.h>

/* Choices of options, and their indices. */
#define FC_BENCH_SHAPE_CHOICES "a|b|c|d|all"
enum { FC_BENCH_SHAPES = 4 };
#define FC_BENCH_PRECISION_CHOICES "f32|bf16"
enum { FC_BENCH_F32, FC_BENCH_BF16 };
#define FC_BENCH_MODE_CHOICES "lora|full"
enum { FC_BENCH_LORA, FC_BENCH_FULL };
#define FC_BENCH_TRAIN_CHOICES "B|A|AB"
enum { FC_BENCH_B, FC_BENCH_A, FC_BENCH_AB };

typedef struct fc_bench_options {
    int shape; /* index, or FC_BENCH_SHAPES: all */
    int precision;
    int mode;
    int train; /* factors of LoRA */
    int batch, rank;
    int threads, clients; /* 0: as many as cores; as threads */
    bool eval;
    const char *isa; /* "auto" or a name */
    double seconds;  /* per measurement, at least */
    /* merge */
    const char *rule; /* "auto" or a name */
    int space;        /* fc_space_kind */
    int updates;
    int rows, cols; /* of one weight; 0: a network */
    bool dense;
} fc_bench_options;

/* a: 32 px, patch 4, width 192, depth 6; b: ViT-Tiny/16 at 224 px; c: at 96 px; d: ViT-B/16 at
 * 224 px. */
enum { FC_BENCH_CLASSES = 100 };
extern const fc_vit_shape fc_bench_shape[FC_BENCH_SHAPES];
bool fc_bench_wants(const fc_bench_options *o, int shape);
json_t *fc_bench_shape_name(int shape);
/* The word of a choice. */
json_t *fc_bench_word(const char *choices, int index);

/* step: training step or evaluation as in a run; data: its data pipeline alone. */
fc_status fc_bench_step(const fc_bench_options *o, fc_error *err);
fc_status fc_bench_data(const fc_bench_options *o, fc_error *err);
/* gemm: packed products of the layers, for each table of kernels (that of OpenBLAS too); kernel:
 * the layer kernels of each table. */
fc_status fc_bench_gemm(const fc_bench_options *o, fc_error *err);
fc_status fc_bench_kernel(const fc_bench_options *o, fc_error *err);
/* merge: a round of updates from begin to finish, or a rule over task vectors on one weight. */
fc_status fc_bench_merge(const fc_bench_options *o, fc_error *err);

/* --- measuring ------------------------------------------------------------------------------ */

typedef struct fc_spread {
    double median, p10, p90;
} fc_spread;

void fc_bench_sort(double *x, int n); /* ascending */
/* Sorts x (n >= 1). */
fc_spread fc_spread_of(double *x, int n);
/* Seconds of one call of work, over at least three calls and `seconds`, after one to warm up. */
fc_spread fc_bench_time(void (*work)(void *ctx), void *ctx, double seconds);

/* Adds key: median, p10 and p90. */
void fc_bench_add(json_t *line, const char *key, fc_spread s);
/* Prints the line, five digits of each number, and releases it. */
fc_status fc_bench_print(json_t *line, fc_error *err);

/* --- where the time of a step goes (bench_share.c) ------------------------------------------ */

typedef enum fc_share {
    FC_SHARE_GEMM,    /* products, those of the attention among them, but not OpenBLAS's */
    FC_SHARE_PACKING, /* operands brought into the layout of the products */
    FC_SHARE_NORM,
    FC_SHARE_GELU,
    FC_SHARE_SOFTMAX,
    FC_SHARE_BIAS, /* gradients of biases */
    FC_SHARES
} fc_share;

/* A table with the same kernels, each of which is timed. One at a time: counts begin at 0. */
const fc_isa *fc_share_begin(const fc_isa *isa);
/* Seconds in the kernels of a group since then, over all threads. */
double fc_share_seconds(fc_share share);

#endif
