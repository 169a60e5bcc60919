#include "sim/models/merge_network.h"

#include "core/merge/backbone.h"
#include "sim/models/model_on_data.h"

/* --- what has to be there -----------------------------------------------------------------------
 */

static fc_status check_network(const fc_merge_files *f, fc_error *err)
{
    if (f->rows == 0)
        return fc_fail(err, FC_EDATA, "%s: no head, expected head.weight and head.bias",
                       f->file[0].path);
    return f->transposed ? fc_fail(err, FC_EDATA,
                                   "%s: fan_in_fan_out: no layer of a Vision Transformer is "
                                   "transposed",
                                   f->file[0].path)
                         : FC_OK;
}

/* Every input says which classes it knows, and all the same of their data. */
static fc_status check_metadata(const fc_merge_files *f, const char *rule, fc_error *err)
{
    for (int i = 0; i < f->n; i++) {
        const fc_model_meta *m = &f->file[i].meta;
        if (m->classes.n == 0)
            return fc_fail(err, FC_EDATA,
                           "%s: %s needs images of its classes, and its metadata do not name them; "
                           "expected a file of fcil export",
                           f->file[i].path, rule);
        for (int k = 0; k < m->n_settings; k++) {
            const fc_setting *s = &m->setting[k];
            if (!fc_model_meta_says(&f->meta, s))
                return fc_fail(err, FC_EDATA,
                               "%s: metadata: %s.%s is '%s', and not so in every input: %s takes "
                               "images from one data set",
                               f->file[i].path, s->section, s->key, s->text, rule);
        }
    }
    return FC_OK;
}

/* --- the merge ----------------------------------------------------------------------------------
 */

/* Of which tensor of the base each of the set is the change. */
static fc_status find_tensors(int *tensor, const fc_merge_files *f, const fc_params *w0,
                              fc_error *err)
{
    for (int t = 0; t < f->set.tensors; t++) {
        fc_error why = {0};
        const fc_spec *s = fc_backbone_tensor(w0, &f->shape[t], &why);
        if (!s)
            return fc_fail(err, FC_EDATA, "%s: %s", f->base_path, why.msg);
        tensor[t] = (int)(s - w0->spec);
    }
    return FC_OK;
}

/* Images of each input: of its own tasks, or of all where the inputs have the same classes. */
static fc_status draw_images(fc_task_images *task, fc_merge_files *f, const fc_tasks *tasks,
                             const fc_merge_network_job *job, fc_error *err)
{
    for (int i = 0, from = 0; i < f->n; i++) {
        int n = f->apart ? f->file[i].meta.tasks.n : tasks->n;
        FC_TRY(fc_task_images_draw(&task[i], tasks, from, from + n, job->samples,
                                   (fc_key){.seed = job->seed, .task = (uint32_t)i}, &f->arena,
                                   err));
        if (task[i].n == 0)
            return fc_fail(err, FC_EDATA, "%s: the data have no training image of its classes",
                           f->file[i].path);
        from += f->apart ? n : 0;
    }
    return FC_OK;
}

/* d: where the images are; NULL: without. */
static fc_status make_merged(fc_merge_network *m, fc_merge_files *f,
                             const fc_merge_network_job *job, const fc_model_file *base,
                             fc_model_on_data *d, fc_error *err)
{
    size_t tensors = (size_t)f->set.tensors;
    const fc_net plain = {.shape = base->shape, .classes = base->classes};
    int *tensor = fc_arena_alloc(&f->arena, tensors, sizeof *tensor, err);
    fc_task_images *task = fc_arena_alloc(&f->arena, (size_t)f->n, sizeof *task, err);
    m->merged.w = fc_arena_alloc(&f->arena, base->w.n, sizeof *m->merged.w, err);
    if (!tensor || !task || !m->merged.w)
        return FC_EFAIL;
    FC_TRY(find_tensors(tensor, f, &base->w, err));
    if (d)
        FC_TRY(draw_images(task, f, &d->tasks, job, err));
    m->shape = base->shape;
    m->head_w = base->head_w;
    m->head_b = base->head_b;
    const fc_vit_merge_job j = {.rule = job->rule,
                                .options = job->options,
                                .space = job->space,
                                .w0 = &base->w,
                                .in = &f->set,
                                .tensor = tensor,
                                .head_w = base->head_w,
                                .head_b = base->head_b,
                                .task = d ? task : NULL,
                                .net = d ? &d->net : &plain,
                                .crew = d ? &d->crew : NULL,
                                .split = d ? &d->data.train : NULL,
                                .seed = job->seed,
                                .progress = d ? &d->progress : NULL};
    return fc_vit_merge_make(&m->merged, &j, &f->arena, err);
}

static fc_status make_with_images(fc_merge_network *m, fc_merge_files *f,
                                  const fc_merge_network_job *job, const fc_model_file *base,
                                  fc_error *err)
{
    fc_model_on_data d;
    const fc_model_on_data_options o = {.file = base,
                                        .override = job->override,
                                        .n_override = job->n_override,
                                        .grams = fc_vit_merge_needs_grams(job->rule),
                                        .acts = fc_vit_merge_acts(job->rule, job->options, f->n),
                                        .console = job->console};
    FC_TRY(check_metadata(f, job->rule->name, err));
    FC_TRY(fc_model_on_data_open(&d, &o, err));
    fc_progress_init(&d.progress, job->console,
                     fc_vit_merge_flop(job->rule, job->options, &d.net, f->n, (int)job->samples,
                                       d.net.classes / f->n),
                     0);
    fc_status s = d.experts.n > 0
                      ? fc_fail(err, FC_EDATA, "%s is a model with experts, expected a plain one",
                                f->base_path)
                      : make_merged(m, f, job, &d.file, &d, err);
    fc_progress_end(&d.progress);
    fc_model_on_data_close(&d);
    return s;
}

static fc_status make_plain(fc_merge_network *m, fc_merge_files *f, const fc_merge_network_job *job,
                            fc_model_file *base, fc_error *err)
{
    fc_config c;
    FC_TRY(fc_model_file_config(&c, base, NULL, job->override, job->n_override, err));
    fc_status s = fc_model_file_load(base, NULL, &c, &f->arena, err);
    if (s == FC_OK)
        s = make_merged(m, f, job, base, NULL, err);
    fc_config_free(&c);
    return s;
}

fc_status fc_merge_network_make(fc_merge_network *m, fc_merge_files *f,
                                const fc_merge_network_job *job, fc_error *err)
{
    size_t rows = (size_t)f->rows;
    *m = (fc_merge_network){0};
    FC_TRY(check_network(f, err));
    fc_model_file base = {.path = f->base_path,
                          .meta = f->meta,
                          .classes = f->rows,
                          .width = f->width,
                          .head_w =
                              fc_backbone_reals(f->head_w, rows * (size_t)f->width, &f->arena, err),
                          .head_b = fc_backbone_reals(f->head_b, rows, &f->arena, err)};
    if (!base.head_w || !base.head_b)
        return FC_EFAIL;
    return job->samples > 0 ? make_with_images(m, f, job, &base, err)
                            : make_plain(m, f, job, &base, err);
}

/* --- the file -----------------------------------------------------------------------------------
 */

fc_status fc_merge_network_save(const fc_merge_network *m, fc_merge_files *f, const char *path,
                                fc_error *err)
{
    if (fc_vit_merge_per_task(&m->merged) && f->n > 1 && !f->apart)
        return fc_fail(err, FC_EDATA,
                       "%s and the other inputs have the same classes, expected classes of their "
                       "own: by these a model is chosen",
                       f->file[0].path);
    int *tasks = fc_arena_alloc(&f->arena, (size_t)f->n, sizeof *tasks, err);
    for (int i = 0; tasks && i < f->n; i++)
        tasks[i] = f->file[i].meta.tasks.n > 0 ? f->file[i].meta.tasks.n : 1;
    const fc_expert_file x = {.n = f->n, .tasks = {.v = tasks, .n = f->n}, .merged = m->merged};
    const fc_model model = {.shape = &m->shape,
                            .classes = f->rows,
                            .w = m->merged.w,
                            .head_w = m->head_w,
                            .head_b = m->head_b};
    return tasks ? fc_expert_file_write(path, &model, &x, f->metadata, f->n_metadata, err)
                 : FC_EFAIL;
}
