/* Small helpers for what is written into a run directory. */
#ifndef FC_OUTFILE_H
#define FC_OUTFILE_H

#include "core/base/status.h"

#include <jansson.h>
#include <stdbool.h>

enum { FC_PATH_MAX = 4096 }; /* bytes of a path, its final zero included */

/* path = the formatted text. Errors: FC_EFAIL if it is too long. */
fc_status fc_out_path(char path[FC_PATH_MAX], fc_error *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Is that the name of a file or folder, and no path? */
bool fc_out_is_name(const char *name);

/* path = dir/name; is there such a file? */
bool fc_out_find(char path[FC_PATH_MAX], const char *dir, const char *name);

/* A JSON string of any bytes: where s is not UTF-8, each byte above 127 becomes '?'.
 * NULL if memory is out (which the jansson calls that take it over accept). */
json_t *fc_out_json_text(const char *s);

/* A JSON number; null where there is none (NaN). */
json_t *fc_out_json_number(double x);

/* Write an indented JSON file atomically, reals with 12 digits. Takes over `object`; NULL, as
 * json_pack returns it on failure, is FC_EFAIL. */
fc_status fc_out_json(const char *path, json_t *object, fc_error *err);

/* Remove the temporary files (*.tmp) that a killed process left in a folder. */
void fc_out_sweep(const char *dir);

#endif
