/* An engine for tests: the kernels of $FCIL_ISA or the best of this processor, float products. The
 * test counts as skipped where the processor lacks them. */
#ifndef FC_TESTS_ENGINE_H
#define FC_TESTS_ENGINE_H

#include "core/linalg/gemm.h"

#include <stdio.h>
#include <stdlib.h>

static fc_engine engine;

__attribute__((constructor)) static void engine_init(void)
{
    static _Alignas(64) char work[16 << 20];
    const char *name = getenv("FCIL_ISA");
    fc_error err = {0};
    if (fc_isa_find(&engine.isa, name ? name : "auto", false, &err) != FC_OK) {
        fprintf(stderr, "%s\n", err.msg);
        exit(77);
    }
    engine.work = work;
    engine.left = sizeof work;
}

#endif
