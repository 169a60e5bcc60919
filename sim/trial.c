#include "sim/trial.h"

#include "sim/run.h"

/* Tasks of the metadata, else of the config: those that the head has rows for. */
static fc_status open_tasks(fc_trial *t, fc_error *err)
{
    const fc_model_file *m = &t->file;
    if (m->meta.classes.n > 0)
        return fc_tasks_some(&t->tasks, &t->data, &m->meta.tasks, &m->meta.classes, &t->arena, err);
    FC_TRY(fc_tasks_open(&t->tasks, &t->data, &t->cfg, &t->arena, err));
    fc_tasks *k = &t->tasks;
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

static fc_status open_crew(fc_trial *t, bool grams, fc_error *err)
{
    fc_params head;
    fc_grams shape;
    FC_TRY(fc_train_layout(&head, &t->net.shape, FC_TRAIN_HEAD, 0, t->net.classes, &t->arena, err));
    if (grams)
        FC_TRY(fc_vit_grams(&shape, &t->net.shape, 1, 1, &t->arena, err));
    fc_crew_plan plan = {.net = &t->net,
                         .like = &head,
                         .threads = fc_threads_open(&t->cfg, &t->progress),
                         .clients = 1,
                         .batch = FC_SLICE,
                         .grams = grams ? &shape : NULL,
                         .max_side = fc_dataset_side(&t->data)};
    return fc_crew_init(&t->crew, &plan, err);
}

static fc_status open_parts(fc_trial *t, const fc_trial_options *o, fc_error *err)
{
    const fc_model_file *m = &t->file;
    FC_TRY(fc_engine_open(&t->net.engine, &t->cfg, &t->progress, err));
    FC_TRY(fc_model_file_load(&t->file, o->base, &t->cfg, &t->arena, err));
    FC_TRY(fc_data_open(&t->data, &t->cfg, err));
    FC_TRY(open_tasks(t, err));
    t->net.shape = m->shape;
    t->net.mode = FC_TRAIN_HEAD;
    t->net.classes = m->classes;
    t->net.transform = fc_transform_of(&t->cfg, m->shape.image);
    t->net.train = &t->data.train;
    t->net.logit = t->tasks.logit;
    FC_TRY(open_crew(t, o->grams, err));
    FC_TRY(fc_packed_new(&t->packed, &t->net.shape, false, &t->net.engine, err));
    fc_packed_fill(&t->packed, &t->net.shape, m->w.p);
    t->model = (fc_model){.shape = &t->net.shape,
                          .classes = m->classes,
                          .w = m->w.p,
                          .scale = 1,
                          .head_w = m->head_w,
                          .head_b = m->head_b,
                          .packed = &t->packed};
    return FC_OK;
}

fc_status fc_trial_open(fc_trial *t, const fc_trial_options *o, fc_error *err)
{
    *t = (fc_trial){0};
    fc_progress_init(&t->progress, o->console, 0, 0);
    fc_status s = fc_model_file_open(&t->file, o->model, &t->arena, err);
    if (s == FC_OK)
        s = fc_model_file_config(&t->cfg, &t->file, o->config, o->override, o->n_override, err);
    if (s == FC_OK)
        s = open_parts(t, o, err);
    if (s != FC_OK)
        fc_trial_close(t);
    return s;
}

void fc_trial_close(fc_trial *t)
{
    fc_crew_free(&t->crew);
    fc_packed_free(&t->packed);
    fc_dataset_free(&t->data);
    fc_config_free(&t->cfg);
    fc_arena_free(&t->arena);
    *t = (fc_trial){0};
}
