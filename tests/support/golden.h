/* Reader of golden vectors: <case>.gold holds lines "T name ndim d0 d1 ..." each followed by the
 * numbers, row-major; '#' starts a comment line. Files are looked up by fc_golden at run time, so
 * that other seeds and shapes can be tried.
 * A file or tensor that is missing fails the test. */
#ifndef FC_TEST_GOLDEN_H
#define FC_TEST_GOLDEN_H

#include "tests/support/close.h"

#include <stdbool.h>
#include <string.h>

enum { GOLD_DIMS_MAX = 4 };

typedef struct gold_tensor {
    char name[96];
    int ndim, dim[GOLD_DIMS_MAX];
    size_t n;
    double *v;
} gold_tensor;

typedef struct gold {
    char path[512];
    gold_tensor *tensor;
    int n;
} gold;

static inline void gold_fail(const gold *g, const char *what, const char *name)
{
    print_error("%s: %s %s\n", g->path, what, name);
    fail();
}

static inline gold gold_open(const char *name)
{
    char file[128];
    gold g = {.n = 0};
    snprintf(file, sizeof file, "%s.gold", name);
    fc_golden(g.path, sizeof g.path, file);
    FILE *f = fopen(g.path, "r");
    if (!f)
        gold_fail(&g, "cannot be opened", "");
    char word[96];
    while (fscanf(f, "%95s", word) == 1) {
        if (word[0] == '#') {
            if (fscanf(f, "%*[^\n]") < 0)
                break;
            continue;
        }
        g.tensor = realloc(g.tensor, (size_t)(g.n + 1) * sizeof *g.tensor);
        gold_tensor *t = &g.tensor[g.n++];
        *t = (gold_tensor){.n = 1};
        if (strcmp(word, "T") != 0 || fscanf(f, "%95s %d", t->name, &t->ndim) != 2 || t->ndim < 0 ||
            t->ndim > GOLD_DIMS_MAX)
            gold_fail(&g, "expected a tensor, found", word);
        for (int i = 0; i < t->ndim; i++) {
            if (fscanf(f, "%d", &t->dim[i]) != 1)
                gold_fail(&g, "no dimensions of", t->name);
            t->n *= (size_t)t->dim[i];
        }
        t->v = calloc(t->n + 1, sizeof *t->v);
        for (size_t i = 0; i < t->n; i++)
            if (fscanf(f, "%lf", &t->v[i]) != 1)
                gold_fail(&g, "too few numbers of", t->name);
    }
    fclose(f);
    return g;
}

static inline void gold_close(gold *g)
{
    for (int i = 0; i < g->n; i++)
        free(g->tensor[i].v);
    free(g->tensor);
}

static inline const gold_tensor *gold_find(const gold *g, const char *name)
{
    for (int i = 0; i < g->n; i++)
        if (strcmp(g->tensor[i].name, name) == 0)
            return &g->tensor[i];
    return NULL;
}

/* The tensor whose name is made as printf does. */
__attribute__((format(printf, 2, 3))) static inline const gold_tensor *
gold_get(const gold *g, const char *fmt, ...)
{
    char name[96];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    const gold_tensor *t = gold_find(g, name);
    if (!t)
        gold_fail(g, "has no tensor", name);
    return t;
}

static inline double gold_scalar(const gold *g, const char *name)
{
    return gold_get(g, "%s", name)->v[0];
}

static inline int gold_int(const gold *g, const char *name)
{
    return (int)gold_scalar(g, name);
}

/* Item i of a list: slab i of `name` where all items have one shape, else the tensor `name.i`. */
static inline gold_tensor gold_item(const gold *g, const char *name, int i)
{
    const gold_tensor *all = gold_find(g, name);
    if (!all)
        return *gold_get(g, "%s.%d", name, i);
    if (all->ndim < 1 || i >= all->dim[0])
        gold_fail(g, "too few items in", name);
    gold_tensor t = *all;
    t.ndim--;
    memmove(t.dim, t.dim + 1, sizeof t.dim - sizeof *t.dim);
    t.n /= (size_t)all->dim[0];
    t.v += (size_t)i * t.n;
    return t;
}

/* How many items the list has. */
static inline int gold_count(const gold *g, const char *name)
{
    const gold_tensor *all = gold_find(g, name);
    if (all)
        return all->dim[0];
    char item[96];
    for (int i = 0;; i++) {
        snprintf(item, sizeof item, "%s.%d", name, i);
        if (!gold_find(g, item))
            return i;
    }
}

#endif
