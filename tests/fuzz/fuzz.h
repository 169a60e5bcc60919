/* What the targets of the parsers share. A target looks at all that a parser promises: a failure
 * has a message; a success has none, and readable data of the sizes it tells. */
#ifndef FC_TEST_FUZZ_H
#define FC_TEST_FUZZ_H

#include "core/base/status.h"
#include "tests/fuzz/replay.h"

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
