/* LoRA adapters in folders of PEFT's format (https://huggingface.co/docs/peft, "PEFT checkpoint
 * format"), of any network:
 *
 *   adapter_config.json        sim/models/adapter_config.h
 *   adapter_model.safetensors  base_model.model.<layer>.lora_A.weight (r, n) and .lora_B.weight
 *                              (m, r): the weight of the layer changes by scale B A; tensors that
 *                              were trained as a whole (modules_to_save, biases) under their names
 *
 * What we write has scale 1: lora_alpha = r. Written by fcil export and fcil merge, read where a
 * model may be an adapter (sim/models/model_file.h). */
#ifndef FC_ADAPTER_H
#define FC_ADAPTER_H

#include "core/base/arena.h"
#include "core/base/safetensors.h"
#include "core/base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct fc_adapter_layer {
    const char *name; /* "blocks.0.attn.qkv": its weight is <name>.weight */
    int rows, cols, rank;
    double *B, *A; /* (rows, rank) with the scale in it, (rank, cols) */
} fc_adapter_layer;

typedef struct fc_adapter_whole {
    const char *name; /* "head.weight" */
    int ndim;
    int64_t dim[8];
    size_t count;
    double *v; /* (count) instead of the base's values */
} fc_adapter_whole;

typedef struct fc_adapter {
    const char *base; /* name or path of the model that it was trained on; "" if unknown */
    bool transposed;  /* weights of the base are (n, m): they change by (B A)^T */
    int n_layers, n_whole;
    fc_adapter_layer *layer; /* in the order of the file */
    fc_adapter_whole *whole;
    const char *const (*metadata)[2]; /* of the safetensors file but for "format", sorted by key */
    int n_metadata;
} fc_adapter;

/* Reads a folder into the arena. Errors FC_EDATA, naming file and tensor: a file that is not there
 * or damaged, a number that is not finite, A without B, shapes that do not fit, a tensor of another
 * kind of adapter. */
fc_status fc_adapter_read(fc_adapter *a, const char *dir, fc_arena *arena, fc_error *err);

/* Writes a folder (made if it is not there): factors and whole tensors as F32. What is read from
 * there gives the same bytes again. Errors FC_EFAIL. */
fc_status fc_adapter_write(const char *dir, const fc_adapter *a, fc_error *err);

/* The layer with that weight, "<name>.weight"; the whole tensor of that name. NULL: none. */
const fc_adapter_layer *fc_adapter_find_layer(const fc_adapter *a, const char *weight);
const fc_adapter_whole *fc_adapter_find_whole(const fc_adapter *a, const char *name);

/* out (rows, cols) = B A. */
void fc_adapter_product(double *out, const fc_adapter_layer *l);

/* Is that a folder with an adapter_config.json? */
bool fc_adapter_is(const char *path);

#endif
