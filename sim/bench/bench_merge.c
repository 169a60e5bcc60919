/* fcil bench merge: what the server does in one round with the updates of its clients, and rules
 * over task vectors on one weight. */
#include "sim/bench/bench.h"

#include "core/base/rng.h"
#include "core/base/threads.h"
#include "core/merge/merge.h"
#include "sim/io/progress.h"

#include <string.h>

/* Update k begins k * SHIFT numbers behind the start of one array of random numbers: as many
 * different updates as are wanted, in little more memory than one takes. */
enum { SHIFT = 1009 };

typedef struct merge_bench {
    const fc_merge_method *rule;
    void *options; /* of the rule: the defaults */
    fc_space space;
    fc_arena arena;
    fc_status status;
    fc_error *err;
    int calls;
    /* a round */
    fc_merge_job job;
    fc_params base, sent, out; /* sent: of the first client */
    size_t shift;              /* 0: all clients send the same */
    fc_grams grams;
    /* one weight */
    fc_tv_shape weight;
    fc_tv_set set;
    double *merged;
} merge_bench;

static void merge_round(void *ctx)
{
    merge_bench *b = ctx;
    fc_mark mark = fc_arena_mark(&b->arena);
    void *state;
    b->calls++;
    if (b->status == FC_OK)
        b->status = fc_merge_begin(&state, b->rule, &b->job, &b->arena, b->err);
    for (int k = 0; k < b->job.clients && b->status == FC_OK; k++) {
        fc_params sent = b->sent;
        sent.p += (size_t)k * b->shift;
        const fc_update u = {
            .client = k, .n_samples = 1, .params = &sent, .grams = b->grams.n ? &b->grams : NULL};
        b->status = fc_merge_fold(state, b->rule, &b->job, &u, b->err);
    }
    if (b->status == FC_OK)
        b->status = fc_merge_finish(state, b->rule, &b->job, &b->out, b->err);
    fc_arena_release(&b->arena, mark);
}

static void merge_one_weight(void *ctx)
{
    merge_bench *b = ctx;
    b->calls++;
    if (b->status == FC_OK)
        b->status = fc_space_combine(&b->merged, &b->set, b->rule->combine, b->options, &b->space,
                                     &b->arena, b->err);
}

static fc_status find_bench_rule(merge_bench *b, const char *name, int space, bool product,
                                 fc_error *err)
{
    fc_error why = {0};
    b->rule = fc_merge_find(name);
    if (!b->rule)
        return fc_fail(err, FC_EUSAGE,
                       "bench merge: --rule: found '%.60s', expected one of fcil list merges",
                       name);
    b->space = (fc_space){.kind = (fc_space_kind)space, .knots_eps = 1e-5};
    if (fc_merge_check(b->rule, &b->space, product, &why) != FC_OK)
        return fc_fail(err, why.code, "bench merge: --rule: %s", why.msg);
    b->options = fc_arena_alloc(&b->arena, 1, b->rule->options_size, err);
    if (!b->options)
        return FC_EFAIL;
    return fc_opt_defaults(b->options, b->rule->options, b->rule->n_options, &b->arena, err);
}

/* Grams of all slots and the head: the diagonals, or symmetric matrices that have an inverse. */
static fc_status make_grams(merge_bench *b, const fc_vit_shape *s, bool full, fc_error *err)
{
    int n = fc_vit_slots(s) + 1;
    int *dim = fc_arena_alloc(&b->arena, (size_t)n, sizeof *dim, err);
    double *alpha = fc_arena_alloc(&b->arena, (size_t)n, sizeof *alpha, err);
    if (!dim || !alpha)
        return FC_EFAIL;
    for (int i = 0, out; i < n; i++) {
        dim[i] = s->width;
        if (i < n - 1)
            fc_slot_dims(s, i, &out, &dim[i]);
        alpha[i] = full;
    }
    FC_TRY(fc_grams_init(&b->grams, n, dim, alpha, &b->arena, err));
    for (int i = 0; i < n; i++) {
        size_t d = (size_t)dim[i];
        double *g = b->grams.g + b->grams.slot[i].offset;
        for (size_t j = 0; j < (full ? d * d : d); j++)
            g[j] = full && j % (d + 1) ? 1 : (double)d;
    }
    return FC_OK;
}

/* trained: A or B, which all clients send alike, or P: both, of which the product is merged. */
static fc_status open_round(merge_bench *b, const fc_bench_options *o, int shape, char trained,
                            bool full, fc_error *err)
{
    const fc_vit_shape *s = &fc_bench_shape[shape];
    const unsigned A = 1u << FC_GROUP_A, B = 1u << FC_GROUP_B;
    fc_params layout;
    FC_TRY(fc_train_layout(&layout, s, FC_TRAIN_LORA, o->rank, FC_BENCH_CLASSES, &b->arena, err));
    FC_TRY(fc_params_alloc(&b->base, &layout, &b->arena, err));
    FC_TRY(fc_params_alloc(&b->out, &layout, &b->arena, err));
    fc_head_init(&b->base, 0);
    fc_lora_init(&b->base, s, 0, 0);
    int *slot_A = fc_arena_alloc(&b->arena, (size_t)fc_vit_slots(s), sizeof *slot_A, err);
    int *slot_B = fc_arena_alloc(&b->arena, (size_t)fc_vit_slots(s), sizeof *slot_B, err);
    if (!slot_A || !slot_B)
        return FC_EFAIL;
    for (int i = 0; i < fc_vit_slots(s); i++) {
        slot_A[i] = fc_train_A(i);
        slot_B[i] = fc_train_B(s, i);
    }
    b->job = (fc_merge_job){.base = &b->base,
                            .groups = 1u << FC_GROUP_HEAD,
                            .slots = fc_vit_slots(s),
                            .slot_A = slot_A,
                            .slot_B = slot_B,
                            .head_W = fc_train_head(&b->base),
                            .weighted = true,
                            .options = b->options,
                            .clients = o->updates,
                            .space = b->space,
                            .product = trained == 'P'};
    b->job.groups |= trained == 'P' ? A | B : trained == 'A' ? A : B;
    if (b->rule->needs & FC_MERGE_NEEDS_GRAMS) {
        FC_TRY(make_grams(b, s, full, err));
        b->job.shape = &b->grams;
    }
    b->sent = b->base;
    if (trained != 'P')
        return FC_OK;
    fc_rng g = fc_rng_at((fc_key){.stream = FC_STREAM_TEST});
    size_t n = layout.n + SHIFT * (size_t)o->updates;
    b->shift = SHIFT;
    b->sent.p = fc_arena_alloc(&b->arena, n, sizeof *b->sent.p, err);
    for (size_t i = 0; b->sent.p && i < n; i++)
        b->sent.p[i] = (fc_real)fc_rng_normal(&g);
    return b->sent.p ? FC_OK : FC_EFAIL;
}

/* Updates of one weight, in factors or (o->dense) multiplied. */
static fc_status open_weight(merge_bench *b, const fc_bench_options *o, fc_error *err)
{
    size_t n = (size_t)o->updates, r = (size_t)o->rank;
    size_t n_B = (size_t)o->rows * r, n_A = r * (size_t)o->cols;
    b->weight = (fc_tv_shape){"weight", o->rows, o->cols, true};
    fc_rng g = fc_rng_at((fc_key){.stream = FC_STREAM_TEST});
    fc_tv *tv = fc_arena_alloc(&b->arena, n, sizeof *tv, err);
    double *x = fc_arena_alloc(&b->arena, n_B + n_A + SHIFT * n, sizeof *x, err);
    b->merged = fc_arena_alloc(&b->arena, fc_tv_size(&b->weight), sizeof *b->merged, err);
    if (!tv || !x || !b->merged)
        return FC_EFAIL;
    for (size_t i = 0; i < n_B + n_A + SHIFT * n; i++)
        x[i] = fc_rng_normal(&g);
    for (size_t k = 0; k < n; k++) {
        tv[k] = (fc_tv){.rank = o->rank, .B = x + SHIFT * k, .A = x + SHIFT * k + n_B};
        if (!o->dense)
            continue;
        double *dense = fc_arena_alloc(&b->arena, fc_tv_size(&b->weight), sizeof *dense, err);
        if (!dense)
            return FC_EFAIL;
        fc_tv_dense(dense, &tv[k], &b->weight);
        tv[k] = (fc_tv){.dense = dense};
    }
    b->set = (fc_tv_set){.n = o->updates, .tensors = 1, .shape = &b->weight, .tv = tv};
    return FC_OK;
}

/* Adds the figures to the line and prints it. Memory is what the merge takes beyond its input and
 * result, as far as it raises the peak of the process. */
static fc_status time_merge(json_t *line, merge_bench *b, void (*work)(void *ctx), double seconds,
                            fc_error *err)
{
    double peak = fc_rss_peak(), cpu = fc_cpu();
    fc_spread t = fc_bench_time(work, b, seconds);
    fc_bench_add(line, "seconds", t);
    json_object_set_new(line, "cpu_s", json_real((fc_cpu() - cpu) / b->calls));
    json_object_set_new(line, "scratch_mib", json_real(fc_rss_peak() - peak));
    if (b->status == FC_OK)
        return fc_bench_print(line, err);
    json_decref(line);
    return b->status;
}

static json_t *describe_merge(const merge_bench *b, const fc_bench_options *o)
{
    return json_pack("{s:s, s:s, s:o, s:i, s:i, s:i}", "bench", "merge", "rule", b->rule->name,
                     "space", fc_bench_word(FC_SPACE_CHOICES, (int)b->space.kind), "rank", o->rank,
                     "clients", o->updates, "threads", fc_threads());
}

static fc_status bench_round(const fc_bench_options *o, int shape, const char *rule, char trained,
                             bool full, fc_error *err)
{
    merge_bench b = {.err = err};
    fc_status s = find_bench_rule(&b, rule, o->space, trained == 'P', err);
    if (s == FC_OK)
        s = open_round(&b, o, shape, trained, full, err);
    if (s == FC_OK) {
        json_t *line = describe_merge(&b, o);
        const char *name = trained == 'P' ? "AB" : trained == 'A' ? "A" : "B";
        const char *grams = !b.grams.n ? "none" : full ? "full" : "diagonal";
        json_object_set_new(line, "shape", fc_bench_shape_name(shape));
        json_object_set_new(line, "trained", json_string(name));
        json_object_set_new(line, "grams", json_string(grams));
        s = time_merge(line, &b, merge_round, o->seconds, err);
    }
    fc_arena_free(&b.arena);
    return s;
}

static fc_status bench_weight(const fc_bench_options *o, const char *rule, fc_error *err)
{
    merge_bench b = {.err = err};
    fc_status s = find_bench_rule(&b, rule, o->space, true, err);
    if (s == FC_OK)
        s = open_weight(&b, o, err);
    if (s == FC_OK) {
        json_t *line = describe_merge(&b, o);
        json_object_set_new(line, "rows", json_integer(o->rows));
        json_object_set_new(line, "cols", json_integer(o->cols));
        json_object_set_new(line, "dense", json_boolean(o->dense));
        s = time_merge(line, &b, merge_one_weight, o->seconds, err);
    }
    fc_arena_free(&b.arena);
    return s;
}

fc_status fc_bench_merge(const fc_bench_options *o, fc_error *err)
{
    bool weight = o->rows > 0, all = strcmp(o->rule, "auto") == 0;
    if (all && (weight || o->cols || o->dense || o->space != FC_SPACE_FULL))
        return fc_fail(err, FC_EUSAGE,
                       "bench merge: --space, --rows, --cols and --dense need --rule");
    if (weight != (o->cols > 0) || (o->dense && !weight))
        return fc_fail(err, FC_EUSAGE,
                       "bench merge: --rows and --cols go together, and --dense needs them");
    fc_threads_init(o->threads ? o->threads : fc_threads_default(), NULL);
    if (weight)
        return bench_weight(o, o->rule, err);
    for (int i = 0; i < FC_BENCH_SHAPES; i++) {
        if (!fc_bench_wants(o, i))
            continue;
        if (!all) {
            FC_TRY(bench_round(o, i, o->rule, 'P', false, err));
            continue;
        }
        FC_TRY(bench_round(o, i, "average", 'B', false, err));
        for (int full = 0; full < 2; full++)
            for (const char *c = "BA"; *c; c++)
                FC_TRY(bench_round(o, i, "lorm", *c, full, err));
    }
    return FC_OK;
}
