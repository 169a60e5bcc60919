/* What is made on the spot and kept for the next time, in <cache>/fcil, where <cache> is
 * $XDG_CACHE_HOME or ~/.cache. */
#ifndef FC_CACHE_H
#define FC_CACHE_H

#include "core/base/status.h"
#include "sim/config/config.h"

/* What a result of that config depends on: the options, where files come from, the program and its
 * kernels. */
fc_status fc_cache_key(char key[9], fc_config *c, fc_error *err);

/* <cache>/fcil/<pattern with key>; the folder is made. */
fc_status fc_cache_path(char *buf, size_t size, const char *pattern, const char *key, fc_error *err)
    __attribute__((format(printf, 3, 0)));

#endif
