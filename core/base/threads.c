#define _GNU_SOURCE /* sched_getaffinity */
#include "core/base/threads.h"

#include <cblas.h>
#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

/* CPU quota of the cgroup (v2), in whole cores; 0 if there is none. */
static int cgroup_cores(void)
{
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "r");
    if (!f)
        return 0;
    long quota = 0, period = 0;
    int got = fscanf(f, "%ld %ld", &quota, &period);
    fclose(f);
    if (got != 2 || quota <= 0 || period <= 0)
        return 0;
    long n = (quota + period - 1) / period;
    return n < 1 ? 1 : (int)n;
}

int fc_cores(void)
{
    int n = 1;
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        n = CPU_COUNT(&set);
    int quota = cgroup_cores();
    return quota && quota < n ? quota : n;
}

int fc_threads_default(void)
{
    const char *env = getenv("OMP_NUM_THREADS");
    if (env) {
        char *end;
        long n = strtol(env, &end, 10);
        if (end != env && n >= 1 && n <= 4096)
            return (int)n;
    }
    return fc_cores();
}

static int threads_in_force = 1;

int fc_threads_init(int n, int *blas_safe)
{
    openblas_set_num_threads(1);
    omp_set_num_threads(1);
    int safe = openblas_get_parallel() != 0;
    if (blas_safe)
        *blas_safe = safe;
    threads_in_force = safe && n > 1 ? n : 1;
    return threads_in_force;
}

int fc_threads(void)
{
    return threads_in_force;
}
