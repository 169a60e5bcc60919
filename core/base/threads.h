/* BLAS and OpenMP set-up: BLAS on one thread, all parallelism ours. */
#ifndef FC_THREADS_H
#define FC_THREADS_H

#include "core/base/status.h"

/* Cores this process may use: CPU affinity capped by the cgroup quota. */
int fc_cores(void);
/* OMP_NUM_THREADS, else fc_cores(). */
int fc_threads_default(void);

/* n threads for every parallel region that asks fc_threads(), and one for BLAS.
 *
 * OpenMP's own default stays at 1: the OpenMP build of OpenBLAS takes that number for itself in
 * every call outside a parallel region, and its bits depend on it. So each region names its size.
 * With a BLAS that is not safe under threads n falls to 1. Returns the number in force; *blas_safe
 * (may be NULL) says whether it is. */
int fc_threads_init(int n, int *blas_safe);

/* The number in force; 1 before fc_threads_init. */
int fc_threads(void);

#endif
