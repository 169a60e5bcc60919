#include "core/base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64, CHUNK_MIN = 1 << 16 };

/* The header fills one alignment unit, so that the data behind it is aligned. */
struct fc_chunk {
    fc_chunk *next;
    size_t size; /* bytes of data */
    char pad[ALIGN - sizeof(fc_chunk *) - sizeof(size_t)];
};

static char *chunk_data(fc_chunk *c)
{
    return (char *)c + sizeof *c;
}

/* The smallest chunk with room from *link on, or NULL. */
static fc_chunk **best_fit(fc_chunk **link, size_t want)
{
    fc_chunk **best = NULL;
    for (; *link; link = &(*link)->next)
        if ((*link)->size >= want && (!best || (*link)->size < (*best)->size))
            best = link;
    return best;
}

/* Puts a chunk with room at *link: one of those behind it, which are unused since a release, or a
 * new one, for which an unused one is given back, so that they do not pile up. */
static fc_status insert_chunk(fc_chunk **link, size_t want, fc_error *err)
{
    fc_chunk **fit = best_fit(link, want), *c;
    if (fit) {
        c = *fit;
        *fit = c->next;
    } else {
        size_t bytes = want > CHUNK_MIN ? want : CHUNK_MIN;
        c = aligned_alloc(ALIGN, sizeof *c + bytes);
        if (!c)
            return fc_fail(err, FC_EFAIL, "out of memory: %zu bytes wanted", bytes);
        c->size = bytes;
        fc_chunk *small = *link;
        *link = small ? small->next : NULL;
        free(small);
    }
    c->next = *link;
    *link = c;
    return FC_OK;
}

void *fc_arena_alloc(fc_arena *a, size_t n, size_t size, fc_error *err)
{
    if (size && n > (SIZE_MAX - 4 * (size_t)CHUNK_MIN) / size) {
        fc_fail(err, FC_EFAIL, "allocation of %zu x %zu bytes: size overflows", n, size);
        return NULL;
    }
    size_t want = (n * size + ALIGN - 1) / ALIGN * ALIGN;
    if (!a->current || a->current->size - a->used < want) {
        fc_chunk **link = a->current ? &a->current->next : &a->first;
        if (insert_chunk(link, want, err) != FC_OK)
            return NULL;
        a->current = *link;
        a->used = 0;
    }
    void *p = chunk_data(a->current) + a->used;
    a->used += want;
    return memset(p, 0, want);
}

char *fc_arena_strdup(fc_arena *a, const char *s, fc_error *err)
{
    size_t n = strlen(s) + 1;
    char *p = fc_arena_alloc(a, n, 1, err);
    return p ? memcpy(p, s, n) : NULL;
}

char *fc_arena_format(fc_arena *a, fc_error *err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = fc_arena_alloc(a, n < 0 ? 1 : (size_t)n + 1, 1, err);
    if (!p || n < 0)
        return p;
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}

fc_mark fc_arena_mark(const fc_arena *a)
{
    return (fc_mark){a->current, a->used};
}

void fc_arena_release(fc_arena *a, fc_mark m)
{
    a->current = m.chunk;
    a->used = m.used;
}

void fc_arena_free(fc_arena *a)
{
    for (fc_chunk *c = a->first, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    *a = (fc_arena){0};
}
