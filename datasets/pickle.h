/* Read-only subset of Python's pickle: what CIFAR's python files hold (dict, list, tuple, str,
 * bytes, int, uint8 ndarray), protocols 2 to 5. Nothing is ever imported or called: the few globals
 * that arrays are made of are known by name, all others are refused. Opcodes: Lib/pickletools.py of
 * CPython. */
#ifndef FC_PICKLE_H
#define FC_PICKLE_H

#include "core/base/arena.h"
#include "core/base/status.h"

#include <stdint.h>

typedef enum fc_pickle_kind {
    FC_PICKLE_NONE,
    FC_PICKLE_INT,   /* i; also bool */
    FC_PICKLE_BYTES, /* p (n): str, bytes, unicode */
    FC_PICKLE_LIST,  /* item (n_item): list or tuple */
    FC_PICKLE_DICT,  /* item (n_item): key, value, key, value, ... */
    FC_PICKLE_ARRAY, /* p (n): uint8, C order; item (n_item): its shape, INTs */
    /* parts of arrays and of the machine; a finished dict or list may hold them, nobody asks for
       them */
    FC_PICKLE_GLOBAL, /* i: which of the known globals */
    FC_PICKLE_DTYPE,  /* p (n): e.g. "u1" */
    FC_PICKLE_MARK
} fc_pickle_kind;

typedef struct fc_pickle {
    fc_pickle_kind kind;
    int64_t i;
    const unsigned char *p; /* into data, or arena */
    size_t n;
    struct fc_pickle **item;
    size_t n_item, room;
} fc_pickle;

/* Parse data (n bytes, must outlive *out). name heads messages. Errors FC_EDATA: byte and opcode.
 */
fc_status fc_pickle_read(const fc_pickle **out, const unsigned char *data, size_t n,
                         const char *name, fc_arena *arena, fc_error *err);

/* Value of a key of a dict, NULL if it is absent or d is no dict. */
const fc_pickle *fc_pickle_get(const fc_pickle *d, const char *key);

#endif
