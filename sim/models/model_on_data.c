#include "sim/models/model_on_data.h"

#include "sim/config/make.h"
#include "sim/train/vit_merge.h"

#include <math.h>
#include <string.h>

/* Tasks of the metadata, else of the config: those that the head has rows for. */
static fc_status open_tasks(fc_model_on_data *d, fc_error *err)
{
    const fc_model_file *m = &d->file;
    int hold = d->cfg.data.hold_out_per_class;
    if (m->meta.classes.n > 0) {
        FC_TRY(
            fc_tasks_some(&d->tasks, &d->data, &m->meta.tasks, &m->meta.classes, &d->arena, err));
        return hold > 0 ? fc_tasks_hold_out(&d->tasks, &d->data, hold, &d->arena, err) : FC_OK;
    }
    FC_TRY(fc_tasks_open(&d->tasks, &d->data, &d->cfg, &d->arena, err));
    fc_tasks *k = &d->tasks;
    int seen = 0;
    while (seen < k->n && k->first[seen] < m->classes)
        seen++;
    if (k->first[seen] != m->classes)
        return fc_fail(err, FC_EDATA,
                       "%s: a head for %d classes, expected %d, those of the data, or of the first "
                       "tasks (tasks.sizes, tasks.class_order)",
                       m->path, m->classes, k->classes);
    k->n = seen;
    return FC_OK;
}

static fc_status open_crew(fc_model_on_data *d, const fc_model_on_data_options *o, fc_error *err)
{
    fc_params head;
    fc_grams shape;
    FC_TRY(fc_train_layout(&head, &d->net.shape, FC_TRAIN_HEAD, 0, d->net.classes, &d->arena, err));
    if (o->grams)
        FC_TRY(fc_vit_grams(&shape, &d->net.shape, 1, 1, &d->arena, err));
    fc_crew_plan plan = fc_crew_plan_one(&d->net, &head, fc_threads_open(&d->cfg, &d->progress),
                                         fc_dataset_side(&d->data));
    plan.grams = o->grams ? &shape : NULL;
    plan.acts = d->experts.n > 0 ? fc_expert_file_acts(&d->experts, &d->net.shape) : o->acts;
    return fc_crew_init(&d->crew, &plan, err);
}

/* Where each task has an expert of its own, their tasks are those of the head. */
static fc_status check_experts(const fc_model_on_data *d, fc_error *err)
{
    int sum = 0;
    for (int i = 0; i < d->experts.n; i++)
        sum += d->experts.tasks.v[i];
    if (fc_vit_merge_per_task(&d->experts.merged) && sum != d->tasks.n)
        return fc_fail(err, FC_EDATA, "%s: experts for %d tasks, and a head for %d", d->file.path,
                       sum, d->tasks.n);
    return FC_OK;
}

static fc_status open_parts(fc_model_on_data *d, const fc_model_on_data_options *o, fc_error *err)
{
    const fc_model_file *m = &d->file;
    FC_TRY(fc_engine_open(&d->net.engine, &d->cfg, &d->progress, err));
    FC_TRY(fc_model_file_load(&d->file, o->base, &d->cfg, &d->arena, err));
    FC_TRY(fc_data_open(&d->data, &d->cfg, err));
    FC_TRY(open_tasks(d, err));
    d->net.shape = m->shape;
    d->net.mode = FC_TRAIN_HEAD;
    const fc_transform transform = fc_transform_of(&d->cfg, m->shape.image);
    fc_net_sees(&d->net, &d->data.train, &transform, d->tasks.logit, m->classes);
    if (!m->folder)
        FC_TRY(fc_expert_file_read(&d->experts, m->path, &m->shape, &d->arena, err));
    FC_TRY(check_experts(d, err));
    FC_TRY(open_crew(d, o, err));
    FC_TRY(fc_packed_new(&d->packed, &d->net.shape, false, &d->net.engine, err));
    fc_packed_fill(&d->packed, &d->net.shape, m->w.p);
    d->model = (fc_model){.shape = &d->net.shape,
                          .classes = m->classes,
                          .w = m->w.p,
                          .scale = 1,
                          .head_w = m->head_w,
                          .head_b = m->head_b,
                          .packed = &d->packed,
                          .smile = d->experts.merged.smile,
                          .wemoe = d->experts.merged.wemoe};
    return FC_OK;
}

fc_status fc_model_on_data_open(fc_model_on_data *d, const fc_model_on_data_options *o,
                                fc_error *err)
{
    *d = (fc_model_on_data){0};
    fc_progress_init(&d->progress, o->console, 0, 0);
    fc_status s = FC_OK;
    if (o->file)
        d->file = *o->file;
    else
        s = fc_model_file_open(&d->file, o->model, &d->arena, err);
    if (s == FC_OK)
        s = fc_model_file_config(&d->cfg, &d->file, o->config, o->override, o->n_override, err);
    if (s == FC_OK)
        s = open_parts(d, o, err);
    if (s != FC_OK)
        fc_model_on_data_close(d);
    return s;
}

void fc_model_on_data_close(fc_model_on_data *d)
{
    fc_crew_free(&d->crew);
    fc_packed_free(&d->packed);
    fc_dataset_free(&d->data);
    fc_config_free(&d->cfg);
    fc_arena_free(&d->arena);
    *d = (fc_model_on_data){0};
}

/* All tasks, but for those of skip (NULL: none). */
static fc_status test_tasks(fc_eval *e, int *answer, fc_model_on_data *d, const bool *skip,
                            fc_error *err)
{
    const fc_test job = {.net = &d->net,
                         .model = &d->model,
                         .images = &d->data.test,
                         .tasks = &d->tasks,
                         .seen = d->tasks.n,
                         .crew = &d->crew,
                         .progress = &d->progress,
                         .skip = skip,
                         .answer = answer};
    long images = 0;
    FC_TRY(fc_test_run(e, &job, &d->arena, err));
    for (int s = 0; s < e->seen; s++)
        images += e->total[s];
    if (images && !isfinite(e->loss))
        return fc_fail(err, FC_EDATA,
                       "%s: its answers have a loss of %g: it holds numbers that overflow",
                       d->file.path, e->loss);
    return FC_OK;
}

/* The model of expert i, whose backbone is put into w. */
static fc_status take_expert(fc_real *w, fc_model_on_data *d, int i, fc_error *err)
{
    memcpy(w, d->file.w.p, d->file.w.n * sizeof *w);
    FC_TRY(fc_vit_merge_expert(w, &d->experts.merged, &d->file.w, i, err));
    fc_packed_fill(&d->packed, &d->net.shape, w);
    d->model.w = w;
    return FC_OK;
}

/* Each expert's tasks under its own model; loss: the mean over the images of all. */
static fc_status test_experts(fc_eval *e, int *answer, fc_model_on_data *d, fc_error *err)
{
    double images = 0, loss = 0;
    fc_eval part;
    bool *skip = fc_arena_alloc(&d->arena, (size_t)d->tasks.n, sizeof *skip, err);
    fc_real *w = fc_arena_alloc(&d->arena, d->file.w.n, sizeof *w, err);
    FC_TRY(fc_eval_init(&part, d->tasks.n, &d->arena, err));
    if (!skip || !w)
        return FC_EFAIL;
    for (int i = 0, from = 0; i < d->experts.n; from += d->experts.tasks.v[i++]) {
        int to = from + d->experts.tasks.v[i];
        double n = 0;
        for (int s = 0; s < d->tasks.n; s++)
            skip[s] = s < from || s >= to;
        FC_TRY(take_expert(w, d, i, err));
        FC_TRY(test_tasks(&part, answer, d, skip, err));
        for (int s = from; s < to; s++) {
            e->correct[s] = part.correct[s];
            e->masked[s] = part.masked[s];
            e->total[s] = part.total[s];
            n += (double)part.total[s];
        }
        loss += part.loss * n;
        images += n;
    }
    e->seen = d->tasks.n;
    e->loss = loss / images; /* sum_i n_i L_i / sum_i n_i over the experts */
    return FC_OK;
}

fc_status fc_model_on_data_test(fc_eval *e, int *answer, fc_model_on_data *d, fc_error *err)
{
    FC_TRY(fc_eval_init(e, d->tasks.n, &d->arena, err));
    return fc_vit_merge_per_task(&d->experts.merged) ? test_experts(e, answer, d, err)
                                                     : test_tasks(e, answer, d, NULL, err);
}
