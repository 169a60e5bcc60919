#include "sim/train/task_images.h"

#include <string.h>

uint32_t *fc_task_images_list(size_t *n, const fc_tasks *tasks, int from, int to, bool held,
                              fc_arena *arena, fc_error *err)
{
    uint32_t *const *list = held ? tasks->held : tasks->train;
    const size_t *count = held ? tasks->n_held : tasks->n_train;
    size_t at = 0;
    *n = 0;
    for (int t = from; t < to; t++)
        *n += count[t];
    uint32_t *sample = fc_arena_alloc(arena, *n, sizeof *sample, err);
    for (int t = from; sample && t < to; at += count[t++])
        memcpy(sample + at, list[t], count[t] * sizeof *sample);
    return sample;
}

fc_status fc_task_images_draw(fc_task_images *out, const fc_tasks *tasks, int from, int to,
                              size_t most, fc_key key, fc_arena *arena, fc_error *err)
{
    size_t n;
    uint32_t *sample =
        fc_task_images_list(&n, tasks, from, to, tasks->n_held[from] > 0, arena, err);
    if (!sample)
        return FC_EFAIL;
    key.stream = FC_STREAM_MERGE;
    fc_rng g = fc_rng_at(key);
    fc_rng_shuffle(&g, sample, n);
    *out = (fc_task_images){.sample = sample,
                            .n = n < most ? n : most,
                            .lo = tasks->first[from],
                            .hi = tasks->first[to]};
    return FC_OK;
}
