#include "sim/run/export.h"

#include "sim/fed/server.h"
#include "sim/models/adapter.h"
#include "sim/models/expert_file.h"
#include "sim/models/model_meta.h"

#include <string.h>

int fc_export_tasks(const fc_run *r)
{
    return (int)r->state.at.next_task + (r->state.at.next_round > 0);
}

/* A model with an expert for each finished task. */
static fc_status save_experts(const char *path, const fc_model *m, fc_run *r, fc_pairs meta,
                              int n_meta, fc_error *err)
{
    int n = r->state.deltas.tasks;
    int *one = fc_arena_alloc(&r->scratch.arena, (size_t)n, sizeof *one, err);
    for (int i = 0; one && i < n; i++)
        one[i] = 1;
    const fc_vit_merged merged = {.rule = fc_vit_rule_find(r->setup->cfg->task_rule->name),
                                  .smile = m->smile,
                                  .wemoe = m->wemoe};
    const fc_expert_file x = {.n = n, .tasks = {.v = one, .n = n}, .merged = merged};
    return one ? fc_expert_file_write(path, m, &x, meta, n_meta, err) : FC_EFAIL;
}

fc_status fc_export_timm(fc_run *r, const char *path, fc_error *err)
{
    fc_model m;
    fc_pairs meta;
    int n_meta, seen = fc_export_tasks(r);
    if (seen == 0)
        return fc_fail(err, FC_EDATA, "%s: no round of the run is done yet", path);
    FC_TRY(fc_server_model(&m, r, r->state.at.next_round == 0, err));
    m.classes = r->setup->tasks.first[seen];
    FC_TRY(fc_model_meta_make(&meta, &n_meta, r->setup->cfg, &r->setup->net.shape, &r->setup->tasks,
                              0, seen, &r->scratch.arena, err));
    if (m.smile || m.wemoe)
        return save_experts(path, &m, r, meta, n_meta, err);
    return fc_vit_save(path, &m, &(fc_vit_extra){.metadata = meta, .n_metadata = n_meta}, err);
}

fc_status fc_export_base(fc_run *r, const char *path, fc_error *err)
{
    const fc_model m = {.shape = &r->setup->net.shape, .w = r->setup->w0.p};
    return fc_vit_save(path, &m, NULL, err);
}

/* The name of a weight without ".weight". */
static const char *layer_name(const char *weight, fc_arena *arena, fc_error *err)
{
    size_t n = strlen(weight) - strlen(".weight");
    return fc_arena_format(arena, err, "%.*s", (int)n, weight);
}

static double *widen(const fc_real *x, size_t n, fc_arena *arena, fc_error *err)
{
    double *v = fc_arena_alloc(arena, n, sizeof *v, err);
    for (size_t i = 0; v && i < n; i++)
        v[i] = (double)x[i];
    return v;
}

/* dW (d_out, d_in) = B (d_out, r) A (r, d_in) of one slot; A, B: of all. */
static fc_status make_layer(fc_adapter_layer *l, fc_run *r, int slot, const fc_real *A,
                            const fc_real *B, fc_error *err)
{
    const fc_vit_shape *s = &r->setup->net.shape;
    size_t at_A, at_B, rank = (size_t)r->setup->net.rank;
    *l = (fc_adapter_layer){.rank = r->setup->net.rank};
    fc_slot_dims(s, slot, &l->rows, &l->cols);
    fc_slot_offsets(s, slot, r->setup->net.rank, &at_A, &at_B);
    l->name = layer_name(r->setup->w0.spec[fc_slot_tensor(slot)].name, &r->scratch.arena, err);
    l->A = widen(A + at_A, rank * (size_t)l->cols, &r->scratch.arena, err);
    l->B = widen(B + at_B, rank * (size_t)l->rows, &r->scratch.arena, err);
    return l->name && l->A && l->B ? FC_OK : FC_EFAIL;
}

/* head.weight and head.bias of task t, as the run keeps them: as they were learnt, where
 * tasks.merge wants them so. */
static fc_status make_head(fc_adapter_whole out[2], fc_run *r, int t, bool finished, fc_error *err)
{
    const fc_spec *head = &r->state.global.spec[fc_train_head(&r->state.global)];
    size_t from = (size_t)r->setup->tasks.first[t], D = (size_t)r->setup->net.shape.width;
    size_t rows = (size_t)r->setup->tasks.first[t + 1] - from;
    const fc_real *W = r->state.global.p + head[0].offset, *b = r->state.global.p + head[1].offset;
    if (finished && r->state.task_head) {
        W = r->state.task_head;
        b = W + (size_t)r->setup->net.classes * D;
    }
    out[0] = (fc_adapter_whole){"head.weight",
                                2,
                                {(int64_t)rows, (int64_t)D},
                                rows * D,
                                widen(W + from * D, rows * D, &r->scratch.arena, err)};
    out[1] = (fc_adapter_whole){
        "head.bias", 1, {(int64_t)rows}, rows, widen(b + from, rows, &r->scratch.arena, err)};
    return out[0].v && out[1].v ? FC_OK : FC_EFAIL;
}

fc_status fc_export_peft(fc_run *r, int t, const char *base, const char *dir, fc_error *err)
{
    const fc_deltas *d = &r->state.deltas;
    bool finished = t < d->tasks;
    fc_adapter_whole head[2];
    fc_adapter a = {.base = base, .n_layers = r->setup->slots, .n_whole = 2, .whole = head};
    if (r->setup->net.mode != FC_TRAIN_LORA || !d->A)
        return fc_fail(
            err, FC_EUSAGE,
            "export: the tasks of method %s leave no LoRA, expected --to timm, the whole "
            "model",
            r->setup->method->name);
    a.layer = fc_arena_alloc(&r->scratch.arena, (size_t)r->setup->slots, sizeof *a.layer, err);
    if (!a.layer)
        return FC_EFAIL;
    const fc_real *A = finished ? d->A + (size_t)t * d->n_A : r->state.global.p;
    const fc_real *B =
        finished
            ? d->B + (size_t)t * d->n_B
            : r->state.global.p + r->state.global.spec[fc_train_B(&r->setup->net.shape, 0)].offset;
    for (int i = 0; i < r->setup->slots; i++)
        FC_TRY(make_layer(&a.layer[i], r, i, A, B, err));
    FC_TRY(make_head(head, r, t, finished, err));
    FC_TRY(fc_model_meta_make(&a.metadata, &a.n_metadata, r->setup->cfg, &r->setup->net.shape,
                              &r->setup->tasks, t, t + 1, &r->scratch.arena, err));
    return fc_adapter_write(dir, &a, err);
}
