/* Bump allocator: one lifetime, one arena. Memory comes back zeroed and 64-byte aligned. */
#ifndef FC_ARENA_H
#define FC_ARENA_H

#include "core/base/status.h"

#include <stddef.h>

typedef struct fc_chunk fc_chunk;

/* {0} is a valid empty arena. Not thread-safe: one arena per thread. */
typedef struct fc_arena {
    fc_chunk *first, *current;
    size_t used; /* bytes handed out of the current chunk */
} fc_arena;

typedef struct fc_mark {
    fc_chunk *chunk;
    size_t used;
} fc_mark;

/* n * size bytes, zeroed, 64-byte aligned; n = 0 gives a valid pointer.
 * NULL with err set (FC_EFAIL) when n * size overflows or memory is out. */
void *fc_arena_alloc(fc_arena *a, size_t n, size_t size, fc_error *err);

/* Copy of a string. NULL with err set when memory is out. */
char *fc_arena_strdup(fc_arena *a, const char *s, fc_error *err);

/* Formatted text. NULL with err set when memory is out. */
char *fc_arena_format(fc_arena *a, fc_error *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Everything allocated after the mark is given back by release; chunks are kept for reuse, until
 * none of them has room for what is asked. */
fc_mark fc_arena_mark(const fc_arena *a);
void fc_arena_release(fc_arena *a, fc_mark m);

/* Frees all chunks; *a becomes {0}. Accepts a zeroed arena. */
void fc_arena_free(fc_arena *a);

#endif
