#include "sim/io/outfile.h"

#include "core/base/file.h"

#include <dirent.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

fc_status fc_out_path(char path[FC_PATH_MAX], fc_error *err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(path, FC_PATH_MAX, fmt, ap);
    va_end(ap);
    if (!(n >= 0 && n < FC_PATH_MAX))
        return fc_fail(err, FC_EFAIL, "%.60s...: path of %d bytes, expected less than %d", path, n,
                       FC_PATH_MAX);
    return FC_OK;
}

bool fc_out_is_name(const char *name)
{
    return *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

bool fc_out_find(char path[FC_PATH_MAX], const char *dir, const char *name)
{
    struct stat st;
    return fc_out_path(path, NULL, "%s/%s", dir, name) == FC_OK && stat(path, &st) == 0;
}

json_t *fc_out_json_text(const char *s)
{
    json_t *v = json_string(s);
    char *ascii = v ? NULL : strdup(s);
    if (!ascii)
        return v;
    for (char *c = ascii; *c; c++)
        if ((unsigned char)*c > 127)
            *c = '?';
    v = json_string(ascii);
    free(ascii);
    return v;
}

json_t *fc_out_json_number(double x)
{
    return isnan(x) ? json_null() : json_real(x);
}

fc_status fc_out_json(const char *path, json_t *object, fc_error *err)
{
    char *text = object ? json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(12)) : NULL;
    json_decref(object);
    if (!text)
        return fc_fail(err, FC_EFAIL, "%s: cannot make the JSON text: out of memory", path);
    size_t n = strlen(text);
    text[n] = '\n'; /* in place of the final zero */
    fc_status s = fc_file_write_atomic(path, text, n + 1, err);
    free(text);
    return s;
}

void fc_out_sweep(const char *dir)
{
    DIR *d = opendir(dir);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        size_t n = strlen(e->d_name);
        if (n > 4 && strcmp(e->d_name + n - 4, ".tmp") == 0)
            unlinkat(dirfd(d), e->d_name, 0);
    }
    closedir(d);
}
