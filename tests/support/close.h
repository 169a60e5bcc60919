/* Float comparison that NaN fails, and the golden-file path. */
#ifndef FC_TEST_CLOSE_H
#define FC_TEST_CLOSE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* |got - want| <= atol + rtol |want|, written so that NaN fails. */
static inline void fc_close_at(double got, double want, double rtol, double atol, const char *name,
                               size_t index, const char *file, int line)
{
    if (!(fabs(got - want) <= atol + rtol * fabs(want))) {
        print_error("%s:%d: %s[%zu] = %.17g, expected %.17g (difference %.3g, allowed %.3g)\n",
                    file, line, name, index, got, want, got - want, atol + rtol * fabs(want));
        _fail(file, line);
    }
}

#define assert_close(got, want, rtol, atol)                                                        \
    fc_close_at((double)(got), (double)(want), (rtol), (atol), #got, 0, __FILE__, __LINE__)

#define assert_all_close(got, want, n, rtol, atol)                                                 \
    do {                                                                                           \
        for (size_t fc_i = 0; fc_i < (size_t)(n); fc_i++)                                          \
            fc_close_at((double)(got)[fc_i], (double)(want)[fc_i], (rtol), (atol), #got, fc_i,     \
                        __FILE__, __LINE__);                                                       \
    } while (0)

/* Path of a golden file: in $FCIL_GOLDEN where it is there, else in $FCIL_TESTS/golden. */
static inline const char *fc_golden(char *buf, size_t size, const char *name)
{
    const char *given = getenv("FCIL_GOLDEN"), *tests = getenv("FCIL_TESTS");
    snprintf(buf, size, "%s/%s", given ? given : "", name);
    FILE *f = given ? fopen(buf, "r") : NULL;
    if (f)
        fclose(f);
    else
        snprintf(buf, size, "%s/golden/%s", tests ? tests : "tests", name);
    return buf;
}

#endif
