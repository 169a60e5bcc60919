#include "sim/fed/state.h"

#include <string.h>

int fc_client_classes(const fc_setup *s, int t, int client)
{
    const size_t *start = s->partition.start[t];
    const uint32_t *sample = s->partition.sample[t];
    int count = 0;
    for (int c = s->tasks.first[t]; c < s->tasks.first[t + 1]; c++)
        for (size_t i = start[client]; i < start[client + 1]; i++)
            if (s->net.logit[s->data.train.label[sample[i]]] == c) {
                count++;
                break;
            }
    return count;
}

size_t fc_client_samples(const fc_setup *s, int t, int client)
{
    const size_t *start = s->partition.start[t];
    return start[client + 1] - start[client];
}

size_t fc_task_head_size(const fc_setup *s)
{
    return (size_t)s->net.classes * ((size_t)s->net.shape.width + 1);
}

void fc_task_head_keep(fc_state *st, const fc_setup *s, int t)
{
    const fc_spec *head = &st->global.spec[fc_train_head(&st->global)];
    size_t D = (size_t)s->net.shape.width, C = (size_t)s->net.classes;
    size_t lo = (size_t)s->tasks.first[t], hi = (size_t)s->tasks.first[t + 1];
    memcpy(st->task_head + lo * D, st->global.p + head[0].offset + lo * D,
           (hi - lo) * D * sizeof *st->task_head);
    memcpy(st->task_head + C * D + lo, st->global.p + head[1].offset + lo,
           (hi - lo) * sizeof *st->task_head);
}

const fc_packed *fc_run_packed(const fc_run *r)
{
    return r->scratch.packed_train.block ? &r->scratch.packed_train : NULL;
}
