/* manifest.json: what ran, on what. */
#ifndef FC_MANIFEST_H
#define FC_MANIFEST_H

#include "core/base/status.h"

typedef struct fc_manifest {
    int argc;
    char **argv;
    int threads, ranks;          /* of rank 0; how many */
    const char *isa, *precision; /* kernels of the products, f32 or bf16 */
    const char *data_name, *data_path, *data_sha256;
    const char *weights_path, *weights_sha256; /* "" if none */
    const char *partition_sha256, *config_hash;
    const char *trace_sha256; /* of the devices; "" if none */
} fc_manifest;

/* Writes dir/manifest.json atomically: version, commit, compiler, BLAS config + core, CPU model,
 * ISA flags that matter, host OS, threads, kernels, argv, start time (UTC), and the hashes. */
fc_status fc_manifest_write(const char *dir, const fc_manifest *m, fc_error *err);

#endif
