/* BLAS and OpenMP set-up: BLAS on one thread, all parallelism ours. */
#ifndef FC_THREADS_H
#define FC_THREADS_H

#include "core/status.h"

/* Cores this process may use: OMP_NUM_THREADS, else CPU affinity capped by the cgroup quota. */
int fc_threads_default(void);

/* BLAS to one thread, then OpenMP to n (in this order: the OpenMP build of OpenBLAS also sets our
 * team size). With a BLAS that is not safe under threads n falls to 1.
 * Returns the team size in force; *blas_safe (may be NULL) says which of both happened. */
int fc_threads_init(int n, int *blas_safe);

#endif
