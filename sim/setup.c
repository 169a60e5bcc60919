/* Everything up to the first round: data, weights, tasks, partition, memory. */
#include "sim/message.h"
#include "sim/spread.h"
#include "sim/task_merge.h"
#include "sim/task_source.h"

#include "core/file.h"
#include "core/threads.h"

#include <stdio.h>
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

/* The last `hold` training images of each class become the test images. */
static fc_status hold_out(fc_dataset *d, int hold, fc_error *err)
{
    fc_split *s = &d->train, kept, held;
    int *left = fc_arena_alloc(&d->arena, (size_t)d->classes, sizeof *left, err);
    kept.image = fc_arena_alloc(&d->arena, s->n, sizeof *kept.image, err);
    kept.label = fc_arena_alloc(&d->arena, s->n, sizeof *kept.label, err);
    held.image = fc_arena_alloc(&d->arena, s->n, sizeof *held.image, err);
    held.label = fc_arena_alloc(&d->arena, s->n, sizeof *held.label, err);
    if (!left || !kept.image || !kept.label || !held.image || !held.label)
        return FC_EFAIL;
    for (size_t i = 0; i < s->n; i++)
        left[s->label[i]]++;
    for (int c = 0; c < d->classes; c++)
        if (left[c] <= hold)
            return fc_fail(err, FC_EUSAGE,
                           "data.validation_per_class: %d, but class %d has %d training images, "
                           "expected more than that",
                           hold, c, left[c]);
    kept.n = held.n = 0;
    for (size_t i = 0; i < s->n; i++) {
        fc_split *to = left[s->label[i]]-- > hold ? &kept : &held;
        to->image[to->n] = s->image[i];
        to->label[to->n++] = s->label[i];
    }
    d->train = kept;
    d->test = held;
    return FC_OK;
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
    fc_status s = hold > 0 ? hold_out(d, hold, err) : FC_OK;
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

int fc_dataset_side(const fc_dataset *d)
{
    int side = 1;
    for (int s = 0; s < 2; s++) {
        const fc_split *split = s ? &d->test : &d->train;
        for (size_t i = 0; i < split->n; i++) {
            side = split->image[i].width > side ? split->image[i].width : side;
            side = split->image[i].height > side ? split->image[i].height : side;
        }
    }
    return side;
}

/* Which tensors of a trained block belong to which slot. */
static fc_status slots_init(fc_run *r, fc_error *err)
{
    const fc_vit_shape *s = &r->net.shape;
    r->slots = r->net.mode == FC_TRAIN_HEAD ? 0 : fc_vit_slots(s);
    int **index[] = {&r->slot_A, &r->slot_B, &r->slot_W};
    for (int k = 0; k < 3; k++) {
        bool used = r->slots && (k == 2) == (r->net.mode == FC_TRAIN_FULL);
        if (!used)
            continue;
        *index[k] = fc_arena_alloc(&r->arena, (size_t)r->slots, sizeof **index[k], err);
        if (!*index[k])
            return FC_EFAIL;
        for (int i = 0; i < r->slots; i++)
            (*index[k])[i] = k == 0 ? fc_train_A(i) : k == 1 ? fc_train_B(s, i) : fc_slot_tensor(i);
    }
    r->slot_offset = fc_arena_alloc(&r->arena, (size_t)r->slots, sizeof *r->slot_offset, err);
    for (int i = 0; r->slot_offset && i < r->slots; i++)
        r->slot_offset[i] = fc_vit_offset(s, fc_slot_tensor(i));
    return r->slot_offset ? FC_OK : FC_EFAIL;
}

static fc_status grams_init(fc_run *r, fc_error *err)
{
    if (r->method->grams)
        r->grams = r->method->grams(r->cfg);
    if (r->grams.passes == 0) {
        if (r->cfg->rule->needs & FC_MERGE_NEEDS_GRAMS)
            return fc_fail(err, FC_EUSAGE,
                           "merge.rule: %s needs Gram matrices, which method %s does not send",
                           r->cfg->rule->name, r->method->name);
        return FC_OK;
    }
    return fc_vit_grams(&r->gram_shape, &r->net.shape, r->grams.alpha_slots, r->grams.alpha_head,
                        &r->arena, err);
}

static fc_status counts_init(fc_run *r, fc_error *err)
{
    size_t T = (size_t)r->tasks.n;
    r->acc = (fc_acc_matrix){.tasks = r->tasks.n,
                             .ld = r->tasks.n,
                             .correct = fc_arena_alloc(&r->arena, T * T, sizeof(long), err),
                             .total = fc_arena_alloc(&r->arena, T * T, sizeof(long), err)};
    r->eval = (fc_eval){.correct = fc_arena_alloc(&r->arena, T, sizeof(long), err),
                        .masked = fc_arena_alloc(&r->arena, T, sizeof(long), err),
                        .total = fc_arena_alloc(&r->arena, T, sizeof(long), err)};
    return r->acc.correct && r->acc.total && r->eval.correct && r->eval.masked && r->eval.total
               ? FC_OK
               : FC_EFAIL;
}

static fc_status backbone_copy(fc_real **out, fc_run *r, fc_error *err)
{
    *out = fc_arena_alloc(&r->arena, r->w0.n, sizeof **out, err);
    return *out ? FC_OK : FC_EFAIL;
}

/* The server's block and the copies of the backbone that the method asks for. */
static fc_status server_init(fc_run *r, fc_error *err)
{
    const fc_vit_shape *s = &r->net.shape;
    fc_params layout;
    FC_TRY(fc_train_layout(&layout, s, r->net.mode, r->net.rank, r->net.classes, &r->arena, err));
    FC_TRY(fc_params_alloc(&r->global, &layout, &r->arena, err));
    if (r->net.mode == FC_TRAIN_FULL)
        memcpy(r->global.p, r->w0.p, r->w0.n * sizeof *r->w0.p);
    fc_head_init(&r->global, fc_seed(r->cfg, r->cfg->seed.init));
    FC_TRY(slots_init(r, err));
    FC_TRY(grams_init(r, err));
    FC_TRY(counts_init(r, err));
    r->w_train = r->w0.p;
    if (r->cfg->task_rule && r->net.mode != FC_TRAIN_HEAD) {
        r->task_head = fc_arena_alloc(&r->arena, fc_task_head_size(r), sizeof *r->task_head, err);
        if (!r->task_head)
            return FC_EFAIL;
    }
    if (r->net.mode == FC_TRAIN_FULL && r->task_head) {
        FC_TRY(fc_deltas_init_dense(&r->deltas, s, r->w0.n, r->tasks.n, &r->arena, err));
        FC_TRY(backbone_copy(&r->w_scratch, r, err));
    }
    if (r->net.mode != FC_TRAIN_LORA)
        return fc_task_merge_check(r, err);
    fc_grams slots = fc_grams_first(&r->gram_shape, r->slots);
    bool gram_merge = r->gram_shape.n > 0 && r->method->task_grams;
    if (r->method->folds && r->method->folds(r->cfg)) {
        FC_TRY(fc_deltas_init_dense(&r->deltas, s, r->w0.n, r->tasks.n, &r->arena, err));
        FC_TRY(backbone_copy(&r->folded, r, err));
    } else {
        FC_TRY(fc_deltas_init(&r->deltas, s, r->net.rank, r->tasks.n, gram_merge ? &slots : NULL,
                              &r->arena, err));
    }
    if (r->method->train_base || r->folded)
        FC_TRY(backbone_copy(&r->w_buffer, r, err));
    FC_TRY(backbone_copy(&r->w_scratch, r, err));
    return fc_task_merge_check(r, err);
}

static fc_status crew_init(fc_run *r, fc_error *err)
{
    size_t longest = 0;
    for (int t = 0; t < r->partition.tasks; t++)
        for (int k = 0; k < r->partition.clients; k++) {
            size_t n = r->partition.start[t][k + 1] - r->partition.start[t][k];
            longest = n > longest ? n : longest;
        }
    fc_crew_plan plan = {.net = &r->net,
                         .like = &r->global,
                         .threads = r->threads,
                         .clients = r->partition.clients,
                         .batch = r->cfg->train.batch,
                         .samples = longest,
                         .grams = r->gram_shape.n ? &r->gram_shape : NULL,
                         .max_side = r->max_side};
    fc_grams full;
    const fc_merge_method *rule = r->cfg->task_rule;
    if (rule) {
        plan.acts = fc_vit_merge_acts(rule, r->cfg->task_rule_options, r->tasks.n);
        if (!plan.grams && fc_vit_merge_needs_grams(rule)) {
            FC_TRY(fc_vit_grams(&full, &r->net.shape, 1, 1, &r->arena, err));
            plan.grams = &full;
        }
    }
    FC_TRY(fc_crew_init(&r->crew, &plan, err));
    return r->cfg->rule->needs & FC_MERGE_NEEDS_FISHER
               ? fc_fisher_room_init(&r->fisher, &r->net, &r->crew, &r->arena, err)
               : FC_OK;
}

/* Frozen weights as the kernels want them: one set to train on, one for what is only evaluated. */
static fc_status packed_init(fc_run *r, fc_error *err)
{
    const fc_net *n = &r->net;
    FC_TRY(fc_packed_new(&r->packed_scratch, &n->shape, false, &n->engine, err));
    if (n->mode == FC_TRAIN_FULL)
        return FC_OK;
    return fc_packed_new(&r->packed_train, &n->shape, n->mode == FC_TRAIN_LORA, &n->engine, err);
}

const fc_packed *fc_run_packed(const fc_run *r)
{
    return r->packed_train.block ? &r->packed_train : NULL;
}

/* Can the rule merge what this method trains? */
static fc_status check_rule(const fc_run *r, fc_error *err)
{
    const fc_merge_method *rule = r->cfg->rule;
    const fc_method *m = r->method;
    const fc_space space = {.kind = (fc_space_kind)r->cfg->merge.space,
                            .isotropise = r->cfg->merge.isotropise};
    fc_error why = {0};
    if (!m->products && (!rule->begin || space.kind != FC_SPACE_FULL) && m->mode != FC_TRAIN_FULL)
        return fc_fail(err, FC_EUSAGE,
                       "merge.%s merges LoRA updates B A, which method %s does not: method "
                       "lora_merge does",
                       space.kind == FC_SPACE_FULL ? rule->name : "space", m->name);
    if (m->mode == FC_TRAIN_FULL && space.kind != FC_SPACE_FULL)
        return fc_fail(err, FC_EUSAGE,
                       "merge.space: it is made of LoRA factors, and method %s trains full weights",
                       m->name);
    if (fc_merge_check(rule, &space, m->products && !rule->factors, &why) != FC_OK)
        return fc_fail(err, FC_EUSAGE, "merge.rule: %s", why.msg);
    return FC_OK;
}

static fc_status check_options(const fc_run *r, fc_error *err)
{
    const fc_vit_shape *s = &r->net.shape;
    const struct {
        const char *key;
        double lr;
    } own[] = {{"lr_A", r->cfg->train.lr_A},
               {"lr_B", r->cfg->train.lr_B},
               {"lr_backbone", r->cfg->train.lr_backbone}};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (own[i].lr < 0 && own[i].lr > -1)
            return fc_fail(err, FC_EUSAGE, "train.%s: %g, expected -1 (= train.lr) or at least 0",
                           own[i].key, own[i].lr);
    FC_TRY(check_rule(r, err));
    if (r->net.mode == FC_TRAIN_LORA && r->cfg->train.lora_rank > s->width)
        return fc_fail(err, FC_EUSAGE,
                       "train.lora_rank: %d, expected at most the width of the network, %d",
                       r->cfg->train.lora_rank, s->width);
    return FC_OK;
}

/* Names the run by what it depends on: the options, and the content of weights, data, partition and
 * trace wherever they lie. */
static fc_status run_hash(fc_run *r, fc_error *err)
{
    char text[320], hex[65];
    FC_TRY(fc_config_hash(r->hash, r->cfg, err));
    snprintf(text, sizeof text, "%s %s %s %s %s%s%s", r->hash, r->weights_sha256, r->data.sha256,
             r->partition.sha256, r->devices.sha256, *r->source_hash ? " " : "", r->source_hash);
    fc_sha256(hex, text, strlen(text));
    snprintf(r->hash, sizeof r->hash, "%.8s", hex);
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

static fc_status open_parts(fc_run *r, fc_error *err)
{
    fc_config *c = r->cfg;
    r->method = c->method;
    r->threads = fc_threads_open(c, &r->progress);
    FC_TRY(fc_engine_open(&r->net.engine, c, &r->progress, err));
    FC_TRY(fc_backbone_open(r, err));
    r->net.mode = r->method->mode;
    r->net.rank = r->net.mode == FC_TRAIN_LORA ? c->train.lora_rank : 0;
    FC_TRY(check_options(r, err));
    FC_TRY(fc_data_open(&r->data, c, err));
    r->max_side = fc_dataset_side(&r->data);
    FC_TRY(fc_tasks_open(&r->tasks, &r->data, c, &r->arena, err));
    FC_TRY(fc_partition_open(&r->partition, &r->data, &r->tasks, c, &r->arena, err));
    FC_TRY(fc_devices_open(&r->devices, c, r->partition.clients, &r->arena, err));
    r->net.classes = r->data.classes;
    r->net.transform = fc_transform_of(c, r->net.shape.image);
    r->net.train = &r->data.train;
    r->net.logit = r->tasks.logit;
    FC_TRY(server_init(r, err));
    FC_TRY(fc_task_source_open(r, err));
    FC_TRY(run_hash(r, err));
    FC_TRY(packed_init(r, err));
    return crew_init(r, err);
}

fc_status fc_run_open(fc_run *r, fc_config *cfg, fc_console console, fc_error *err)
{
    *r = (fc_run){.cfg = cfg};
    r->ranks = fc_ranks_world();
    fc_progress_init(&r->progress, r->ranks.me == 0 ? console : (fc_console){0}, 0, 0);
    fc_status s = fc_spread_meet(r, open_parts(r, err), err);
    if (s != FC_OK)
        fc_run_close(r);
    return s;
}

void fc_run_close(fc_run *r)
{
    fc_crew_free(&r->crew);
    fc_packed_free(&r->packed_train);
    fc_packed_free(&r->packed_scratch);
    fc_runlog_close(&r->log);
    fc_dataset_free(&r->data);
    fc_arena_free(&r->arena);
    *r = (fc_run){0};
}
