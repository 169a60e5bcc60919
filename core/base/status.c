#include "core/base/status.h"

#include <stdarg.h>
#include <stdio.h>

fc_status fc_fail(fc_error *err, fc_status code, const char *fmt, ...)
{
    if (err && err->code == FC_OK) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(err->msg, sizeof err->msg, fmt, ap);
        va_end(ap);
        err->code = code;
    }
    return code;
}
