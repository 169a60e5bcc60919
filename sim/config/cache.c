#include "sim/config/cache.h"

#include "core/base/file.h"
#include "core/linalg/isa.h"
#include "version.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

fc_status fc_cache_path(char *buf, size_t size, const char *pattern, const char *key, fc_error *err)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char dir[3900], name[100];
    if (cache && *cache)
        snprintf(dir, sizeof dir, "%s/fcil", cache);
    else
        snprintf(dir, sizeof dir, "%s/.cache/fcil", home && *home ? home : "/tmp");
    FC_TRY(fc_mkdirs(dir, err));
    snprintf(name, sizeof name, pattern, key);
    snprintf(buf, size, "%s/%s", dir, name);
    return FC_OK;
}

fc_status fc_cache_key(char key[9], fc_config *c, fc_error *err)
{
    char text[9000], hex[65];
    const fc_isa *isa;
    FC_TRY(fc_isa_find(&isa, "auto", false, err));
    bool files = strcmp(c->data.name, "synth") != 0;
    FC_TRY(fc_config_hash(key, c, err));
    snprintf(text, sizeof text, "%s %s %s %s %s", key, FC_COMMIT, isa->name, c->data.path,
             files ? c->data.root : "");
    fc_sha256(hex, text, strlen(text));
    snprintf(key, 9, "%.8s", hex);
    return FC_OK;
}
