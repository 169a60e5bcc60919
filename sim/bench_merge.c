/* fcil bench merge: what the server does in one round with the updates of ten clients. */
#include "sim/bench.h"

#include "core/merge/merge.h"
#include "core/threads.h"

enum { CLIENTS = 10 };

/* All clients send the same update, from the same memory. */
typedef struct server_round {
    const fc_merge_method *rule;
    fc_merge_job job;
    fc_params base, out;
    fc_update update;
    fc_grams grams;
    fc_arena arena;
    fc_status status;
    fc_error *err;
} server_round;

static void merge(void *ctx)
{
    server_round *r = ctx;
    fc_mark mark = fc_arena_mark(&r->arena);
    void *state;
    if (r->status == FC_OK)
        r->status = r->rule->begin(&state, &r->job, &r->arena, r->err);
    for (int k = 0; k < CLIENTS && r->status == FC_OK; k++) {
        r->update.client = k;
        r->status = r->rule->fold(state, &r->job, &r->update, r->err);
    }
    if (r->status == FC_OK)
        r->status = r->rule->finish(state, &r->job, &r->out, r->err);
    fc_arena_release(&r->arena, mark);
}

/* Grams of all slots and the head: the diagonals, or symmetric matrices that have an inverse. */
static fc_status make_grams(server_round *r, const fc_vit_shape *s, bool full, fc_error *err)
{
    int n = fc_vit_slots(s) + 1;
    int *dim = fc_arena_alloc(&r->arena, (size_t)n, sizeof *dim, err);
    double *alpha = fc_arena_alloc(&r->arena, (size_t)n, sizeof *alpha, err);
    if (!dim || !alpha)
        return FC_EFAIL;
    for (int i = 0, out; i < n; i++) {
        dim[i] = s->width;
        if (i < n - 1)
            fc_slot_dims(s, i, &out, &dim[i]);
        alpha[i] = full;
    }
    FC_TRY(fc_grams_init(&r->grams, n, dim, alpha, &r->arena, err));
    for (int i = 0; i < n; i++) {
        size_t d = (size_t)dim[i];
        double *g = r->grams.g + r->grams.slot[i].offset;
        for (size_t j = 0; j < (full ? d * d : d); j++)
            g[j] = full && j % (d + 1) ? 1 : (double)d;
    }
    return FC_OK;
}

static fc_status open_round(server_round *r, const fc_bench_options *o, int shape, const char *rule,
                            unsigned groups, bool full, fc_error *err)
{
    const fc_vit_shape *s = &fc_bench_shape[shape];
    fc_params layout;
    r->rule = fc_merge_find(rule);
    FC_TRY(fc_train_layout(&layout, s, FC_TRAIN_LORA, o->rank, FC_BENCH_CLASSES, &r->arena, err));
    FC_TRY(fc_params_alloc(&r->base, &layout, &r->arena, err));
    FC_TRY(fc_params_alloc(&r->out, &layout, &r->arena, err));
    fc_head_init(&r->base, 0);
    fc_lora_init(&r->base, s, 0, 0);
    r->job = (fc_merge_job){.base = &r->base,
                            .groups = groups | 1u << FC_GROUP_HEAD,
                            .slots = fc_vit_slots(s),
                            .head_W = fc_train_head(&r->base),
                            .weighted = true};
    r->update = (fc_update){.n_samples = 1, .params = &r->base};
    int *A = fc_arena_alloc(&r->arena, (size_t)r->job.slots, sizeof *A, err);
    int *B = fc_arena_alloc(&r->arena, (size_t)r->job.slots, sizeof *B, err);
    if (!A || !B)
        return FC_EFAIL;
    for (int i = 0; i < r->job.slots; i++) {
        A[i] = fc_train_A(i);
        B[i] = fc_train_B(s, i);
    }
    r->job.slot_A = A;
    r->job.slot_B = B;
    if (!(r->rule->needs & FC_MERGE_NEEDS_GRAMS))
        return FC_OK;
    FC_TRY(make_grams(r, s, full, err));
    r->job.shape = r->update.grams = &r->grams;
    return FC_OK;
}

static fc_status measure(const fc_bench_options *o, int shape, const char *rule, char trained,
                         bool full, int threads, fc_error *err)
{
    server_round r = {.err = err};
    unsigned groups = 1u << (trained == 'A' ? FC_GROUP_A : FC_GROUP_B);
    fc_status s = open_round(&r, o, shape, rule, groups, full, err);
    if (s == FC_OK) {
        fc_spread t = fc_bench_time(merge, &r, o->seconds);
        s = r.status;
        json_t *line = json_pack("{s:s, s:o, s:s, s:s, s:s#, s:i, s:i, s:i}", "bench", "merge",
                                 "shape", fc_bench_shape_name(shape), "rule", rule, "grams",
                                 !r.grams.n ? "none"
                                 : full     ? "full"
                                            : "diagonal",
                                 "trained", &trained, 1, "rank", o->rank, "clients", CLIENTS,
                                 "threads", threads);
        fc_bench_add(line, "seconds", t);
        if (s == FC_OK)
            s = fc_bench_print(line, err);
        else
            json_decref(line);
    }
    fc_arena_free(&r.arena);
    return s;
}

fc_status fc_bench_merge(const fc_bench_options *o, fc_error *err)
{
    int threads = fc_threads_init(o->threads ? o->threads : fc_threads_default(), NULL);
    for (int i = 0; i < FC_BENCH_SHAPES; i++) {
        if (!fc_bench_wants(o, i))
            continue;
        FC_TRY(measure(o, i, "average", 'B', false, threads, err));
        for (int full = 0; full < 2; full++)
            for (const char *c = "BA"; *c; c++)
                FC_TRY(measure(o, i, "lorm", *c, full, threads, err));
    }
    return FC_OK;
}
