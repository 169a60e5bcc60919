/* Option rows: one row gives key, type, default, range, help; struct filling, parsing, range
 * checks, `config explain`, --help and the resolved dump are all made from it. */
#ifndef FC_OPT_H
#define FC_OPT_H

#include "core/base/arena.h"
#include "core/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum fc_opt_type {
    FC_OPT_INT,   /* int */
    FC_OPT_SEED,  /* int64_t; -1: derived */
    FC_OPT_REAL,  /* double, finite */
    FC_OPT_BOOL,  /* bool: true | false */
    FC_OPT_TEXT,  /* const char *, "" if unset */
    FC_OPT_PATH,  /* const char *, "" if unset; $VAR, ${VAR} and a leading ~ are expanded */
    FC_OPT_INPUT, /* PATH of something to read: in a config file, relative to that file if it exists
                     there */
    FC_OPT_CHOICE, /* int: index into choices */
    FC_OPT_INTS /* fc_ints: flat list of integers, or one of the words in choices (kept in .word) */
} fc_opt_type;

typedef struct fc_ints {
    const char *word; /* e.g. "natural", "seed:1993"; NULL when a list was given */
    int *v, n;
} fc_ints;

/* Is it an order drawn from a seed: "seed:N"? */
static inline bool fc_ints_drawn(const fc_ints *x)
{
    return x->word && strncmp(x->word, "seed:", 5) == 0;
}

typedef struct fc_opt {
    const char *key;
    fc_opt_type type;
    size_t offset;       /* of the field in its options struct */
    const char *def;     /* default, as text */
    double low, high;    /* inclusive; for INT, REAL and SEED (and every element of INTS) */
    bool open_low;       /* low itself is not allowed: (low, high] */
    const char *choices; /* CHOICE, INTS: words separated by '|'; a word ending in ':*' accepts a
                            suffix integer */
    const char *help;    /* one sentence, with unit */
} fc_opt;

/* Set the field of `base` that row o describes from text. `where` heads the message
 * ("file.yaml:3:7: train.lr" or "argument 2: train.lr"). List text is "[1, 2, 3]" or "1,2,3".
 * Strings are copied to arena. Errors FC_EUSAGE: not a number, NaN, out of range (says the range),
 * unknown word (says the nearest and all). */
fc_status fc_opt_set(void *base, const fc_opt *o, const char *text, const char *where,
                     fc_arena *arena, fc_error *err);
fc_status fc_opt_defaults(void *base, const fc_opt *rows, int n, fc_arena *arena, fc_error *err);
/* Canonical text of the field: reading it back gives the same value bit for bit (%.17g shortened).
 */
const char *fc_opt_print(const void *base, const fc_opt *o, fc_arena *arena, fc_error *err);
/* What the row accepts, for messages and help: "a whole number from 1 to 8", "none, flip or crop",
 * ... */
const char *fc_opt_expected(const fc_opt *o, char *buf, size_t size);
/* The word of a CHOICE field. */
const char *fc_opt_choice(const fc_opt *o, int index, char *buf, size_t size);

/* The candidate nearest to `word` by edit distance, or NULL if none is near (> 1/2 of its length).
 */
const char *fc_nearest(const char *word, const char *const *candidates, int n);

#endif
