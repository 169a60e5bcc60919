#include "sim/train/vit_merge.h"

#include "sim/train/fit_fisher.h"

#include <string.h>

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
    if (!fc_vit_rule_find(rule->name))
        return fc_merge_check(rule, space, true, err);
    FC_TRY(fc_space_check(space, err));
    return full ? FC_OK : fc_fail(err, FC_EUSAGE, "%s works in full space only", rule->name);
}

fc_acts_size fc_vit_merge_acts(const fc_merge_method *rule, const void *options, int n)
{
    const fc_vit_rule *r = fc_vit_rule_find(rule->name);
    return r && r->acts ? r->acts(options, n) : (fc_acts_size){0};
}

bool fc_vit_merge_needs_grams(const fc_merge_method *rule)
{
    const fc_vit_rule *r = fc_vit_rule_find(rule->name);
    return (rule->needs & FC_MERGE_NEEDS_GRAMS) != 0 || (r && r->grams);
}

double fc_vit_merge_flop(const fc_merge_method *rule, const void *options, const fc_net *net, int n,
                         int samples, int classes)
{
    const fc_vit_rule *r = fc_vit_rule_find(rule->name);
    const fc_vit_shape *s = &net->shape;
    double images = n;
    images *= samples;
    if (r && r->flop)
        return r->flop(options, net, n, samples);
    if (rule->needs & FC_MERGE_NEEDS_FISHER)
        return fc_fisher_flop(FC_FISHER_EXPECTED, s, 0, net->classes, classes) * images;
    return rule->needs & FC_MERGE_NEEDS_GRAMS
               ? fc_vit_flop(s, 0, net->classes, FC_TRAIN_FULL, 0, false) * images
               : 0;
}

double fc_vit_merge_bytes(const fc_merge_method *rule, const fc_net *net, const fc_params *w0,
                          size_t numbers, int n, int threads)
{
    const fc_vit_shape *s = &net->shape;
    double one = sizeof(double) * (double)numbers, grams = 0;
    double model = (double)w0->n + net->classes * (s->width + 1.0), statistics = 0;
    for (int slot = 0, d_out, d_in; slot < fc_vit_slots(s); slot++) {
        fc_slot_dims(s, slot, &d_out, &d_in);
        grams += (double)d_in * d_in;
    }
    if (rule->needs & FC_MERGE_NEEDS_GRAMS)
        statistics = n * sizeof(double) * grams;
    else if (fc_vit_merge_needs_grams(rule)) /* of one block at a time */
        statistics = n * sizeof(double) * grams / s->depth;
    if (rule->needs & FC_MERGE_NEEDS_FISHER)
        statistics = (n * sizeof(double) + threads * sizeof(fc_real)) * model;
    if (statistics > 0) /* of the model of each update in turn, and packed */
        statistics += sizeof(fc_real) * model + (double)fc_packed_bytes(s, true, &net->engine);
    return statistics + (1 + threads) * one;
}

bool fc_vit_merge_per_task(const fc_vit_merged *m)
{
    return m->rule && m->rule->expert;
}

fc_status fc_vit_merge_expert(fc_real *w, const fc_vit_merged *m, const fc_params *w0, int s,
                              fc_error *err)
{
    return m->rule->expert(w, m, w0, s, err);
}

size_t fc_vit_merge_extra(const fc_vit_merged *m, const fc_vit_shape *shape)
{
    return m->rule && m->rule->extra ? m->rule->extra(m, shape) : 0;
}

/* --- statistics from images ---------------------------------------------------------------------
 */

/* What of the set is made here. */
typedef struct statistics {
    const double **gram, **fisher; /* (n, tensors), NULL: not wanted */
    double *rows;                  /* (n) */
    fc_real *w;                    /* one model */
    fc_packed packed;              /* of it */
    fc_params layout;              /* of Fisher information */
} statistics;

static fc_status statistics_of(statistics *s, const fc_vit_making *k, int i, fc_error *err)
{
    const fc_vit_merge_job *j = k->job;
    const fc_vit_shape *shape = &j->net->shape;
    fc_model m = fc_vit_rule_model(j, s->w);
    m.packed = &s->packed;
    memcpy(s->w, j->w0->p, j->w0->n * sizeof *s->w);
    FC_TRY(fc_vit_rule_add_update(s->w, j->w0, j->in, j->tensor, i, err));
    fc_packed_fill(&s->packed, shape, s->w);
    if (s->gram) { /* G_i = X^T X of each slot, X (n tokens, d_in) its inputs under w0 + tau_i */
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
    /* F_i = mean_x sum_c p_c (d log p_c / d theta)^2 under w0 + tau_i, over the task's own logits
     */
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
static fc_status add_statistics(fc_tv_set *set, statistics *s, const fc_vit_making *k,
                                fc_error *err)
{
    const fc_vit_merge_job *j = k->job;
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

/* --- the merge ----------------------------------------------------------------------------------
 */

/* By the rule's form over task vectors: tau = combine(tau_1 .. tau_n), w = w0 + tau. */
static fc_status make_combined(const fc_vit_making *k, fc_error *err)
{
    const fc_vit_merge_job *j = k->job;
    statistics s = {0};
    fc_tv_set set = *j->in;
    double **tau = fc_vit_rule_tau(k, err);
    fc_status status = tau ? add_statistics(&set, &s, k, err) : FC_EFAIL;
    fc_packed_free(&s.packed);
    FC_TRY(status);
    FC_TRY(fc_space_combine(tau, &set, j->rule->combine, j->options, &j->space, k->arena, err));
    return fc_vit_rule_put(k, tau, err);
}

fc_status fc_vit_merge_make(fc_vit_merged *out, const fc_vit_merge_job *job, fc_arena *arena,
                            fc_error *err)
{
    const fc_vit_making k = {out, job, arena};
    out->rule = fc_vit_rule_find(job->rule->name);
    memcpy(out->w, job->w0->p, job->w0->n * sizeof *out->w);
    return out->rule ? out->rule->make(&k, err) : make_combined(&k, err);
}
