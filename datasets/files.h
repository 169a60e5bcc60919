/* What the readers share: finding a folder, mapping its files, naming classes, inflating. */
#ifndef FC_FILES_H
#define FC_FILES_H

#include "datasets/dataset.h"

#include <stdbool.h>

enum { FC_SIDE_MAX = 20000 };                          /* pixels on a side of any image */
static const size_t fc_pixels_max = (size_t)256 << 20; /* of one image */

/* dir "/" name in arena; name "" gives dir. NULL when memory is out. */
char *fc_path_join(const char *dir, const char *name, fc_arena *arena, fc_error *err);
bool fc_path_exists(const char *path);

/* The first folder that has one of the marker files: base/<folders[i]>, base = q->path, or q->root
 * without one. Both lists end with NULL. *marker (may be NULL) gets the index of the marker found.
 * Errors FC_EDATA: q->path does not exist; nothing found (says src->layout). */
fc_status fc_data_find(const char **folder, int *marker, const fc_data_source *src,
                       const fc_data_request *q, const char *const *folders,
                       const char *const *markers, fc_arena *arena, fc_error *err);

/* Map a file that lives as long as d (at most 8). Errors FC_EDATA: unreadable, not a file, empty.
 */
fc_status fc_data_map(const unsigned char **p, size_t *n, fc_dataset *d, const char *path,
                      fc_error *err);

/* Room for n images and labels. */
fc_status fc_split_alloc(fc_split *s, size_t n, fc_arena *arena, fc_error *err);

/* d->class_name from a text file with one name a line; no file: left NULL.
 * Errors FC_EDATA: not d->classes names. */
fc_status fc_data_class_names(fc_dataset *d, const char *path, fc_error *err);

typedef enum fc_zip { FC_DEFLATE, FC_GZIP } fc_zip;
/* The first n_out bytes of a compressed stream; all of it (`whole`): it must then end there.
 * Returns NULL, or what is wrong with the stream. */
const char *fc_inflate(unsigned char *out, size_t n_out, const unsigned char *in, size_t n_in,
                       fc_zip kind, bool whole);
/* No deflate stream of n bytes gives more than this: checked before memory is asked for. */
size_t fc_inflate_bound(size_t n);

#endif
