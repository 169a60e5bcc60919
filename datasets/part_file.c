/* file: replays a partition.csv (header `sample,task,class,client`, one row for every training
 * sample of the tasks, in any order; client -1 = nobody). Every row is checked against the data. */
#include "datasets/part_common.h"

#include "core/base/file.h"

#include <stdlib.h>
#include <string.h>

static const char header[] = "sample,task,class,client";

typedef struct row {
    long long sample, task, klass, client;
} row;

/* A line of four integers. text (end) is followed by a newline, or it is the copy of the last line.
 */
static bool parse_row(row *r, const char *text, const char *end)
{
    long long *field[4] = {&r->sample, &r->task, &r->klass, &r->client};
    char buf[96], *p = buf;
    size_t n = (size_t)(end - text);
    if (n >= sizeof buf)
        return false;
    memcpy(buf, text, n);
    buf[n] = '\0';
    for (int i = 0; i < 4; i++) {
        char *stop;
        *field[i] = strtoll(p, &stop, 10);
        if (stop == p || *stop != (i < 3 ? ',' : '\0'))
            return false;
        p = stop + 1;
    }
    return true;
}

/* Position of a dataset index among the task's samples, or task->n. */
static size_t position(const fc_partition_task *task, long long sample)
{
    size_t low = 0, high = task->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (task->sample[mid] < sample)
            low = mid + 1;
        else
            high = mid;
    }
    return low < task->n && task->sample[low] == sample ? low : task->n;
}

static fc_status take_row(int32_t *owner, bool *seen, const row *r, long line,
                          const fc_partition_task *task, const fc_partition_request *q,
                          fc_error *err)
{
    if (r->task < 1 || r->task > task->tasks)
        return fc_fail(err, FC_EDATA, "%s:%ld: task %lld, expected 1 to %d", q->file, line, r->task,
                       task->tasks);
    if (r->task != task->t + 1)
        return FC_OK;
    size_t i = position(task, r->sample);
    if (i == task->n)
        return fc_fail(err, FC_EDATA, "%s:%ld: sample %lld is not a training sample of task %d",
                       q->file, line, r->sample, task->t + 1);
    if (r->klass != task->class_id[task->klass[i]])
        return fc_fail(err, FC_EDATA, "%s:%ld: sample %lld has class %lld, in the data it has %d",
                       q->file, line, r->sample, r->klass, task->class_id[task->klass[i]]);
    if (r->client < -1 || r->client >= q->clients)
        return fc_fail(err, FC_EUSAGE, "%s:%ld: client %lld, expected -1 (nobody) to %d", q->file,
                       line, r->client, q->clients - 1);
    if (seen[i])
        return fc_fail(err, FC_EDATA, "%s:%ld: sample %lld for the second time", q->file, line,
                       r->sample);
    seen[i] = true;
    owner[i] = (int32_t)r->client;
    return FC_OK;
}

static fc_status read_rows(int32_t *owner, bool *seen, const char *text, size_t n,
                           const fc_partition_task *task, const fc_partition_request *q,
                           fc_error *err)
{
    const char *end = text + n;
    for (long line = 1; text < end; line++) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        const char *next = stop ? stop + 1 : end;
        stop = stop ? stop : end;
        if (stop > text && stop[-1] == '\r')
            stop--;
        row r;
        if (line == 1) {
            if ((size_t)(stop - text) != strlen(header) || memcmp(text, header, strlen(header)))
                return fc_fail(err, FC_EDATA, "%s:1: expected the header %s", q->file, header);
        } else if (!parse_row(&r, text, stop)) {
            return fc_fail(err, FC_EDATA, "%s:%ld: expected four integers %s", q->file, line,
                           header);
        } else {
            FC_TRY(take_row(owner, seen, &r, line, task, q, err));
        }
        text = next;
    }
    for (size_t i = 0; i < task->n; i++)
        if (!seen[i])
            return fc_fail(err, FC_EDATA, "%s: training sample %u of task %d has no row", q->file,
                           task->sample[i], task->t + 1);
    return FC_OK;
}

static fc_status assign_file(int32_t *owner, const fc_partition_task *task,
                             const fc_partition_request *q, int attempt, fc_arena *scratch,
                             fc_error *err)
{
    (void)attempt;
    if (!q->file || !*q->file)
        return fc_fail(err, FC_EUSAGE, "partition file: no file given, expected a partition.csv");
    bool *seen = fc_arena_alloc(scratch, task->n, sizeof *seen, err);
    if (!seen)
        return FC_EFAIL;
    void *text;
    size_t n;
    FC_TRY(fc_file_map(&text, &n, q->file, FC_EDATA, err));
    fc_status status = read_rows(owner, seen, text, n, task, q, err);
    fc_file_unmap(text, n);
    return status;
}

const fc_partition_method fc_partition_file = {
    .name = "file",
    .source = "partition.csv of an earlier run",
    .help = "the owners written in a partition.csv",
    .needs = "partition_file min_samples",
    .fixed = true,
    .assign = assign_file,
};
