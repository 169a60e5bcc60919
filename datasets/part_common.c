#include "datasets/part_common.h"

fc_rng fc_part_rng(const fc_partition_request *q, int t, int attempt)
{
    return fc_rng_at((fc_key){.seed = q->seed,
                              .stream = FC_STREAM_PARTITION,
                              .task = (uint32_t)t,
                              .round = (uint32_t)attempt});
}

void fc_part_dirichlet_sums(double *cum, double *a, double beta, int k, fc_rng *g)
{
    for (int i = 0; i < k; i++)
        a[i] = beta;
    fc_rng_dirichlet(g, cum, a, k);
    for (int i = 1; i < k; i++)
        cum[i] += cum[i - 1];
}

int fc_part_pick(const double *cum, int k, fc_rng *g)
{
    /* The first i with cum[i] > x: x < cum[k-1], so there is one, and its probability is not 0. */
    double x = fc_rng_uniform(g) * cum[k - 1];
    int low = 0, high = k - 1;
    while (low < high) {
        int mid = low + (high - low) / 2;
        if (cum[mid] > x)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

fc_status fc_part_by_class(fc_part_classes *out, const fc_partition_task *task, fc_arena *scratch,
                           fc_error *err)
{
    size_t classes = (size_t)task->classes;
    size_t *next = fc_arena_alloc(scratch, classes, sizeof *next, err);
    out->index = fc_arena_alloc(scratch, task->n, sizeof *out->index, err);
    out->start = fc_arena_alloc(scratch, classes + 1, sizeof *out->start, err);
    if (!next || !out->index || !out->start)
        return FC_EFAIL;
    for (size_t i = 0; i < task->n; i++)
        out->start[task->klass[i] + 1]++;
    for (size_t c = 0; c < classes; c++) {
        next[c] = out->start[c];
        out->start[c + 1] += out->start[c];
    }
    for (size_t i = 0; i < task->n; i++)
        out->index[next[task->klass[i]]++] = (uint32_t)i;
    return FC_OK;
}

fc_status fc_part_cut_classes(int32_t *owner, const fc_partition_task *task,
                              const fc_partition_request *q, int attempt, bool balanced,
                              fc_arena *scratch, fc_error *err)
{
    size_t clients = (size_t)q->clients;
    fc_part_classes by;
    FC_TRY(fc_part_by_class(&by, task, scratch, err));
    double *a = fc_arena_alloc(scratch, clients, sizeof *a, err);
    double *p = fc_arena_alloc(scratch, clients, sizeof *p, err);
    size_t *held = fc_arena_alloc(scratch, clients, sizeof *held, err);
    if (!a || !p || !held)
        return FC_EFAIL;
    fc_rng g = fc_part_rng(q, task->t, attempt);
    for (size_t k = 0; k < clients; k++)
        a[k] = q->beta;
    for (int c = 0; c < task->classes; c++) {
        uint32_t *sample = by.index + by.start[c];
        size_t n = by.start[c + 1] - by.start[c], from = 0;
        if (n == 0)
            continue;
        fc_rng_shuffle(&g, sample, n);
        double sum = 0, cum = 0;
        while (!(sum > 0)) { /* again when only full clients have a share */
            fc_rng_dirichlet(&g, p, a, q->clients);
            for (size_t k = 0; k < clients; k++) {
                if (balanced && held[k] * clients >= task->n)
                    p[k] = 0;
                sum += p[k];
            }
        }
        for (size_t k = 0; k < clients; k++) {
            cum += p[k];
            size_t to = (size_t)((double)n * (cum / sum)); /* n from the last p > 0 on */
            for (; from < to; from++, held[k]++)
                owner[sample[from]] = (int32_t)k;
        }
    }
    return FC_OK;
}
