#include "datasets/partition.h"

#include "core/base/file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FC_ROW(row) extern const fc_partition_method fc_partition_##row;
#include "partition_table.inc"
#undef FC_ROW
#define FC_ROW(row) &fc_partition_##row,
const fc_partition_method *const fc_partition_table[] = {
#include "partition_table.inc"
};
const int fc_partition_count = sizeof fc_partition_table / sizeof *fc_partition_table;

enum {
    SUGGEST_TRIES = 30, /* a suggested setting must succeed within so many tries */
    CLIENTS_MAX = 1 << 24
};

static const fc_partition_method *find_method(const char *name, fc_error *err)
{
    const char *names[64];
    int n = fc_partition_count < 64 ? fc_partition_count : 64;
    for (int i = 0; i < n; i++) {
        names[i] = fc_partition_table[i]->name;
        if (strcmp(names[i], name) == 0)
            return fc_partition_table[i];
    }
    const char *near = fc_nearest(name, names, n);
    fc_fail(err, FC_EUSAGE, "unknown partition '%s'%s%s%s", name, near ? ", did you mean '" : "",
            near ? near : "; see `fcil list partitions`", near ? "'?" : "");
    return NULL;
}

/* Whether the method reads this field of the request. */
static bool reads(const fc_partition_method *m, const char *field)
{
    size_t len = strlen(field);
    for (const char *p = strstr(m->needs, field); p; p = strstr(p + len, field))
        if ((p == m->needs || p[-1] == ' ') && (p[len] == ' ' || p[len] == '\0'))
            return true;
    return false;
}

static fc_status check_request(const fc_partition_method *m, const fc_partition_request *q,
                               fc_error *err)
{
    if (q->clients < 1 || q->clients > CLIENTS_MAX)
        return fc_fail(err, FC_EUSAGE, "partition: %d clients, expected 1 to %d", q->clients,
                       CLIENTS_MAX);
    if (q->min_samples < 0 || q->max_tries < 1)
        return fc_fail(err, FC_EUSAGE,
                       "partition: min_samples %d and max_tries %d, expected at least 0 and 1",
                       q->min_samples, q->max_tries);
    if (reads(m, "beta") && !(q->beta > 0 && q->beta <= 1e9))
        return fc_fail(err, FC_EUSAGE,
                       "partition %s: beta %g, expected a number above 0 and at most 1e9", m->name,
                       q->beta);
    const struct {
        const char *field;
        int value, low;
    } counts[] = {{"classes_per_client", q->classes_per_client, 1},
                  {"shards_per_client", q->shards_per_client, 1},
                  {"samples_per_client", q->samples_per_client, 0}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (reads(m, counts[i].field) && counts[i].value < counts[i].low)
            return fc_fail(err, FC_EUSAGE, "partition %s: %s %d, expected at least %d", m->name,
                           counts[i].field, counts[i].value, counts[i].low);
    return FC_OK;
}

/* One try; *smallest = samples of the client that got the fewest. */
static fc_status try_once(int32_t *owner, size_t *smallest, const fc_partition_method *m,
                          const fc_partition_task *task, const fc_partition_request *q, int attempt,
                          fc_arena *arena, fc_error *err)
{
    fc_mark mark = fc_arena_mark(arena);
    for (size_t i = 0; i < task->n; i++)
        owner[i] = -1;
    fc_status status = m->assign(owner, task, q, attempt, arena, err);
    size_t *count =
        status == FC_OK ? fc_arena_alloc(arena, (size_t)q->clients, sizeof *count, err) : NULL;
    if (count) {
        for (size_t i = 0; i < task->n; i++)
            if (owner[i] >= 0)
                count[owner[i]]++;
        *smallest = count[0];
        for (int k = 1; k < q->clients; k++)
            *smallest = count[k] < *smallest ? count[k] : *smallest;
    } else if (status == FC_OK) {
        status = FC_EFAIL;
    }
    fc_arena_release(arena, mark);
    return status;
}

/* Tries until the smallest client is large enough. *best = the largest smallest client seen, at
 * least q->min_samples if and only if owner is a success. */
static fc_status try_often(int32_t *owner, size_t *best, const fc_partition_method *m,
                           const fc_partition_task *task, const fc_partition_request *q, int tries,
                           fc_arena *arena, fc_error *err)
{
    *best = 0;
    for (int attempt = 0; attempt < tries; attempt++) {
        size_t smallest = 0;
        FC_TRY(try_once(owner, &smallest, m, task, q, attempt, arena, err));
        *best = smallest > *best ? smallest : *best;
        if (smallest >= (size_t)q->min_samples)
            break;
    }
    return FC_OK;
}

/* Whether this request succeeds quickly, for a suggestion. */
static bool works(int32_t *owner, const fc_partition_method *m, const fc_partition_task *task,
                  const fc_partition_request *q, fc_arena *arena)
{
    size_t best;
    return try_often(owner, &best, m, task, q, SUGGEST_TRIES, arena, NULL) == FC_OK &&
           best >= (size_t)q->min_samples;
}

static fc_status fail_with_advice(int32_t *owner, size_t best, int tries,
                                  const fc_partition_method *m, const fc_partition_task *task,
                                  const fc_partition_request *q, fc_arena *arena, fc_error *err)
{
    static const double betas[] = {0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 100};
    char beta[64] = "", clients[64] = "";
    fc_partition_request try = *q;
    for (size_t i = 0; reads(m, "beta") && i < sizeof betas / sizeof *betas && !*beta; i++) {
        try.beta = betas[i];
        if (try.beta > q->beta && works(owner, m, task, &try, arena))
            snprintf(beta, sizeof beta, "beta %g, ", try.beta);
    }
    try = *q;
    for (try.clients = q->clients / 2; !m->fixed && try.clients >= 1 && !*clients; try.clients /= 2)
        if (works(owner, m, task, &try, arena))
            snprintf(clients, sizeof clients, "%d clients, ", try.clients);
    return fc_fail(
        err, FC_EUSAGE,
        "partition %s: task %d: %zu samples over %d clients, in %d %s some client always "
        "had fewer than min_samples = %d (the best try gave the smallest client %zu); "
        "%s%smin_samples %zu would work",
        m->name, task->t + 1, task->n, q->clients, tries, tries == 1 ? "try" : "tries",
        q->min_samples, best, beta, clients, best);
}

/* owner (task->n) = client of each sample of the task. */
static fc_status assign_task(int32_t *owner, const fc_partition_method *m,
                             const fc_partition_task *task, const fc_partition_request *q,
                             fc_arena *arena, fc_error *err)
{
    size_t need = q->min_samples > 0 ? (size_t)q->min_samples : 1;
    if (task->n / need < (size_t)q->clients)
        return fc_fail(err, FC_EUSAGE,
                       "partition %s: task %d has %zu samples for %d clients with at least %zu "
                       "each; at most %zu client%s%s would work",
                       m->name, task->t + 1, task->n, q->clients, need, task->n / need,
                       task->n / need == 1 ? "" : "s",
                       need > 1 && task->n >= (size_t)q->clients ? " or a smaller min_samples"
                                                                 : "");
    int tries = m->fixed ? 1 : q->max_tries;
    size_t best;
    FC_TRY(try_often(owner, &best, m, task, q, tries, arena, err));
    if (best >= (size_t)q->min_samples)
        return FC_OK;
    return fail_with_advice(owner, best, tries, m, task, q, arena, err);
}

/* The lists of the clients from the owners of the task's samples, ascending. */
static fc_status list_samples(fc_partition *out, const fc_partition_task *task,
                              const int32_t *owner, fc_arena *arena, fc_error *err)
{
    size_t clients = (size_t)out->clients;
    size_t *start = fc_arena_alloc(arena, clients + 1, sizeof *start, err);
    uint32_t *sample = fc_arena_alloc(arena, task->n, sizeof *sample, err);
    if (!start || !sample)
        return FC_EFAIL;
    for (size_t i = 0; i < task->n; i++)
        if (owner[i] >= 0)
            start[owner[i] + 1]++;
    for (size_t k = 0; k < clients; k++)
        start[k + 1] += start[k];
    for (size_t i = 0; i < task->n; i++)
        if (owner[i] >= 0)
            sample[start[owner[i]]++] = task->sample[i];
    /* The writing moved every start to its end, which is the next one's start. */
    memmove(start + 1, start, clients * sizeof *start);
    start[0] = 0;
    out->start[task->t] = start;
    out->sample[task->t] = sample;
    return FC_OK;
}

static fc_status make_task(fc_partition *out, int32_t *all, int t, const fc_partition_method *m,
                           const fc_dataset *d, const fc_tasks *tasks,
                           const fc_partition_request *q, fc_arena *arena, fc_error *err)
{
    int first = tasks->first[t];
    fc_partition_task task = {.t = t,
                              .tasks = tasks->n,
                              .classes = tasks->first[t + 1] - first,
                              .class_id = tasks->order + first,
                              .n = tasks->n_train[t],
                              .sample = tasks->train[t]};
    fc_arena scratch = {0};
    fc_status status = FC_EFAIL;
    int32_t *klass = fc_arena_alloc(&scratch, task.n, sizeof *klass, err);
    int32_t *owner = fc_arena_alloc(&scratch, task.n, sizeof *owner, err);
    if (!klass || !owner)
        goto out;
    for (size_t i = 0; i < task.n; i++)
        klass[i] = tasks->logit[d->train.label[task.sample[i]]] - first;
    task.klass = klass;
    if ((status = assign_task(owner, m, &task, q, &scratch, err)) != FC_OK)
        goto out;
    for (size_t i = 0; i < task.n; i++)
        all[task.sample[i]] = owner[i];
    status = list_samples(out, &task, owner, arena, err);
out:
    fc_arena_free(&scratch);
    return status;
}

fc_status fc_partition_make(fc_partition *out, const fc_dataset *d, const fc_tasks *t,
                            const fc_partition_request *q, fc_arena *arena, fc_error *err)
{
    *out = (fc_partition){.tasks = t->n, .clients = q->clients};
    const fc_partition_method *m = find_method(q->name, err);
    if (!m)
        return FC_EUSAGE;
    FC_TRY(check_request(m, q, err));
    size_t tasks = (size_t)t->n;
    out->sample = fc_arena_alloc(arena, tasks, sizeof *out->sample, err);
    out->start = fc_arena_alloc(arena, tasks, sizeof *out->start, err);
    int32_t *all = fc_arena_alloc(arena, d->train.n, sizeof *all, err);
    if (!out->sample || !out->start || !all)
        return FC_EFAIL;
    for (size_t i = 0; i < d->train.n; i++)
        all[i] = -1;
    for (int i = 0; i < t->n; i++)
        FC_TRY(make_task(out, all, i, m, d, t, q, arena, err));
    fc_sha256(out->sha256, all, d->train.n * sizeof *all);
    return FC_OK;
}

fc_status fc_partition_csv(const char *path, const fc_partition *p, const fc_dataset *d,
                           const fc_tasks *t, fc_error *err)
{
    size_t n = d->train.n;
    int32_t *owner = malloc((n ? n : 1) * sizeof *owner),
            *task = malloc((n ? n : 1) * sizeof *task);
    fc_draft csv;
    fc_status status = owner && task ? fc_draft_begin(&csv, err)
                                     : fc_fail(err, FC_EFAIL, "%s: out of memory", path);
    if (status != FC_OK)
        goto out;
    for (size_t i = 0; i < n; i++)
        owner[i] = -1;
    for (int32_t j = 0; j < p->tasks; j++) {
        for (size_t i = 0; i < t->n_train[j]; i++)
            task[t->train[j][i]] = j + 1;
        for (size_t i = 0; i < t->n_held[j]; i++) /* of no client */
            task[t->held[j][i]] = j + 1;
        for (int32_t k = 0; k < p->clients; k++)
            for (size_t i = p->start[j][k]; i < p->start[j][k + 1]; i++)
                owner[p->sample[j][i]] = k;
    }
    fputs("sample,task,class,client\n", csv.f);
    for (size_t i = 0; i < n; i++)
        fprintf(csv.f, "%zu,%" PRId32 ",%" PRId32 ",%" PRId32 "\n", i, task[i], d->train.label[i],
                owner[i]);
    status = fc_draft_save(&csv, FC_OK, path, err);
out:
    free(owner);
    free(task);
    return status;
}
