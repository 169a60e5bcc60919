/* What every fuzz target defines; it returns 0 always. A target calls one parser with the bytes and
 * looks at all that the parser promises: a failure has a message, a success has readable data of
 * the sizes it tells. Run one with libFuzzer (into a folder of its own, since new finds are written
 * to the first one given):
 *   CC=clang meson setup build-fuzz -Db_sanitize=address,undefined -Db_lundef=false \
 *     -Dc_args=-fsanitize=fuzzer-no-link && meson compile -C build-fuzz
 *   clang -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_npz.c build-fuzz/lib*.a -l... -o
 * fuzz_npz
 *   ./fuzz_npz new-finds tests/bad/npz */
#ifndef FC_TEST_FUZZ_H
#define FC_TEST_FUZZ_H

#include "core/status.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* A parser either succeeds without a message or fails with code and message. */
static inline void fc_fuzz_check(fc_status s, const fc_error *err)
{
    if (s != err->code || (s == FC_OK) != (err->msg[0] == '\0'))
        abort();
}

/* Reads every byte, so that a sanitizer sees one that is not there. */
static inline void fc_fuzz_touch(const unsigned char *p, size_t n)
{
    unsigned sum = 0;
    for (size_t i = 0; i < n; i++)
        sum = sum * 31 + p[i];
    volatile unsigned keep = sum;
    (void)keep;
}

#endif
