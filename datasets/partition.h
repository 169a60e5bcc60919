/* Which client holds which training sample, task by task. One file per partition, one row in
 * partition_table.def. */
#ifndef FC_PARTITION_H
#define FC_PARTITION_H

#include "core/base/arena.h"
#include "core/base/status.h"
#include "datasets/dataset.h"
#include "datasets/tasks.h"

#include <stdbool.h>

typedef struct fc_partition {
    int tasks, clients;
    /* sample[t][start[t][k] .. start[t][k+1]-1]: training indices of client k in task t, ascending
     */
    uint32_t **sample;
    size_t **start;
    char sha256[65]; /* of the owner of every sample in order */
} fc_partition;

typedef struct fc_partition_request {
    const char *name;
    int clients;
    double beta;            /* Dirichlet concentration */
    int min_samples;        /* every client has at least so many in every task */
    int classes_per_client; /* quantity */
    int shards_per_client;  /* shard */
    int samples_per_client; /* dir-client; 0 = task size / clients */
    const char *file;       /* file: partition.csv to replay */
    int max_tries;          /* 9999 */
    uint64_t seed;
} fc_partition_request;

typedef struct fc_partition_task {
    int t, tasks;           /* this task of so many */
    int classes;            /* of this task */
    const int *class_id;    /* (classes) their dataset classes */
    size_t n;               /* samples of this task */
    const int32_t *klass;   /* (n) class of sample i within the task, 0 .. classes-1 */
    const uint32_t *sample; /* (n) dataset indices, ascending */
} fc_partition_task;

typedef struct fc_partition_method {
    const char *name, *source, *help; /* name with dashes, e.g. "dir-class" */
    const char *needs; /* which request fields it reads, for `fcil list partitions` */
    bool fixed;        /* every try gives the same owners: one is enough */
    /* One try: owner (n) = client of sample i, -1 = nobody. attempt is part of the random key.
     * Errors FC_EUSAGE when no try can succeed (says which beta / clients / min would). */
    fc_status (*assign)(int32_t *owner, const fc_partition_task *task,
                        const fc_partition_request *q, int attempt, fc_arena *scratch,
                        fc_error *err);
} fc_partition_method;
extern const fc_partition_method *const fc_partition_table[];
extern const int fc_partition_count;

/* All tasks, with bounded retries until every client has min_samples. Errors FC_EUSAGE: unknown
 * name, beta <= 0, more clients than samples, no success within max_tries (says the smallest count
 * reached and which beta / clients / min would work). */
fc_status fc_partition_make(fc_partition *out, const fc_dataset *d, const fc_tasks *t,
                            const fc_partition_request *q, fc_arena *arena, fc_error *err);

/* partition.csv: header `sample,task,class,client`, tasks from 1, one row per training sample of
 * the tasks, ascending. */
fc_status fc_partition_csv(const char *path, const fc_partition *p, const fc_dataset *d,
                           const fc_tasks *t, fc_error *err);

#endif
