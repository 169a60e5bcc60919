#include "datasets/tasks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* MT19937, Matsumoto and Nishimura 1998: only what NumPy's legacy permutation needs. */
enum { MT_N = 624, MT_M = 397 };

typedef struct mt19937 {
    uint32_t s[MT_N];
    int used;
} mt19937;

static void mt_init(mt19937 *g, uint32_t seed)
{
    g->s[0] = seed;
    for (uint32_t i = 1; i < MT_N; i++)
        g->s[i] = 1812433253u * (g->s[i - 1] ^ g->s[i - 1] >> 30) + i;
    g->used = MT_N;
}

static uint32_t mt_u32(mt19937 *g)
{
    if (g->used == MT_N) {
        for (int i = 0; i < MT_N; i++) {
            uint32_t y = (g->s[i] & 0x80000000u) | (g->s[(i + 1) % MT_N] & 0x7fffffffu);
            g->s[i] = g->s[(i + MT_M) % MT_N] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
        }
        g->used = 0;
    }
    uint32_t y = g->s[g->used++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

/* 0 .. max: 32-bit draws under the smallest mask, too large ones rejected. */
static uint32_t mt_interval(mt19937 *g, uint32_t max)
{
    uint32_t mask = max, x;
    for (int shift = 1; shift < 32; shift *= 2)
        mask |= mask >> shift;
    do
        x = mt_u32(g) & mask;
    while (x > max);
    return x;
}

/* numpy.random.RandomState(seed).permutation(n) */
static void numpy_permutation(int *v, int n, uint32_t seed)
{
    mt19937 g;
    mt_init(&g, seed);
    for (int i = 0; i < n; i++)
        v[i] = i;
    for (int i = n - 1; i > 0; i--) {
        int j = (int)mt_interval(&g, (uint32_t)i), t = v[i];
        v[i] = v[j];
        v[j] = t;
    }
}

/* to (n): a permutation of 0 .. n-1, or a list of n numbers. what: "class", "task". */
static fc_status make_order(int *to, int n, const fc_ints *order, const char *what, fc_error *err)
{
    const char *word = order ? order->word : "natural";
    if (word && strcmp(word, "natural") == 0) {
        for (int k = 0; k < n; k++)
            to[k] = k;
    } else if (word && strncmp(word, "seed:", 5) == 0) {
        char *end;
        errno = 0;
        long long seed = strtoll(word + 5, &end, 10);
        if (errno || end == word + 5 || *end || !(seed >= 0 && seed <= UINT32_MAX))
            return fc_fail(err, FC_EUSAGE, "%s order '%s': expected seed:N with N from 0 to %u",
                           what, word, UINT32_MAX);
        numpy_permutation(to, n, (uint32_t)seed);
    } else if (word) {
        return fc_fail(err, FC_EUSAGE,
                       "%s order '%s': expected natural, seed:N or a list of all %d", what, word,
                       n);
    } else if (order->n != n) {
        return fc_fail(err, FC_EUSAGE, "%s order: a list of %d, expected all %d", what, order->n,
                       n);
    } else {
        memcpy(to, order->v, (size_t)n * sizeof *to);
    }
    return FC_OK;
}

/* logit, the inverse of order; -1 for classes that are not in it. */
static fc_status make_logits(fc_tasks *out, int data_classes, fc_error *err)
{
    for (int c = 0; c < data_classes; c++)
        out->logit[c] = -1;
    for (int k = 0; k < out->classes; k++) {
        int c = out->order[k];
        if (c < 0 || c >= data_classes)
            return fc_fail(err, FC_EUSAGE, "class order: entry %d is class %d, expected 0 to %d", k,
                           c, data_classes - 1);
        if (out->logit[c] >= 0)
            return fc_fail(err, FC_EUSAGE, "class order: class %d stands at entries %d and %d", c,
                           out->logit[c], k);
        out->logit[c] = k;
    }
    return FC_OK;
}

static fc_status make_sizes(fc_tasks *out, const fc_ints *sizes, fc_error *err)
{
    bool listed = sizes && sizes->n > 0;
    if (!listed && out->classes % out->n != 0)
        return fc_fail(err, FC_EUSAGE,
                       "%d classes do not divide into %d tasks of equal size: choose a divisor or "
                       "list the sizes",
                       out->classes, out->n);
    for (int t = 0; t < out->n; t++) {
        int size = listed ? sizes->v[t] : out->classes / out->n;
        if (size < 1 || size > out->classes - out->first[t])
            return fc_fail(err, FC_EUSAGE,
                           "task %d has %d classes, expected 1 to %d: the sizes must add up to the "
                           "%d classes of the data",
                           t + 1, size, out->classes - out->first[t], out->classes);
        out->first[t + 1] = out->first[t] + size;
    }
    if (out->first[out->n] != out->classes)
        return fc_fail(err, FC_EUSAGE, "the task sizes add up to %d, expected all %d classes",
                       out->first[out->n], out->classes);
    return FC_OK;
}

/* Sample indices by task, ascending. task_of: -1 for classes of none. */
static fc_status split_samples(uint32_t ***list, size_t **count, const fc_split *s,
                               const fc_tasks *tasks, const int *task_of, fc_arena *arena,
                               fc_error *err)
{
    size_t n = (size_t)tasks->n;
    uint32_t **v = *list = fc_arena_alloc(arena, n, sizeof *v, err);
    size_t *m = *count = fc_arena_alloc(arena, n, sizeof *m, err);
    if (!v || !m)
        return FC_EFAIL;
    for (size_t i = 0; i < s->n; i++)
        if (task_of[s->label[i]] >= 0)
            m[task_of[s->label[i]]]++;
    for (size_t t = 0; t < n; t++) {
        if (!(v[t] = fc_arena_alloc(arena, m[t], sizeof **v, err)))
            return FC_EFAIL;
        m[t] = 0;
    }
    for (size_t i = 0; i < s->n; i++) {
        int t = task_of[s->label[i]];
        if (t >= 0)
            v[t][m[t]++] = (uint32_t)i;
    }
    return FC_OK;
}

static fc_status make_tasks(fc_tasks *out, const fc_dataset *d, const fc_ints *sizes,
                            const fc_ints *order, fc_arena *arena, fc_error *err)
{
    if (out->n < 1 || out->n > out->classes)
        return fc_fail(err, FC_EUSAGE, "%d tasks, expected 1 to %d: every task needs a class",
                       out->n, out->classes);
    size_t all = (size_t)d->classes, classes = (size_t)out->classes, n = (size_t)out->n;
    int *task_of = fc_arena_alloc(arena, all, sizeof *task_of, err);
    if (!task_of || !(out->order = fc_arena_alloc(arena, classes, sizeof *out->order, err)) ||
        !(out->logit = fc_arena_alloc(arena, all, sizeof *out->logit, err)) ||
        !(out->first = fc_arena_alloc(arena, n + 1, sizeof *out->first, err)))
        return FC_EFAIL;
    FC_TRY(make_order(out->order, out->classes, order, "class", err));
    FC_TRY(make_logits(out, d->classes, err));
    FC_TRY(make_sizes(out, sizes, err));
    for (int c = 0; c < d->classes; c++)
        task_of[c] = -1;
    for (int t = 0; t < out->n; t++)
        for (int k = out->first[t]; k < out->first[t + 1]; k++)
            task_of[out->order[k]] = t;
    out->held = fc_arena_alloc(arena, n, sizeof *out->held, err);
    out->n_held = fc_arena_alloc(arena, n, sizeof *out->n_held, err);
    if (!out->held || !out->n_held)
        return FC_EFAIL;
    FC_TRY(split_samples(&out->train, &out->n_train, &d->train, out, task_of, arena, err));
    return split_samples(&out->test, &out->n_test, &d->test, out, task_of, arena, err);
}

fc_status fc_tasks_make(fc_tasks *out, const fc_dataset *d, int count, const fc_ints *sizes,
                        const fc_ints *order, fc_arena *arena, fc_error *err)
{
    *out = (fc_tasks){.n = sizes && sizes->n > 0 ? sizes->n : count, .classes = d->classes};
    return make_tasks(out, d, sizes, order, arena, err);
}

fc_status fc_tasks_some(fc_tasks *out, const fc_dataset *d, const fc_ints *sizes,
                        const fc_ints *classes, fc_arena *arena, fc_error *err)
{
    *out = (fc_tasks){.n = sizes->n, .classes = classes->n};
    return make_tasks(out, d, sizes, classes, arena, err);
}

fc_status fc_tasks_reorder(fc_tasks *t, const fc_ints *order, fc_arena *arena, fc_error *err)
{
    size_t n = (size_t)t->n;
    fc_tasks old = *t;
    int *to = fc_arena_alloc(arena, n, sizeof *to, err);
    bool *used = fc_arena_alloc(arena, n, sizeof *used, err);
    t->order = fc_arena_alloc(arena, (size_t)t->classes, sizeof *t->order, err);
    t->first = fc_arena_alloc(arena, n + 1, sizeof *t->first, err);
    uint32_t ***list[] = {&t->train, &t->held, &t->test},
             **from[] = {old.train, old.held, old.test};
    size_t **count[] = {&t->n_train, &t->n_held, &t->n_test};
    size_t *of[] = {old.n_train, old.n_held, old.n_test};
    for (int k = 0; k < 3; k++) {
        *list[k] = fc_arena_alloc(arena, n, sizeof **list[k], err);
        *count[k] = fc_arena_alloc(arena, n, sizeof **count[k], err);
        if (!*list[k] || !*count[k])
            return FC_EFAIL;
    }
    if (!to || !used || !t->order || !t->first)
        return FC_EFAIL;
    FC_TRY(make_order(to, t->n, order, "task", err));
    for (int i = 0; i < t->n; i++) {
        int from_task = to[i];
        if (from_task < 0 || from_task >= t->n || used[from_task])
            return fc_fail(err, FC_EUSAGE,
                           "task order: entry %d is task %d, expected each of 0 to %d once", i,
                           from_task, t->n - 1);
        used[from_task] = true;
        int size = old.first[from_task + 1] - old.first[from_task];
        t->first[i + 1] = t->first[i] + size;
        memcpy(t->order + t->first[i], old.order + old.first[from_task],
               (size_t)size * sizeof *t->order);
        for (int k = 0; k < 3; k++) {
            (*list[k])[i] = from[k][from_task];
            (*count[k])[i] = of[k][from_task];
        }
    }
    for (int k = 0; k < t->classes; k++)
        t->logit[t->order[k]] = k;
    return FC_OK;
}

fc_status fc_tasks_hold_out(fc_tasks *t, const fc_dataset *d, int n, fc_arena *arena, fc_error *err)
{
    int *count = fc_arena_alloc(arena, (size_t)d->classes, sizeof *count, err);
    const bool *last = count ? fc_last_of_class(count, &d->train, d->classes, n, arena, err) : NULL;
    if (!last)
        return FC_EFAIL;
    for (int k = 0; k < t->classes; k++)
        if (count[t->order[k]] <= n)
            return fc_fail(err, FC_EUSAGE,
                           "%d images held out of each class, but class %d has %d training images, "
                           "expected more than that",
                           n, t->order[k], count[t->order[k]]);
    for (int k = 0; k < t->n; k++) {
        int classes = t->first[k + 1] - t->first[k];
        size_t kept = 0;
        t->held[k] = fc_arena_alloc(arena, (size_t)classes * (size_t)n, sizeof **t->held, err);
        if (!t->held[k])
            return FC_EFAIL;
        for (size_t i = 0; i < t->n_train[k]; i++) {
            uint32_t sample = t->train[k][i];
            if (last[sample])
                t->held[k][t->n_held[k]++] = sample;
            else
                t->train[k][kept++] = sample;
        }
        t->n_train[k] = kept;
    }
    return FC_OK;
}
