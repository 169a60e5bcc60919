#include "sim/run/setup.h"

#include "core/base/file.h"
#include "sim/config/make.h"
#include "sim/fed/fresh.h"
#include "sim/fed/pieces.h"
#include "sim/fed/task_merge.h"
#include "sim/run/backbone.h"

#include "version.h"

#include <cblas.h>

#include <stdio.h>
#include <string.h>

/* Which tensors of a trained block belong to which slot. */
static fc_status slots_init(fc_setup *s, fc_error *err)
{
    const fc_vit_shape *shape = &s->net.shape;
    s->slots = s->net.mode == FC_TRAIN_HEAD ? 0 : fc_vit_slots(shape);
    int **index[] = {&s->slot_A, &s->slot_B, &s->slot_W};
    for (int k = 0; k < 3; k++) {
        bool used = s->slots && (k == 2) == (s->net.mode == FC_TRAIN_FULL);
        if (!used)
            continue;
        *index[k] = fc_arena_alloc(&s->arena, (size_t)s->slots, sizeof **index[k], err);
        if (!*index[k])
            return FC_EFAIL;
        for (int i = 0; i < s->slots; i++)
            (*index[k])[i] = k == 0   ? fc_train_A(i)
                             : k == 1 ? fc_train_B(shape, i)
                                      : fc_slot_tensor(i);
    }
    s->slot_offset = fc_arena_alloc(&s->arena, (size_t)s->slots, sizeof *s->slot_offset, err);
    for (int i = 0; s->slot_offset && i < s->slots; i++)
        s->slot_offset[i] = fc_vit_offset(shape, fc_slot_tensor(i));
    return s->slot_offset ? FC_OK : FC_EFAIL;
}

static fc_status grams_init(fc_setup *s, fc_error *err)
{
    if (s->method->grams)
        s->grams = s->method->grams(&s->about);
    if (s->grams.passes == 0) {
        if (s->cfg->rule->needs & FC_MERGE_NEEDS_GRAMS)
            return fc_fail(err, FC_EUSAGE,
                           "merge.rule: %s needs Gram matrices, which method %s does not send",
                           s->cfg->rule->name, s->method->name);
        return FC_OK;
    }
    return fc_vit_grams(&s->gram_shape, &s->net.shape, s->grams.alpha_slots, s->grams.alpha_head,
                        &s->arena, err);
}

/* Can the rule merge what this method trains? */
static fc_status check_rule(const fc_setup *s, fc_error *err)
{
    const fc_merge_method *rule = s->cfg->rule;
    const fc_method *m = s->method;
    const fc_space space = {.kind = (fc_space_kind)s->cfg->merge.space,
                            .isotropise = s->cfg->merge.isotropise};
    fc_error why = {0};
    if (!s->trained.products && (!rule->begin || space.kind != FC_SPACE_FULL) &&
        s->trained.mode != FC_TRAIN_FULL)
        return fc_fail(err, FC_EUSAGE,
                       "merge.%s merges LoRA updates B A, which method %s does not: method "
                       "lora_merge does",
                       space.kind == FC_SPACE_FULL ? rule->name : "space", m->name);
    if (s->trained.mode == FC_TRAIN_FULL && space.kind != FC_SPACE_FULL)
        return fc_fail(err, FC_EUSAGE,
                       "merge.space: it is made of LoRA factors, and method %s trains full weights",
                       m->name);
    if (fc_merge_check(rule, &space, s->trained.products && !rule->factors, &why) != FC_OK)
        return fc_fail(err, FC_EUSAGE, "merge.rule: %s", why.msg);
    return FC_OK;
}

static fc_status check_options(const fc_setup *s, fc_error *err)
{
    const fc_vit_shape *shape = &s->net.shape;
    const struct {
        const char *key;
        double lr;
    } own[] = {{"lr_A", s->cfg->train.lr_A},
               {"lr_B", s->cfg->train.lr_B},
               {"lr_backbone", s->cfg->train.lr_backbone}};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (own[i].lr < 0 && own[i].lr > -1)
            return fc_fail(err, FC_EUSAGE, "train.%s: %g, expected -1 (= train.lr) or at least 0",
                           own[i].key, own[i].lr);
    FC_TRY(check_rule(s, err));
    if (s->net.mode == FC_TRAIN_LORA && s->cfg->train.lora_rank > shape->width)
        return fc_fail(err, FC_EUSAGE,
                       "train.lora_rank: %d, expected at most the width of the network, %d",
                       s->cfg->train.lora_rank, shape->width);
    return FC_OK;
}

fc_status fc_setup_name(fc_setup *s, fc_error *err)
{
    char text[320], hex[65];
    FC_TRY(fc_config_hash(s->hash, s->cfg, err));
    snprintf(text, sizeof text, "%s %s %s %s %s%s%s", s->hash, s->weights_sha256, s->data.sha256,
             s->partition.sha256, s->devices.sha256, *s->source_hash ? " " : "", s->source_hash);
    fc_sha256(hex, text, strlen(text));
    snprintf(s->hash, sizeof s->hash, "%.8s", hex);
    return FC_OK;
}

/* What is trained and what of it is sent, as the method and the rule want it. */
static fc_status describe_run(fc_setup *s, fc_error *err)
{
    const fc_config *c = s->cfg;
    const fc_net *n = &s->net;
    FC_TRY(fc_train_layout(&s->layout, &n->shape, n->mode, n->rank, n->classes, &s->arena, err));
    s->about.rank = n->rank;
    s->about.classes = n->classes;
    s->about.tasks = s->tasks.n;
    s->about.first = s->tasks.first;
    s->about.clients = s->partition.clients;
    FC_TRY(slots_init(s, err));
    FC_TRY(grams_init(s, err));
    FC_TRY(fc_pieces_init(s, err));
    s->task_grams = s->grams.task_end && s->gram_shape.n > 0;
    s->keeps_rows = c->task_rule && n->mode != FC_TRAIN_HEAD;
    if (c->rule->needs & FC_MERGE_NEEDS_FISHER)
        FC_TRY(fc_fisher_layout(&s->fisher, &n->shape, n->mode, n->classes, &s->arena, err));
    return fc_task_merge_check(s, err);
}

/* The options, as methods see them. */
static void set_about(fc_setup *s)
{
    const fc_config *c = s->cfg;
    s->about = (fc_method_setup){.options = c->method_options,
                                 .rule = c->rule,
                                 .rule_options = c->rule_options,
                                 .method = c->method->name,
                                 .shape = &s->net.shape,
                                 .w0 = &s->w0,
                                 .layout = &s->layout,
                                 .rounds = c->fed.rounds,
                                 .weighted = c->merge.weighted,
                                 .optim = fc_optim_of(c, (1u << FC_NGROUP) - 1),
                                 .schedule = (fc_schedule)c->train.schedule,
                                 .warmup = c->train.warmup,
                                 .seed = fc_seed(c, c->seed.train)};
}

static fc_status open_parts(fc_setup *s, fc_ranks *ranks, fc_progress *progress, fc_error *err)
{
    fc_config *c = s->cfg;
    s->method = c->method;
    s->threads = fc_threads_open(c, progress);
    FC_TRY(fc_engine_open(&s->net.engine, c, progress, err));
    FC_TRY(fc_backbone_open(s, ranks, progress, err));
    set_about(s);
    s->trained = s->method->trained ? s->method->trained(&s->about) : s->method->trains;
    s->net.mode = s->about.mode = s->trained.mode;
    s->about.folds = s->trained.folds;
    s->net.rank = s->net.mode == FC_TRAIN_LORA ? c->train.lora_rank : 0;
    FC_TRY(check_options(s, err));
    FC_TRY(fc_data_open(&s->data, c, err));
    s->max_side = fc_dataset_side(&s->data);
    FC_TRY(fc_tasks_open(&s->tasks, &s->data, c, &s->arena, err));
    FC_TRY(fc_partition_open(&s->partition, &s->data, &s->tasks, c, &s->arena, err));
    FC_TRY(fc_devices_open(&s->devices, c, s->partition.clients, &s->arena, err));
    const fc_transform transform = fc_transform_of(c, s->net.shape.image);
    fc_net_sees(&s->net, &s->data.train, &transform, s->tasks.logit, s->data.classes);
    FC_TRY(describe_run(s, err));
    return fc_setup_name(s, err);
}

fc_status fc_setup_open(fc_setup *s, fc_config *cfg, fc_ranks *ranks, fc_progress *progress,
                        fc_error *err)
{
    *s = (fc_setup){.cfg = cfg};
    fc_status status = open_parts(s, ranks, progress, err);
    if (status != FC_OK)
        fc_setup_close(s);
    return status;
}

void fc_setup_close(fc_setup *s)
{
    fc_dataset_free(&s->data);
    fc_arena_free(&s->arena);
    *s = (fc_setup){0};
}

static void poll_ranks(void *ranks)
{
    fc_ranks_poll(ranks);
}

/* The ranks meet: they must have the same run, program and kernels. s: how this one has fared. */
static fc_status meet(fc_run *r, fc_setup *setup, fc_status s, fc_error *err)
{
    fc_ranks *ranks = &r->scratch.ranks;
    char mine[256] = "";
    if (s == FC_OK)
        snprintf(mine, sizeof mine, "run %s, fcil %.60s, kernels %s, BLAS core %.60s", setup->hash,
                 FC_COMMIT, setup->net.engine.isa->name, openblas_get_corename());
    FC_TRY(fc_ranks_meet(ranks, s, mine, setup->threads, &r->scratch.arena, err));
    if (ranks->n > 1) {
        r->scratch.crew.pool.poll = poll_ranks;
        r->scratch.crew.pool.poll_ctx = ranks;
    }
    return FC_OK;
}

fc_status fc_run_open(fc_run *r, fc_setup *setup, fc_config *cfg, fc_console console,
                      fc_setup_look *look, fc_error *err)
{
    *r = (fc_run){0};
    *setup = (fc_setup){0};
    fc_scratch *scratch = &r->scratch;
    scratch->ranks = fc_ranks_world();
    fc_progress_init(&scratch->progress, scratch->ranks.me == 0 ? console : (fc_console){0}, 0, 0);
    fc_status s = fc_setup_open(setup, cfg, &scratch->ranks, &scratch->progress, err);
    if (s == FC_OK && look)
        s = look(setup, console, err);
    if (s == FC_OK)
        s = fc_run_init(r, setup, err);
    s = meet(r, setup, s, err);
    if (s != FC_OK)
        fc_run_close(r, setup);
    return s;
}

void fc_run_close(fc_run *r, fc_setup *setup)
{
    fc_run_free(r);
    fc_setup_close(setup);
}
