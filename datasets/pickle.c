#include "datasets/pickle.h"

#include <stdbool.h>
#include <string.h>

/* CIFAR-100's train file has about 300,000; memory stays bounded whatever a file says. */
enum { OPCODES_MAX = 2000000 };

typedef struct machine {
    const unsigned char *p;
    size_t n, pos;
    const char *name;
    fc_pickle stack, memo; /* LISTs; empty memo slots are NULL */
    size_t encoded;        /* bytes made by _codecs.encode so far */
    fc_arena *arena;
    fc_error *err;
} machine;

/* The callables that an array of bytes is pickled with. */
static const struct {
    const char *module, *name;
} globals[] = {{"numpy.core.multiarray", "_reconstruct"},
               {"numpy._core.multiarray", "_reconstruct"},
               {"numpy", "ndarray"},
               {"numpy", "dtype"},
               {"_codecs", "encode"},
               {"__builtin__", "bytes"}};
enum { RECONSTRUCT, RECONSTRUCT_2, NDARRAY, DTYPE, ENCODE, BYTES, NGLOBAL };

static fc_status bad(machine *m, const char *what)
{
    fc_fail(m->err, FC_EDATA, "%s: pickle: byte %zu: %s", m->name, m->pos, what);
    return FC_EDATA; /* a constant, so that gcc sees that callers stop here */
}

/* --- stack, memo, containers --------------------------------------------------------------------
 */

static fc_pickle *make_value(machine *m, fc_pickle_kind kind)
{
    fc_pickle *v = fc_arena_alloc(m->arena, 1, sizeof *v, m->err);
    if (v)
        v->kind = kind;
    return v;
}

static fc_status reserve(machine *m, fc_pickle *list, size_t room)
{
    if (room <= list->room)
        return FC_OK;
    room = room > 2 * list->room ? room : 2 * list->room;
    fc_pickle **item = fc_arena_alloc(m->arena, room, sizeof *item, m->err);
    if (!item)
        return FC_EFAIL;
    if (list->n_item)
        memcpy(item, list->item, list->n_item * sizeof *item);
    list->item = item;
    list->room = room;
    return FC_OK;
}

static fc_status append(machine *m, fc_pickle *list, fc_pickle *const *v, size_t n)
{
    FC_TRY(reserve(m, list, list->n_item + n));
    if (n)
        memcpy(list->item + list->n_item, v, n * sizeof *v);
    list->n_item += n;
    return FC_OK;
}

static fc_status push(machine *m, fc_pickle *v)
{
    return v ? append(m, &m->stack, &v, 1) : FC_EFAIL;
}

/* The top n values; they stay valid until the next push. */
static fc_status pop(machine *m, fc_pickle ***v, size_t n)
{
    fc_pickle *s = &m->stack;
    if (s->n_item < n)
        return bad(m, "the stack is empty");
    s->n_item -= n;
    *v = s->item + s->n_item;
    for (size_t i = 0; i < n; i++)
        if ((*v)[i]->kind == FC_PICKLE_MARK)
            return bad(m, "a mark where a value is expected");
    return FC_OK;
}

/* All values above the topmost mark, which goes too. */
static fc_status pop_mark(machine *m, fc_pickle ***v, size_t *n)
{
    fc_pickle *s = &m->stack;
    size_t i = s->n_item;
    while (i > 0 && s->item[i - 1]->kind != FC_PICKLE_MARK)
        i--;
    if (i == 0)
        return bad(m, "no mark on the stack");
    *v = s->item + i;
    *n = s->n_item - i;
    s->n_item = i - 1;
    return FC_OK;
}

static fc_status top(machine *m, fc_pickle **v, fc_pickle_kind kind, const char *otherwise)
{
    fc_pickle *s = &m->stack;
    if (s->n_item == 0 || s->item[s->n_item - 1]->kind != kind)
        return bad(m, otherwise);
    *v = s->item[s->n_item - 1];
    return FC_OK;
}

static fc_status memo_put(machine *m, uint64_t id)
{
    if (m->stack.n_item == 0)
        return bad(m, "the stack is empty");
    if (id >= OPCODES_MAX)
        return bad(m, "memo number is too large");
    FC_TRY(reserve(m, &m->memo, (size_t)id + 1));
    if (m->memo.n_item <= id)
        m->memo.n_item = (size_t)id + 1;
    m->memo.item[id] = m->stack.item[m->stack.n_item - 1];
    return FC_OK;
}

static fc_status memo_get(machine *m, uint64_t id)
{
    if (id >= m->memo.n_item || !m->memo.item[id])
        return bad(m, "memo number was never stored");
    return push(m, m->memo.item[id]);
}

/* --- reading bytes ---------------------------------------------------------------------------- */

static fc_status take(machine *m, const unsigned char **p, uint64_t n)
{
    if (n > m->n - m->pos)
        return bad(m, "truncated: the file ends inside this opcode");
    *p = m->p + m->pos;
    m->pos += (size_t)n;
    return FC_OK;
}

/* Little-endian unsigned integer of n bytes. */
static fc_status take_uint(machine *m, uint64_t *v, int n)
{
    const unsigned char *p;
    FC_TRY(take(m, &p, (uint64_t)n));
    *v = 0;
    for (int i = 0; i < n; i++)
        *v |= (uint64_t)p[i] << (8 * i);
    return FC_OK;
}

static fc_status push_int(machine *m, int64_t i)
{
    fc_pickle *v = make_value(m, FC_PICKLE_INT);
    if (v)
        v->i = i;
    return push(m, v);
}

static fc_status push_uint(machine *m, int size)
{
    uint64_t i;
    FC_TRY(take_uint(m, &i, size));
    return push_int(m, (int64_t)i);
}

/* Two's complement of n bytes; n = 0 is zero. */
static fc_status push_long(machine *m, uint64_t n)
{
    if (n > 8)
        return bad(m, "an integer of more than 64 bits");
    uint64_t i;
    FC_TRY(take_uint(m, &i, (int)n));
    if (n > 0 && n < 8 && i >> (8 * n - 1))
        i |= UINT64_MAX << (8 * n);
    return push_int(m, (int64_t)i);
}

static fc_status push_bytes(machine *m, int size_of_length)
{
    uint64_t n;
    FC_TRY(take_uint(m, &n, size_of_length));
    fc_pickle *v = make_value(m, FC_PICKLE_BYTES);
    if (!v)
        return FC_EFAIL;
    FC_TRY(take(m, &v->p, n));
    v->n = (size_t)n;
    return push(m, v);
}

/* --- globals and arrays ----------------------------------------------------------------------- */

static bool equals(const unsigned char *p, size_t n, const char *s)
{
    return n == strlen(s) && memcmp(p, s, n) == 0;
}

static fc_status push_global(machine *m, const unsigned char *module, size_t n_module,
                             const unsigned char *name, size_t n_name)
{
    fc_pickle *v = make_value(m, FC_PICKLE_GLOBAL);
    for (int i = 0; v && i < NGLOBAL; i++)
        if (equals(module, n_module, globals[i].module) && equals(name, n_name, globals[i].name)) {
            v->i = i;
            return push(m, v);
        }
    if (!v)
        return FC_EFAIL;
    return fc_fail(m->err, FC_EDATA,
                   "%s: pickle: byte %zu: it wants %.*s.%.*s, only arrays of bytes are read",
                   m->name, m->pos, n_module < 64 ? (int)n_module : 64, (const char *)module,
                   n_name < 64 ? (int)n_name : 64, (const char *)name);
}

static fc_status take_line(machine *m, const unsigned char **p, size_t *n)
{
    *p = m->p + m->pos;
    const unsigned char *end = memchr(*p, '\n', m->n - m->pos);
    if (!end)
        return bad(m, "truncated: the file ends inside a name");
    *n = (size_t)(end - *p);
    m->pos += *n + 1;
    return FC_OK;
}

/* Python 3 writes bytes in protocol 2 as the UTF-8 of their latin-1 text. */
static fc_status encode_latin1(machine *m, fc_pickle *v, fc_pickle *const *arg, size_t n)
{
    if (n != 2 || arg[0]->kind != FC_PICKLE_BYTES || arg[1]->kind != FC_PICKLE_BYTES ||
        !equals(arg[1]->p, arg[1]->n, "latin1"))
        return bad(m, "_codecs.encode with other arguments than (str, 'latin1')");
    const unsigned char *in = arg[0]->p;
    size_t left = arg[0]->n;
    m->encoded += left;
    if (m->encoded > m->n)
        return bad(m, "_codecs.encode makes more bytes than the file has");
    unsigned char *out = fc_arena_alloc(m->arena, left, 1, m->err);
    if (!out)
        return FC_EFAIL;
    v->p = out;
    while (left > 0) {
        size_t used = in[0] < 0x80 ? 1 : 2;
        if (used == 2 && (in[0] < 0xc2 || in[0] > 0xc3 || left < 2 || (in[1] & 0xc0) != 0x80))
            return bad(m, "_codecs.encode of text that is not latin-1");
        *out++ = used == 1 ? in[0] : (unsigned char)((in[0] & 3) << 6 | (in[1] & 0x3f));
        in += used;
        left -= used;
    }
    v->n = (size_t)(out - v->p);
    return FC_OK;
}

static fc_status reduce(machine *m)
{
    fc_pickle **v;
    FC_TRY(pop(m, &v, 2));
    const fc_pickle *callable = v[0], *args = v[1];
    if (callable->kind != FC_PICKLE_GLOBAL || args->kind != FC_PICKLE_LIST)
        return bad(m, "a call of something that is no known function");
    fc_pickle *result = make_value(m, FC_PICKLE_BYTES);
    if (!result)
        return FC_EFAIL;
    switch (callable->i) {
    case RECONSTRUCT:
    case RECONSTRUCT_2:
        result->kind = FC_PICKLE_ARRAY; /* filled by build() */
        break;
    case DTYPE:
        if (args->n_item == 0 || args->item[0]->kind != FC_PICKLE_BYTES)
            return bad(m, "a dtype without a name");
        result->kind = FC_PICKLE_DTYPE;
        result->p = args->item[0]->p;
        result->n = args->item[0]->n;
        break;
    case ENCODE:
        FC_TRY(encode_latin1(m, result, args->item, args->n_item));
        break;
    case BYTES: /* bytes(), how protocol 2 writes b"" */
        if (args->n_item != 0)
            return bad(m, "bytes() with arguments");
        break;
    default:
        return bad(m, "a call of a type");
    }
    return push(m, result);
}

/* state of an ndarray: (version, shape, dtype, is_fortran, bytes). That of a dtype says nothing
 * about bytes. */
static fc_status build(machine *m)
{
    fc_pickle **v;
    FC_TRY(pop(m, &v, 2));
    fc_pickle *array = v[0];
    const fc_pickle *state = v[1];
    if (array->kind == FC_PICKLE_DTYPE)
        return push(m, array);
    if (array->kind != FC_PICKLE_ARRAY || state->kind != FC_PICKLE_LIST || state->n_item != 5)
        return bad(m, "the state of something that is no array");
    const fc_pickle *shape = state->item[1], *dtype = state->item[2], *fortran = state->item[3],
                    *raw = state->item[4];
    if (shape->kind != FC_PICKLE_LIST || dtype->kind != FC_PICKLE_DTYPE ||
        fortran->kind != FC_PICKLE_INT || raw->kind != FC_PICKLE_BYTES)
        return bad(m, "an array that is not (version, shape, dtype, order, bytes)");
    if (!equals(dtype->p, dtype->n, "u1") && !equals(dtype->p, dtype->n, "|u1"))
        return bad(m, "an array that is not of uint8");
    if (fortran->i)
        return bad(m, "an array in Fortran order");
    uint64_t count = 1;
    for (size_t i = 0; i < shape->n_item; i++) {
        const fc_pickle *d = shape->item[i];
        if (d->kind != FC_PICKLE_INT || d->i < 0 ||
            __builtin_mul_overflow(count, (uint64_t)d->i, &count))
            return bad(m, "an array with an impossible shape");
    }
    if (count != raw->n)
        return bad(m, "an array whose shape does not match its bytes");
    array->p = raw->p;
    array->n = raw->n;
    array->item = shape->item;
    array->n_item = shape->n_item;
    return push(m, array);
}

/* --- opcodes ---------------------------------------------------------------------------------- */

static fc_status push_tuple(machine *m, size_t n)
{
    fc_pickle **v, *t = make_value(m, FC_PICKLE_LIST);
    if (!t)
        return FC_EFAIL;
    FC_TRY(pop(m, &v, n));
    FC_TRY(append(m, t, v, n));
    return push(m, t);
}

static fc_status push_marked_tuple(machine *m)
{
    fc_pickle **v, *t = make_value(m, FC_PICKLE_LIST);
    size_t n;
    if (!t)
        return FC_EFAIL;
    FC_TRY(pop_mark(m, &v, &n));
    FC_TRY(append(m, t, v, n));
    return push(m, t);
}

/* Values onto the list below them. */
static fc_status add_items(machine *m, fc_pickle **v, size_t n)
{
    fc_pickle *list;
    FC_TRY(top(m, &list, FC_PICKLE_LIST, "items for something that is no list"));
    return append(m, list, v, n);
}

static fc_status add_pairs(machine *m, fc_pickle **v, size_t n)
{
    fc_pickle *dict;
    FC_TRY(top(m, &dict, FC_PICKLE_DICT, "entries for something that is no dict"));
    if (n % 2)
        return bad(m, "a key without a value");
    return append(m, dict, v, n);
}

static fc_status global_from_text(machine *m)
{
    const unsigned char *module, *name;
    size_t n_module, n_name;
    FC_TRY(take_line(m, &module, &n_module));
    FC_TRY(take_line(m, &name, &n_name));
    return push_global(m, module, n_module, name, n_name);
}

static fc_status global_from_stack(machine *m)
{
    fc_pickle **v;
    FC_TRY(pop(m, &v, 2));
    if (v[0]->kind != FC_PICKLE_BYTES || v[1]->kind != FC_PICKLE_BYTES)
        return bad(m, "a global whose name is no text");
    return push_global(m, v[0]->p, v[0]->n, v[1]->p, v[1]->n);
}

static fc_status run_opcode(machine *m, unsigned char op)
{
    fc_pickle **v;
    uint64_t i;
    size_t n;
    switch (op) {
    case 0x95: /* FRAME */
        return take_uint(m, &i, 8);
    case '(':
        return push(m, make_value(m, FC_PICKLE_MARK));
    case '0': /* POP */
        return pop(m, &v, 1);
    case 'N':
        return push(m, make_value(m, FC_PICKLE_NONE));
    case 0x88: /* NEWTRUE */
        return push_int(m, 1);
    case 0x89: /* NEWFALSE */
        return push_int(m, 0);
    case 'J': /* BININT, signed */
        return push_long(m, 4);
    case 'K': /* BININT1 */
        return push_uint(m, 1);
    case 'M': /* BININT2 */
        return push_uint(m, 2);
    case 0x8a: /* LONG1 */
        FC_TRY(take_uint(m, &i, 1));
        return push_long(m, i);
    case 'U':  /* SHORT_BINSTRING */
    case 'C':  /* SHORT_BINBYTES */
    case 0x8c: /* SHORT_BINUNICODE */
        return push_bytes(m, 1);
    case 'T': /* BINSTRING */
    case 'B': /* BINBYTES */
    case 'X': /* BINUNICODE */
        return push_bytes(m, 4);
    case 0x8d: /* BINUNICODE8 */
    case 0x8e: /* BINBYTES8 */
        return push_bytes(m, 8);
    case ']':
    case ')':
        return push(m, make_value(m, FC_PICKLE_LIST));
    case '}':
        return push(m, make_value(m, FC_PICKLE_DICT));
    case 0x85: /* TUPLE1 */
    case 0x86: /* TUPLE2 */
    case 0x87: /* TUPLE3 */
        return push_tuple(m, (size_t)op - 0x84);
    case 't':
        return push_marked_tuple(m);
    case 'a':
        FC_TRY(pop(m, &v, 1));
        return add_items(m, v, 1);
    case 'e':
        FC_TRY(pop_mark(m, &v, &n));
        return add_items(m, v, n);
    case 's':
        FC_TRY(pop(m, &v, 2));
        return add_pairs(m, v, 2);
    case 'u':
        FC_TRY(pop_mark(m, &v, &n));
        return add_pairs(m, v, n);
    case 'q': /* BINPUT */
        FC_TRY(take_uint(m, &i, 1));
        return memo_put(m, i);
    case 'r': /* LONG_BINPUT */
        FC_TRY(take_uint(m, &i, 4));
        return memo_put(m, i);
    case 0x94: /* MEMOIZE */
        return memo_put(m, m->memo.n_item);
    case 'h': /* BINGET */
        FC_TRY(take_uint(m, &i, 1));
        return memo_get(m, i);
    case 'j': /* LONG_BINGET */
        FC_TRY(take_uint(m, &i, 4));
        return memo_get(m, i);
    case 'c':
        return global_from_text(m);
    case 0x93:
        return global_from_stack(m);
    case 'R':
        return reduce(m);
    case 'b':
        return build(m);
    default:
        return fc_fail(m->err, FC_EDATA,
                       "%s: pickle: byte %zu: opcode 0x%02x is not one that CIFAR files use",
                       m->name, m->pos - 1, op);
    }
}

fc_status fc_pickle_read(const fc_pickle **out, const unsigned char *data, size_t n,
                         const char *name, fc_arena *arena, fc_error *err)
{
    machine m = {.p = data, .n = n, .name = name, .arena = arena, .err = err};
    if (n < 2 || data[0] != 0x80 || data[1] < 2 || data[1] > 5)
        return fc_fail(err, FC_EDATA, "%s: not a pickle of protocol 2 to 5", name);
    m.pos = 2;
    for (long i = 0; i < OPCODES_MAX; i++) {
        const unsigned char *op;
        FC_TRY(take(&m, &op, 1));
        if (*op == '.') {
            fc_pickle **v;
            FC_TRY(pop(&m, &v, 1));
            if (m.pos != n)
                return bad(&m, "bytes after the end");
            *out = v[0];
            return FC_OK;
        }
        FC_TRY(run_opcode(&m, *op));
    }
    return bad(&m, "too many opcodes");
}

const fc_pickle *fc_pickle_get(const fc_pickle *d, const char *key)
{
    if (d->kind != FC_PICKLE_DICT)
        return NULL;
    for (size_t i = d->n_item; i >= 2; i -= 2) { /* the last of equal keys counts */
        const fc_pickle *k = d->item[i - 2];
        if (k->kind == FC_PICKLE_BYTES && equals(k->p, k->n, key))
            return d->item[i - 1];
    }
    return NULL;
}
