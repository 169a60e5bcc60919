/* Whole-file reading and atomic writing. */
#ifndef FC_FILE_H
#define FC_FILE_H

#include "core/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Map a regular file read-only. code is the status of a failure (FC_EDATA for data, FC_EUSAGE for
 * configs, ...). An empty file maps to a valid pointer with *n = 0. */
fc_status fc_file_map(void **p, size_t *n, const char *path, fc_status code, fc_error *err);
void fc_file_unmap(void *p, size_t n);
/* n bytes from p, of a mapped file, need not stay in memory: they are read again when looked at. */
void fc_file_forget(const void *p, size_t n);

/* Write n bytes to path: temporary name beside it, fsync, rename, fsync of the folder. On failure
 * the temporary file is removed and the old file is untouched. Errors FC_EFAIL. */
fc_status fc_file_write_atomic(const char *path, const void *data, size_t n, fc_error *err);

/* A text that is printed into memory: to be used as a whole, or saved as a file. Every draft that
 * was begun is saved or freed. */
typedef struct fc_draft {
    FILE *f;    /* to print to, until its end */
    char *text; /* after its end: n bytes and a zero */
    size_t n;
} fc_draft;

/* Errors FC_EFAIL: memory is out; *d is then {0}. */
fc_status fc_draft_begin(fc_draft *d, fc_error *err);

/* All is printed: d->text is there. Errors FC_EFAIL: memory was out at any moment since the start.
 */
fc_status fc_draft_end(fc_draft *d, fc_error *err);
void fc_draft_free(fc_draft *d); /* accepts {0}, and a draft without an end */

/* s: how printing went. FC_OK: end it and write it to path atomically. Frees it in any case.
 * Returns s or what failed here. */
fc_status fc_draft_save(fc_draft *d, fc_status s, const char *path, fc_error *err);

/* All n bytes at an offset of an open file; interrupted calls are made again. false: errno says
 * why, 0 where the file ends before. */
bool fc_file_read_at(int fd, void *to, size_t n, int64_t at);
bool fc_file_write_at(int fd, const void *from, size_t n, int64_t at);

/* Is there anything of that name? */
bool fc_file_exists(const char *path);

/* mkdir -p; fc_mkdir: the last folder only, there already or not. Errors FC_EFAIL. */
fc_status fc_mkdirs(const char *path, fc_error *err);
fc_status fc_mkdir(const char *path, fc_error *err);

/* Lower-case hex SHA-256 (libmd) of n bytes. */
void fc_sha256(char hex[65], const void *data, size_t n);

#endif
