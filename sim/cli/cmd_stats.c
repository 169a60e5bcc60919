/* fcil stats MODEL [CONFIG] [key=value ...] -o FILE */
#include "sim/cli/args.h"
#include "sim/cli/cmd.h"
#include "sim/models/model_on_data.h"
#include "sim/models/model_stats.h"
#include "sim/train/fit_fisher.h"
#include "sim/train/task_images.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct options {
    fc_args args;
    const char *base;
    int samples, only, fisher;
} options;

enum { BOTH, GRAMS, FISHER }; /* --only */
static const fc_flag flags[] = {
    FC_FLAG_TEXT("--base", "FILE", options, base, "the backbone of an adapter, as in fcil eval"),
    FC_FLAG_OUTPUT("FILE", "where to write them"),
    FC_FLAG_INT("--samples", "N", options, samples, "256", 0, 1 << 30,
                "so many images, drawn at random (run.seed); 0 = all"),
    FC_FLAG_CHOICE("--only", "WHAT", options, only, "both", "both|grams|fisher", "which of them"),
    FC_FLAG_CHOICE("--fisher", "KIND", options, fisher, "expected", FC_FISHER_CHOICES,
                   "expected over the classes, of the labels, or of those weighted by their "
                   "probability"),
    FC_FLAG_DATA,
    FC_FLAG_THREADS};

typedef struct statistics {
    fc_model_on_data *d;
    bool grams, fisher;
    fc_fisher_kind kind;
    size_t most;      /* images; 0: all */
    uint32_t *sample; /* (n) */
    size_t n;
    fc_grams sum;
    double *F;
} statistics;

/* Training images of the model's classes: all, by task, or so many at random. */
static fc_status draw_images(statistics *s, fc_error *err)
{
    fc_model_on_data *d = s->d;
    s->sample = fc_task_images_list(&s->n, &d->tasks, 0, d->tasks.n, false, &d->arena, err);
    if (!s->sample)
        return FC_EFAIL;
    if (s->most == 0 || s->most >= s->n)
        return FC_OK;
    fc_rng rng = fc_rng_at(
        (fc_key){.seed = fc_seed(&d->cfg, d->cfg.seed.train), .stream = FC_STREAM_SHUFFLE});
    fc_rng_shuffle(&rng, s->sample, s->n);
    s->n = s->most;
    return FC_OK;
}

static fc_status take_statistics(statistics *s, const fc_params *layout, fc_error *err)
{
    fc_model_on_data *d = s->d;
    if (s->grams) {
        const fc_gram_job job = {.net = &d->net,
                                 .crew = &d->crew,
                                 .m = &d->model,
                                 .split = &d->data.train,
                                 .sample = s->sample,
                                 .n = s->n,
                                 .progress = &d->progress};
        FC_TRY(fc_vit_grams(&s->sum, &d->net.shape, 1, 1, &d->arena, err));
        FC_TRY(fc_fit_grams_alone(&s->sum, &job, err));
    }
    if (!s->fisher)
        return FC_OK;
    s->F = fc_arena_alloc(&d->arena, layout->n, sizeof *s->F, err);
    const fc_fisher_job job = {.net = &d->net,
                               .crew = &d->crew,
                               .m = &d->model,
                               .kind = s->kind,
                               .hi = d->net.classes,
                               .split = &d->data.train,
                               .sample = s->sample,
                               .n = s->n,
                               .progress = &d->progress};
    return s->F ? fc_fit_fisher_alone(s->F, layout, &job, err) : FC_EFAIL;
}

static fc_status measure_model(statistics *s, const char *path, fc_error *err)
{
    fc_model_on_data *d = s->d;
    fc_params layout;
    if (d->experts.n > 0)
        return fc_fail(err, FC_EUSAGE, "stats: %s is a model with experts, expected a plain one",
                       d->file.path);
    FC_TRY(draw_images(s, err));
    FC_TRY(
        fc_train_layout(&layout, &d->net.shape, FC_TRAIN_FULL, 0, d->net.classes, &d->arena, err));
    FC_TRY(take_statistics(s, &layout, err));
    FC_TRY(fc_model_stats_write(path, s->grams ? &s->sum : NULL, s->F, &layout, s->n, err));
    printf("%s: %zu images\n", path, s->n);
    return FC_OK;
}

static fc_status open_and_measure(const fc_args *a, fc_error *err)
{
    const options *from = (const options *)a;
    fc_model_on_data d = {0};
    statistics s = {.d = &d,
                    .grams = from->only != FISHER,
                    .fisher = from->only != GRAMS,
                    .kind = (fc_fisher_kind)from->fisher,
                    .most = (size_t)from->samples};
    if (!a->config || a->n_extra > 1 || !a->output)
        return fc_fail(err, FC_EUSAGE,
                       "stats: which model, and where to? usage: fcil stats MODEL [CONFIG] "
                       "[section.key=value ...] -o FILE");
    fc_model_on_data_options o = {.model = a->config,
                                  .base = from->base,
                                  .config = a->n_extra ? a->extra[0] : NULL,
                                  .override = a->override,
                                  .n_override = a->n_override,
                                  .grams = s.grams};
    FC_TRY(fc_model_on_data_open(&d, &o, err));
    fc_status status = measure_model(&s, a->output, err);
    fc_model_on_data_close(&d);
    return status;
}

fc_status fc_cmd_stats(int argc, char **argv, fc_error *err)
{
    static const fc_verb verb = {
        .name = "stats",
        .run = open_and_measure,
        .flag = flags,
        .n_flags = sizeof flags / sizeof *flags,
        .takes = FC_FLAGS_ALL,
        .usage = "usage: fcil stats MODEL [CONFIG] [section.key=value ...] -o FILE.safetensors "
                 "[options]\n\n"
                 "What rules of fcil merge need to know of a model: Gram matrices of the inputs of "
                 "its linear\n"
                 "layers and its head (RegMean), and its diagonal Fisher information. Of training "
                 "images, as a\n"
                 "test prepares them. MODEL and CONFIG as in fcil eval.\n\n"};
    options o = {0};
    return fc_verb_run(&verb, &o.args, argc, argv, err);
}
