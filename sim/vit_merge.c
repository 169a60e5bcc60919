#include "sim/vit_merge.h"

#include "core/merge/rule_regmean.h"
#include "sim/adamerging.h"
#include "sim/fit_fisher.h"
#include "sim/regmean_pp.h"
#include "sim/wemoe_gates.h"

#include <math.h>
#include <string.h>

typedef struct maker {
    fc_vit_merged *out;
    const fc_vit_merge_job *j;
    fc_arena *arena;
} maker;

/* A rule that is more than a function of task vectors. */
typedef fc_status make_rule(const maker *k, fc_error *err);
static make_rule make_smile, make_emr, make_individual, make_wemoe, make_adamerging,
    make_regmean_pp;

static const struct {
    const char *name;
    make_rule *make;
} special[] = {{"smile", make_smile},           {"emr", make_emr},
               {"individual", make_individual}, {"wemoe", make_wemoe},
               {"adamerging", make_adamerging}, {"regmean_pp", make_regmean_pp}};

static make_rule *maker_of(const fc_merge_method *rule)
{
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        if (strcmp(special[i].name, rule->name) == 0)
            return special[i].make;
    return NULL;
}

fc_status fc_vit_merge_check(const fc_merge_method *rule, const fc_space *space, bool factors,
                             bool images, fc_error *err)
{
    bool full = space->kind == FC_SPACE_FULL;
    const unsigned from_images =
        FC_MERGE_NEEDS_IMAGES | FC_MERGE_NEEDS_GRAMS | FC_MERGE_NEEDS_FISHER;
    if (!full && !factors)
        return fc_fail(err, FC_EUSAGE,
                       "a space is made of LoRA factors, and these are full weights");
    if (rule->factors && !factors)
        return fc_fail(err, FC_EUSAGE, "%s merges LoRA factors, and these are full weights",
                       rule->name);
    if (rule->needs & from_images && !images)
        return fc_fail(err, FC_EUSAGE, "%s needs images of each task", rule->name);
    if (!maker_of(rule))
        return fc_merge_check(rule, space, true, err);
    FC_TRY(fc_space_check(space, err));
    return full ? FC_OK : fc_fail(err, FC_EUSAGE, "%s works in full space only", rule->name);
}

fc_acts_size fc_vit_merge_acts(const fc_merge_method *rule, const void *options, int n)
{
    if (maker_of(rule) == make_smile) {
        const fc_smile_options *o = options;
        return (fc_acts_size){.experts = n, .gate_k = o->gate_k};
    }
    if (maker_of(rule) == make_wemoe) {
        const fc_wemoe_training *o = options;
        return (fc_acts_size){.experts = n, .gates = true, .whole = o->options.batch_reduce};
    }
    return (fc_acts_size){0};
}

bool fc_vit_merge_needs_grams(const fc_merge_method *rule)
{
    return (rule->needs & FC_MERGE_NEEDS_GRAMS) != 0 || maker_of(rule) == make_regmean_pp;
}

double fc_vit_merge_flop(const fc_merge_method *rule, const void *options, const fc_net *net, int n,
                         int samples, int classes)
{
    const fc_vit_shape *s = &net->shape;
    double forward = fc_vit_flop(s, 0, net->classes, FC_TRAIN_FULL, 0, false);
    double both = fc_vit_flop(s, 0, net->classes, FC_TRAIN_FULL, ~0u, true), images = n;
    images *= samples;
    if (maker_of(rule) == make_adamerging) {
        const fc_ada_training *o = options;
        return both * n * o->steps * o->batch;
    }
    if (maker_of(rule) == make_wemoe) { /* gates see all layers, whose weights have no gradient */
        const fc_wemoe_training *o = options;
        return 2 * forward * n * o->steps * o->batch;
    }
    if (maker_of(rule) == make_regmean_pp)
        return forward * s->depth * images;
    if (rule->needs & FC_MERGE_NEEDS_FISHER)
        return fc_fisher_flop(FC_FISHER_EXPECTED, s, 0, net->classes, classes) * images;
    return rule->needs & FC_MERGE_NEEDS_GRAMS ? forward * images : 0;
}

/* --- statistics from images ---------------------------------------------------------------------
 */

/* w += update i, rounded once where w is the base. */
static fc_status add_update(fc_real *w, const fc_params *w0, const fc_tv_set *in, const int *tensor,
                            int i, fc_error *err)
{
    size_t most = 0;
    fc_arena arena = {0};
    for (int t = 0; t < in->tensors; t++)
        most = fc_tv_size(&in->shape[t]) > most ? fc_tv_size(&in->shape[t]) : most;
    double *x = fc_arena_alloc(&arena, most, sizeof *x, err);
    for (int t = 0; x && t < in->tensors; t++) {
        fc_real *to = w + w0->spec[tensor[t]].offset;
        fc_tv_dense(x, fc_tv_at(in, i, t), &in->shape[t]);
        for (size_t e = 0; e < fc_tv_size(&in->shape[t]); e++)
            to[e] = (fc_real)(to[e] + x[e]);
    }
    fc_arena_free(&arena);
    return x ? FC_OK : FC_EFAIL;
}

/* What of the set is made here. */
typedef struct statistics {
    const double **gram, **fisher; /* (n, tensors), NULL: not wanted */
    double *rows;                  /* (n) */
    fc_real *w;                    /* one model */
    fc_packed packed;              /* of it */
    fc_params layout;              /* of Fisher information */
} statistics;

static fc_status statistics_of(statistics *s, const maker *k, int i, fc_error *err)
{
    const fc_vit_merge_job *j = k->j;
    const fc_vit_shape *shape = &j->net->shape;
    fc_model m = {.shape = shape,
                  .classes = j->net->classes,
                  .w = s->w,
                  .scale = 1,
                  .head_w = j->head_w,
                  .head_b = j->head_b,
                  .packed = &s->packed};
    memcpy(s->w, j->w0->p, j->w0->n * sizeof *s->w);
    FC_TRY(add_update(s->w, j->w0, j->in, j->tensor, i, err));
    fc_packed_fill(&s->packed, shape, s->w);
    if (s->gram) {
        fc_grams all, slots;
        FC_TRY(fc_vit_grams(&all, shape, 1, 1, k->arena, err));
        slots = fc_grams_first(&all, fc_vit_slots(shape));
        const fc_gram_job g = {.net = j->net,
                               .crew = j->crew,
                               .m = &m,
                               .split = j->split,
                               .sample = j->task[i].sample,
                               .n = j->task[i].n,
                               .progress = j->progress};
        FC_TRY(fc_fit_grams_alone(&slots, &g, err));
        s->rows[i] = (double)j->task[i].n * fc_vit_tokens(shape);
        for (int slot = 0; slot < slots.n; slot++)
            for (int t = 0; t < j->in->tensors; t++)
                if (j->tensor[t] == fc_slot_tensor(slot))
                    s->gram[fc_tv_index(j->in, i, t)] = slots.g + slots.slot[slot].offset;
    }
    if (!s->fisher)
        return FC_OK;
    double *F = fc_arena_alloc(k->arena, s->layout.n, sizeof *F, err);
    const fc_fisher_job f = {.net = j->net,
                             .crew = j->crew,
                             .m = &m,
                             .kind = FC_FISHER_EXPECTED,
                             .lo = j->task[i].lo,
                             .hi = j->task[i].hi,
                             .split = j->split,
                             .sample = j->task[i].sample,
                             .n = j->task[i].n,
                             .progress = j->progress};
    if (!F)
        return FC_EFAIL;
    for (int t = 0; t < j->in->tensors; t++)
        s->fisher[fc_tv_index(j->in, i, t)] = F + s->layout.spec[j->tensor[t]].offset;
    return fc_fit_fisher_alone(F, &s->layout, &f, err);
}

/* The set with the statistics that the rule needs and it has not. */
static fc_status add_statistics(fc_tv_set *set, statistics *s, const maker *k, fc_error *err)
{
    const fc_vit_merge_job *j = k->j;
    const fc_vit_shape *shape = &j->net->shape;
    size_t n = (size_t)set->n, all = n * (size_t)set->tensors;
    bool gram = j->rule->needs & FC_MERGE_NEEDS_GRAMS && !set->gram;
    bool fisher = j->rule->needs & FC_MERGE_NEEDS_FISHER && !set->fisher;
    if ((!gram && !fisher) || !j->task)
        return FC_OK; /* the rule says what it lacks */
    s->gram = gram ? fc_arena_alloc(k->arena, all, sizeof *s->gram, err) : NULL;
    s->fisher = fisher ? fc_arena_alloc(k->arena, all, sizeof *s->fisher, err) : NULL;
    s->rows = fc_arena_alloc(k->arena, n, sizeof *s->rows, err);
    s->w = fc_arena_alloc(k->arena, j->w0->n, sizeof *s->w, err);
    if ((gram && !s->gram) || (fisher && !s->fisher) || !s->rows || !s->w)
        return FC_EFAIL;
    FC_TRY(fc_train_layout(&s->layout, shape, FC_TRAIN_FULL, 0, j->net->classes, k->arena, err));
    FC_TRY(fc_packed_new(&s->packed, shape, fisher, &j->net->engine, err));
    for (int i = 0; i < set->n; i++)
        FC_TRY(statistics_of(s, k, i, err));
    if (gram) {
        set->gram = s->gram;
        set->gram_rows = s->rows;
    }
    if (fisher)
        set->fisher = s->fisher;
    return FC_OK;
}

/* --- the rules ----------------------------------------------------------------------------------
 */

static double **new_task_vector(const maker *k, fc_error *err)
{
    const fc_tv_set *in = k->j->in;
    double **out = fc_arena_alloc(k->arena, (size_t)in->tensors, sizeof *out, err);
    for (int t = 0; out && t < in->tensors; t++) {
        out[t] = fc_arena_alloc(k->arena, fc_tv_size(&in->shape[t]), sizeof **out, err);
        if (!out[t])
            return NULL;
    }
    return out;
}

/* out->w = base + tau */
static fc_status put(const maker *k, double *const *tau, fc_error *err)
{
    const fc_vit_merge_job *j = k->j;
    k->out->tau = tau;
    for (int t = 0; t < j->in->tensors; t++) {
        const fc_spec *s = &j->w0->spec[j->tensor[t]];
        for (size_t e = 0; e < fc_tv_size(&j->in->shape[t]); e++) {
            fc_real *to = &k->out->w[s->offset + e];
            *to = (fc_real)(j->w0->p[s->offset + e] + tau[t][e]);
            if (!isfinite(*to))
                return fc_fail(err, FC_EFAIL,
                               "merge of %s: element %zu came out as %g, expected a finite number",
                               s->name, e, tau[t][e]);
        }
    }
    return FC_OK;
}

static fc_status make_combined(const maker *k, fc_error *err)
{
    const fc_vit_merge_job *j = k->j;
    statistics s = {0};
    fc_tv_set set = *j->in;
    double **tau = new_task_vector(k, err);
    fc_status status = tau ? add_statistics(&set, &s, k, err) : FC_EFAIL;
    fc_packed_free(&s.packed);
    FC_TRY(status);
    FC_TRY(fc_space_combine(tau, &set, j->rule->combine, j->options, &j->space, k->arena, err));
    return put(k, tau, err);
}

static fc_status make_smile(const maker *k, fc_error *err)
{
    const fc_vit_shape *shape = &k->j->net->shape;
    fc_smile *s = fc_arena_alloc(k->arena, (size_t)fc_vit_slots(shape), sizeof *s, err);
    if (!s)
        return FC_EFAIL;
    FC_TRY(fc_smile_backbone(s, k->out->w, shape, k->j->in, k->j->options, k->arena, err));
    k->out->smile = s;
    return FC_OK;
}

static fc_status make_emr(const maker *k, fc_error *err)
{
    fc_emr *e = fc_arena_alloc(k->arena, 1, sizeof *e, err);
    if (!e)
        return FC_EFAIL;
    FC_TRY(fc_emr_merge(e, k->j->in, k->arena, err));
    k->out->emr = e;
    return FC_OK;
}

static fc_status make_individual(const maker *k, fc_error *err)
{
    fc_tv_set *set = fc_arena_alloc(k->arena, 1, sizeof *set, err);
    FC_TRY(fc_tv_check(k->j->in, err));
    if (!set)
        return FC_EFAIL;
    *set = *k->j->in;
    k->out->of = set;
    k->out->tensor = k->j->tensor;
    return FC_OK;
}

fc_status fc_vit_merge_expert(fc_real *w, const fc_vit_merged *m, const fc_params *w0, int s,
                              fc_error *err)
{
    if (m->emr)
        return fc_emr_apply(w, w0, m->emr, s, err);
    return add_update(w, w0, m->of, m->tensor, s, err);
}

/* The training of the two that learn from images. */
static fc_entropy_job entropy_of(const maker *k, int steps, int batch)
{
    const fc_vit_merge_job *j = k->j;
    return (fc_entropy_job){.net = j->net,
                            .crew = j->crew,
                            .split = j->split,
                            .task = j->task,
                            .tasks = j->in->n,
                            .steps = steps,
                            .batch = batch,
                            .seed = j->seed,
                            .progress = j->progress,
                            .what = j->rule->name};
}

static fc_status make_wemoe(const maker *k, fc_error *err)
{
    const fc_vit_merge_job *j = k->j;
    const fc_wemoe_training *o = j->options;
    fc_wemoe *w = fc_arena_alloc(k->arena, 1, sizeof *w, err);
    if (!w)
        return FC_EFAIL;
    FC_TRY(fc_wemoe_init(w, k->out->w, &j->net->shape, j->in, &o->options, j->seed, k->arena, err));
    const fc_model m = {.shape = &j->net->shape,
                        .classes = j->net->classes,
                        .w = k->out->w,
                        .scale = 1,
                        .head_w = j->head_w,
                        .head_b = j->head_b};
    const fc_wemoe_gates_job gates = {
        .wemoe = w, .m = &m, .lr = o->lr, .entropy = entropy_of(k, o->steps, o->batch)};
    fc_entropy_result result;
    FC_TRY(fc_wemoe_gates_run(&result, &gates, err));
    k->out->wemoe = w;
    return FC_OK;
}

static fc_status make_adamerging(const maker *k, fc_error *err)
{
    const fc_vit_merge_job *j = k->j;
    const fc_ada_training *o = j->options;
    const fc_adamerging_job run = {.options = o->options,
                                   .w0 = j->w0,
                                   .in = j->in,
                                   .tensor = j->tensor,
                                   .head_w = j->head_w,
                                   .head_b = j->head_b,
                                   .entropy = entropy_of(k, o->steps, o->batch)};
    fc_adamerging a;
    fc_entropy_result result;
    double **tau = new_task_vector(k, err);
    if (!tau)
        return FC_EFAIL;
    FC_TRY(fc_adamerging_run(&a, tau, &result, &run, k->arena, err));
    return put(k, tau, err);
}

static fc_status make_regmean_pp(const maker *k, fc_error *err)
{
    const fc_vit_merge_job *j = k->j;
    double **tau = new_task_vector(k, err);
    if (!tau)
        return FC_EFAIL;
    const fc_regmean_pp_job run = {.net = j->net,
                                   .crew = j->crew,
                                   .split = j->split,
                                   .w0 = j->w0,
                                   .in = j->in,
                                   .tensor = j->tensor,
                                   .task = j->task,
                                   .off_diagonal =
                                       ((const fc_regmean_options *)j->options)->off_diagonal,
                                   .progress = j->progress};
    FC_TRY(fc_regmean_pp_run(tau, &run, err));
    return put(k, tau, err);
}

fc_status fc_vit_merge_make(fc_vit_merged *out, const fc_vit_merge_job *job, fc_arena *arena,
                            fc_error *err)
{
    const maker k = {out, job, arena};
    make_rule *make = maker_of(job->rule);
    memcpy(out->w, job->w0->p, job->w0->n * sizeof *out->w);
    return make ? make(&k, err) : make_combined(&k, err);
}
