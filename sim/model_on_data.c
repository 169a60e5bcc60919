#include "sim/model_on_data.h"

#include "sim/run.h"

#include <math.h>
#include <string.h>

/* Tasks of the metadata, else of the config: those that the head has rows for. */
static fc_status open_tasks(fc_trial *t, fc_error *err)
{
    const fc_model_file *m = &t->file;
    int hold = t->cfg.data.hold_out_per_class;
    if (m->meta.classes.n > 0) {
        FC_TRY(
            fc_tasks_some(&t->tasks, &t->data, &m->meta.tasks, &m->meta.classes, &t->arena, err));
        return hold > 0 ? fc_tasks_hold_out(&t->tasks, &t->data, hold, &t->arena, err) : FC_OK;
    }
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

static fc_status open_crew(fc_trial *t, const fc_trial_options *o, fc_error *err)
{
    fc_params head;
    fc_grams shape;
    FC_TRY(fc_train_layout(&head, &t->net.shape, FC_TRAIN_HEAD, 0, t->net.classes, &t->arena, err));
    if (o->grams)
        FC_TRY(fc_vit_grams(&shape, &t->net.shape, 1, 1, &t->arena, err));
    fc_crew_plan plan = {.net = &t->net,
                         .like = &head,
                         .threads = fc_threads_open(&t->cfg, &t->progress),
                         .clients = 1,
                         .batch = FC_SLICE,
                         .grams = o->grams ? &shape : NULL,
                         .max_side = fc_dataset_side(&t->data),
                         .acts = t->experts.n > 0 ? fc_expert_file_acts(&t->experts) : o->acts};
    return fc_crew_init(&t->crew, &plan, err);
}

/* Where each task has an expert of its own, their tasks are those of the head. */
static fc_status check_experts(const fc_trial *t, fc_error *err)
{
    int sum = 0;
    for (int i = 0; i < t->experts.n; i++)
        sum += t->experts.tasks.v[i];
    if (t->experts.emr && sum != t->tasks.n)
        return fc_fail(err, FC_EDATA, "%s: experts for %d tasks, and a head for %d", t->file.path,
                       sum, t->tasks.n);
    return FC_OK;
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
    if (!m->folder)
        FC_TRY(fc_expert_file_read(&t->experts, m->path, &m->shape, &t->arena, err));
    FC_TRY(check_experts(t, err));
    FC_TRY(open_crew(t, o, err));
    FC_TRY(fc_packed_new(&t->packed, &t->net.shape, false, &t->net.engine, err));
    fc_packed_fill(&t->packed, &t->net.shape, m->w.p);
    t->model = (fc_model){.shape = &t->net.shape,
                          .classes = m->classes,
                          .w = m->w.p,
                          .scale = 1,
                          .head_w = m->head_w,
                          .head_b = m->head_b,
                          .packed = &t->packed,
                          .smile = t->experts.smile,
                          .wemoe = t->experts.wemoe};
    return FC_OK;
}

fc_status fc_trial_open(fc_trial *t, const fc_trial_options *o, fc_error *err)
{
    *t = (fc_trial){0};
    fc_progress_init(&t->progress, o->console, 0, 0);
    fc_status s = FC_OK;
    if (o->file)
        t->file = *o->file;
    else
        s = fc_model_file_open(&t->file, o->model, &t->arena, err);
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

static fc_status test_tasks(fc_eval *e, int *answer, fc_trial *t, const fc_tasks *k, fc_error *err)
{
    const fc_test job = {.net = &t->net,
                         .model = &t->model,
                         .images = &t->data.test,
                         .tasks = k,
                         .seen = k->n,
                         .crew = &t->crew,
                         .progress = &t->progress,
                         .answer = answer};
    long images = 0;
    FC_TRY(fc_test_run(e, &job, &t->arena, err));
    for (int s = 0; s < k->n; s++)
        images += e->total[s];
    if (images && !isfinite(e->loss))
        return fc_fail(err, FC_EDATA,
                       "%s: its answers have a loss of %g: it holds numbers that overflow",
                       t->file.path, e->loss);
    return FC_OK;
}

/* Tasks from .. to - 1 under EMR's expert i; the other counts of part are zero. */
static fc_status test_expert(fc_eval *part, int *answer, fc_trial *t, int i, int from, int to,
                             fc_real *w, fc_error *err)
{
    fc_tasks k = t->tasks;
    k.n_test = fc_arena_alloc(&t->arena, (size_t)k.n, sizeof *k.n_test, err);
    if (!k.n_test)
        return FC_EFAIL;
    memcpy(k.n_test + from, t->tasks.n_test + from, (size_t)(to - from) * sizeof *k.n_test);
    memcpy(w, t->file.w.p, t->file.w.n * sizeof *w);
    FC_TRY(fc_emr_apply(w, &t->file.w, t->experts.emr, i, err));
    fc_packed_fill(&t->packed, &t->net.shape, w);
    t->model.w = w;
    return test_tasks(part, answer, t, &k, err);
}

static fc_status eval_init(fc_eval *e, fc_trial *t, fc_error *err)
{
    size_t T = (size_t)t->tasks.n;
    *e = (fc_eval){.seen = t->tasks.n,
                   .correct = fc_arena_alloc(&t->arena, T, sizeof(long), err),
                   .masked = fc_arena_alloc(&t->arena, T, sizeof(long), err),
                   .total = fc_arena_alloc(&t->arena, T, sizeof(long), err)};
    return e->correct && e->masked && e->total ? FC_OK : FC_EFAIL;
}

fc_status fc_trial_test(fc_eval *e, int *answer, fc_trial *t, fc_error *err)
{
    FC_TRY(eval_init(e, t, err));
    if (!t->experts.emr)
        return test_tasks(e, answer, t, &t->tasks, err);
    double images = 0, loss = 0;
    fc_eval part;
    fc_real *w = fc_arena_alloc(&t->arena, t->file.w.n, sizeof *w, err);
    FC_TRY(eval_init(&part, t, err));
    if (!w)
        return FC_EFAIL;
    for (int i = 0, at = 0; i < t->experts.n; at += t->experts.tasks.v[i++]) {
        double n = 0;
        FC_TRY(test_expert(&part, answer, t, i, at, at + t->experts.tasks.v[i], w, err));
        for (int s = at; s < at + t->experts.tasks.v[i]; s++) {
            e->correct[s] = part.correct[s];
            e->masked[s] = part.masked[s];
            e->total[s] = part.total[s];
            n += (double)part.total[s];
        }
        loss += part.loss * n;
        images += n;
    }
    e->loss = loss / images;
    return FC_OK;
}
