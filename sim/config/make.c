#include "sim/config/make.h"

#include "core/base/threads.h"
#include "core/linalg/isa.h"
#include "sim/methods/method.h"

#include <string.h>

static const struct {
    float mean[3], std[3];
} normalisation[] = {{{0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}},                   /* half */
                     {{0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}},       /* imagenet */
                     {{0.5071f, 0.4865f, 0.4409f}, {0.2673f, 0.2564f, 0.2762f}}, /* cifar */
                     {{0, 0, 0}, {1, 1, 1}}};                                    /* none */

fc_transform fc_transform_of(const fc_config *c, int image)
{
    fc_transform t = {.size = image,
                      .augment = (fc_augment)c->data.augment,
                      .test = (fc_test_resize)c->data.test_resize,
                      .scale_low = c->data.scale_low};
    memcpy(t.mean, normalisation[c->data.normalisation].mean, sizeof t.mean);
    memcpy(t.std, normalisation[c->data.normalisation].std, sizeof t.std);
    return t;
}

fc_optim_config fc_optim_of(const fc_config *c, unsigned groups)
{
    double lr = c->train.lr;
    return (fc_optim_config){
        .kind = (fc_optim_kind)c->train.optimizer,
        .lr = {[FC_GROUP_BACKBONE] = c->train.lr_backbone < 0 ? lr : c->train.lr_backbone,
               [FC_GROUP_A] = c->train.lr_A < 0 ? lr : c->train.lr_A,
               [FC_GROUP_B] = c->train.lr_B < 0 ? lr : c->train.lr_B,
               [FC_GROUP_HEAD] = lr},
        .groups = groups,
        .weight_decay = c->train.weight_decay,
        .beta1 = c->train.beta1,
        .beta2 = c->train.beta2,
        .eps = 1e-8,
        .momentum = c->train.momentum,
        .clip_norm = c->train.clip_norm};
}

fc_status fc_data_open(fc_dataset *d, const fc_config *c, fc_error *err)
{
    fc_data_request q = {.name = c->data.name,
                         .path = c->data.path,
                         .root = c->data.root,
                         .seed = fc_seed(c, c->seed.data),
                         .classes = c->data.synth_classes,
                         .per_class_train = c->data.synth_train,
                         .per_class_test = c->data.synth_test,
                         .size = c->data.synth_size,
                         .first_class = c->data.synth_first_class,
                         .difficulty = c->data.synth_difficulty,
                         .max_train_per_class = c->data.max_train_per_class,
                         .max_test_per_class = c->data.max_test_per_class};
    int hold = c->data.validation_per_class;
    if (q.max_train_per_class > 0)
        q.max_train_per_class += hold;
    FC_TRY(fc_dataset_load(d, &q, err));
    fc_status s = hold > 0 ? fc_dataset_hold_out(d, hold, err) : FC_OK;
    if (s != FC_OK)
        fc_dataset_free(d);
    return s;
}

fc_status fc_partition_open(fc_partition *p, const fc_dataset *d, const fc_tasks *t,
                            const fc_config *c, fc_arena *arena, fc_error *err)
{
    bool one = c->method->centralised;
    fc_partition_request q = {.name = one ? "iid" : c->fed.partition,
                              .clients = one ? 1 : c->fed.clients,
                              .beta = c->fed.beta,
                              .min_samples = one ? 1 : c->fed.min_samples,
                              .classes_per_client = c->fed.classes_per_client,
                              .shards_per_client = c->fed.shards_per_client,
                              .samples_per_client = c->fed.samples_per_client,
                              .file = c->fed.partition_file,
                              .max_tries = c->fed.max_tries,
                              .seed = fc_seed(c, c->seed.partition)};
    return fc_partition_make(p, d, t, &q, arena, err);
}

fc_status fc_tasks_open(fc_tasks *t, const fc_dataset *d, const fc_config *c, fc_arena *arena,
                        fc_error *err)
{
    fc_ints none = {0};
    bool one = c->method->single_task;
    FC_TRY(fc_tasks_make(t, d, one ? 1 : c->tasks.count, one ? &none : &c->tasks.sizes,
                         &c->tasks.class_order, arena, err));
    if (c->data.hold_out_per_class > 0)
        FC_TRY(fc_tasks_hold_out(t, d, c->data.hold_out_per_class, arena, err));
    return one ? FC_OK : fc_tasks_reorder(t, &c->tasks.order, arena, err);
}

fc_status fc_backbone_random(fc_params *w, fc_vit_shape *s, const fc_config *c, fc_arena *arena,
                             fc_error *err)
{
    int D = c->backbone.width;
    *s = (fc_vit_shape){.image = c->data.image_size ? c->data.image_size : c->data.synth_size,
                        .patch = c->backbone.patch,
                        .width = D,
                        .depth = c->backbone.depth,
                        .heads = c->backbone.heads ? c->backbone.heads
                                 : D < 64          ? 1
                                                   : D / 64,
                        .hidden = (int)(D * c->backbone.mlp_ratio + 0.5)};
    fc_params layout;
    FC_TRY(fc_vit_check(s, "backbone", err));
    FC_TRY(fc_vit_layout(&layout, s, arena, err));
    FC_TRY(fc_params_alloc(w, &layout, arena, err));
    fc_vit_init(w, fc_seed(c, c->seed.init));
    return FC_OK;
}

fc_status fc_engine_open(fc_engine *e, const fc_config *c, fc_progress *progress, fc_error *err)
{
    char buf[32];
    const char *name =
        fc_opt_choice(&(fc_opt){.choices = FC_ISA_CHOICES}, c->run.isa, buf, sizeof buf);
    *e = (fc_engine){.bf16 = c->run.precision == 1};
    fc_error why = {0};
    if (fc_isa_find(&e->isa, name, e->bf16, &why) != FC_OK)
        return fc_fail(err, FC_EUSAGE, "run.isa: %s", why.msg);
    /* plain C has a bf16 kernel as the oracle of the others, without an instruction for it */
    if (!e->bf16 || (e->isa->panel_bf16 && e->isa != &fc_isa_scalar))
        return FC_OK;
    if (c->run.strict)
        return fc_fail(err, FC_EUSAGE,
                       "run.precision: bf16 would be emulated by the %s kernels, which run.strict "
                       "forbids",
                       e->isa->name);
    fc_progress_line(
        progress, FC_NORMAL,
        "warning: bf16 is emulated by the %s kernels: the numbers of bf16, not its speed",
        e->isa->name);
    return FC_OK;
}

int fc_threads_open(const fc_config *c, fc_progress *progress)
{
    int blas_safe, cores = fc_cores(),
                   asked = c->run.threads ? c->run.threads : fc_threads_default();
    int n = fc_threads_init(asked, &blas_safe);
    if (!blas_safe && asked > 1)
        fc_progress_line(
            progress, FC_NORMAL,
            "warning: this serial build of OpenBLAS gives wrong products under threads: "
            "one thread is used instead of %d; install libopenblas0-openmp",
            asked);
    else if (n > cores)
        fc_progress_line(progress, FC_NORMAL, "warning: %d threads share %d core%s", n, cores,
                         cores > 1 ? "s" : "");
    return n;
}
