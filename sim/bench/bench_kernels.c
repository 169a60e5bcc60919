/* fcil bench gemm and kernel: the tables of core/linalg/isa.h side by side. */
#include "sim/bench/bench.h"

#include "core/base/arena.h"
#include "core/base/rng.h"
#include "core/base/threads.h"
#include "core/linalg/gemm.h"
#include "sim/train/fit.h"

#include <string.h>

/* The tables asked for: one by name, or each that is usable. */
static bool wants_isa(const fc_bench_options *o, const fc_isa *isa)
{
    return strcmp(o->isa, "auto") == 0 ? fc_isa_usable(isa, NULL) : strcmp(o->isa, isa->name) == 0;
}

static fc_real *random_reals(size_t n, fc_arena *arena, fc_error *err)
{
    fc_real *x = fc_arena_alloc(arena, n, sizeof *x, err);
    fc_rng g = fc_rng_at((fc_key){.stream = FC_STREAM_TEST});
    for (size_t i = 0; x && i < n; i++)
        x[i] = (fc_real)(2 * fc_rng_uniform(&g) - 1);
    return x;
}

/* ---- gemm ----------------------------------------------------------------------------------- */

/* C (m, n) = A (m, k) B: a weight, packed once, or k and v of the attention, prepared each time. */
typedef struct product {
    const char *name;
    int m, n, k;
    bool weight, tb;
    /* to run it */
    fc_engine *engine; /* (threads) */
    fc_operand packed;
    const fc_real *A, *B;
    fc_real **C; /* (threads) */
    int threads, repeat;
} product;

static void multiply_once(const product *p, int thread)
{
    fc_engine e = p->engine[thread];
    if (!p->weight) {
        fc_matmul(&e, false, p->tb, p->m, p->n, p->k, 1, p->A, p->k, p->B, p->tb ? p->k : p->n,
                  false, p->C[thread], p->n);
        return;
    }
    fc_operand a = fc_left(&e, false, p->m, p->k, p->A, p->k);
    fc_multiply(&e, &(fc_product){.C = p->C[thread],
                                  .ldc = p->n,
                                  .m = p->m,
                                  .n = p->n,
                                  .A = {&a},
                                  .B = {&p->packed},
                                  .alpha = 1});
}

/* Each thread its own products, as in a run. */
static void multiply_all(void *ctx)
{
    const product *p = ctx;
#pragma omp parallel for num_threads(p->threads) schedule(static, 1)
    for (int t = 0; t < p->threads; t++)
        for (int i = 0; i < p->repeat; i++)
            multiply_once(p, t);
}

static fc_status run_product(product *p, const fc_bench_options *o, int shape, const fc_isa *isa,
                             bool bf16, fc_error *err)
{
    enum { FLOP_MIN = 100000000 }; /* per call, so that starting the threads does not count */
    fc_arena arena = {0};
    fc_engine e = {.isa = isa, .bf16 = bf16};
    size_t m = (size_t)p->m, n = (size_t)p->n, k = (size_t)p->k, T = (size_t)p->threads;
    size_t bytes = fc_matmul_bytes(&e, p->m, p->n, p->k);
    double flop = 2.0 * p->m * p->n * p->k;
    p->repeat = 1 + (int)(FLOP_MIN / flop);
    fc_real *A = random_reals(m * k, &arena, err), *B = random_reals(k * n, &arena, err);
    void *packed = fc_arena_alloc(&arena, fc_right_bytes(&e, p->n, p->k), 1, err);
    p->engine = fc_arena_alloc(&arena, T, sizeof *p->engine, err);
    p->C = fc_arena_alloc(&arena, T, sizeof *p->C, err);
    fc_status s = A && B && packed && p->engine && p->C ? FC_OK : FC_EFAIL;
    for (size_t t = 0; s == FC_OK && t < T; t++) {
        p->engine[t] = e;
        p->engine[t].left = bytes;
        p->engine[t].work = fc_arena_alloc(&arena, bytes, 1, err);
        p->C[t] = fc_arena_alloc(&arena, m * n, sizeof **p->C, err);
        s = p->engine[t].work && p->C[t] ? FC_OK : FC_EFAIL;
    }
    if (s == FC_OK) {
        p->A = A;
        p->B = B;
        if (p->weight)
            p->packed = fc_right_into(packed, &e, p->tb, p->n, p->k, B, p->tb ? p->k : p->n);
        fc_spread t = fc_bench_time(multiply_all, p, o->seconds);
        double work = 1e-9 * flop * p->repeat * p->threads;
        json_t *line = json_pack("{s:s, s:o, s:s, s:i, s:i, s:i, s:s, s:s, s:i}", "bench", "gemm",
                                 "shape", fc_bench_shape_name(shape), "product", p->name, "m", p->m,
                                 "n", p->n, "k", p->k, "isa", isa->name, "precision",
                                 bf16 ? "bf16" : "f32", "threads", p->threads);
        fc_bench_add(line, "gflops", (fc_spread){work / t.median, work / t.p90, work / t.p10});
        s = fc_bench_print(line, err);
    }
    fc_arena_free(&arena);
    return s;
}

/* One product by all tables, in bf16 too where there is a kernel for it. */
static fc_status run_tables(product *p, const fc_bench_options *o, int shape, fc_error *err)
{
    for (int i = 0; i < fc_isa_count; i++) {
        const fc_isa *isa = fc_isa_table[i];
        if (!wants_isa(o, isa))
            continue;
        FC_TRY(run_product(p, o, shape, isa, false, err));
        if (isa->panel_bf16)
            FC_TRY(run_product(p, o, shape, isa, true, err));
    }
    return FC_OK;
}

fc_status fc_bench_gemm(const fc_bench_options *o, fc_error *err)
{
    int threads = fc_threads_init(o->threads ? o->threads : fc_threads_default(), NULL);
    for (int i = 0; i < FC_BENCH_SHAPES; i++) {
        const fc_vit_shape *s = &fc_bench_shape[i];
        int T = fc_vit_tokens(s), m = FC_SLICE * T, D = s->width, d = D / s->heads;
        const struct {
            const char *name;
            int m, n, k;
            bool weight, tb;
        } list[] = {{"qkv", m, 3 * D, D, true, true},     {"proj", m, D, D, true, true},
                    {"fc1", m, s->hidden, D, true, true}, {"fc2", m, D, s->hidden, true, true},
                    {"q k^T", T, T, d, false, true},      {"p v", T, d, T, false, false}};
        if (!fc_bench_wants(o, i))
            continue;
        for (size_t k = 0; k < sizeof list / sizeof *list; k++) {
            product p = {.name = list[k].name,
                         .m = list[k].m,
                         .n = list[k].n,
                         .k = list[k].k,
                         .weight = list[k].weight,
                         .tb = list[k].tb,
                         .threads = threads};
            FC_TRY(run_tables(&p, o, i, err));
        }
    }
    return FC_OK;
}

/* ---- kernel --------------------------------------------------------------------------------- */

/* Arrays of the rows of one slice. Kernels that work in place are called again on what they left:
 * `one` and `zero` keep that from fading into denormal numbers, which are slow. */
typedef struct layer {
    const fc_isa *isa;
    int n, d;
    const fc_real *x;    /* (n, d) in [-1, 1] */
    const fc_real *one;  /* (n, d) where the derivative of GELU is 1 */
    const fc_real *zero; /* (n, d) */
    fc_real *y;          /* (n, d) */
    fc_real *w, *b;      /* (d) */
    fc_real *stat;       /* (n, 2) */
    void *packed;        /* x as an operand */
} layer;

static size_t layer_size(const layer *l)
{
    return (size_t)l->n * (size_t)l->d;
}

static void column_sums(void *ctx)
{
    const layer *l = ctx;
    l->isa->add_column_sums(l->b, l->x, l->n, l->d);
}

static void norm_forward(void *ctx)
{
    const layer *l = ctx;
    l->isa->norm_forward(l->y, l->stat, l->w, l->b, l->x, l->n, l->d);
}

static void norm_backward_x(void *ctx)
{
    const layer *l = ctx;
    l->isa->norm_backward_x(l->y, l->w, l->x, l->x, l->stat, l->n, l->d);
}

static void norm_backward_w(void *ctx)
{
    const layer *l = ctx;
    l->isa->norm_backward_w(l->w, l->b, l->x, l->x, l->stat, l->n, l->d);
}

static void gelu_forward(void *ctx)
{
    const layer *l = ctx;
    l->isa->gelu_forward(l->y, l->x, layer_size(l));
}

static void gelu_forward_derivative(void *ctx)
{
    const layer *l = ctx;
    l->isa->gelu_forward_derivative(l->packed, l->y, layer_size(l));
}

static void multiply_elements(void *ctx)
{
    const layer *l = ctx;
    l->isa->multiply_elements(l->y, l->zero, layer_size(l));
}

static void gelu_backward(void *ctx)
{
    const layer *l = ctx;
    l->isa->gelu_backward(l->y, l->one, layer_size(l));
}

static void softmax(void *ctx)
{
    const layer *l = ctx;
    l->isa->softmax(l->y, l->n, l->d);
}

static void softmax_backward(void *ctx)
{
    const layer *l = ctx;
    l->isa->softmax_backward(l->y, l->zero, l->n, l->d);
}

static void transpose(void *ctx)
{
    const layer *l = ctx;
    l->isa->transpose(l->y, (size_t)l->n, l->x, (size_t)l->d, l->d, l->n, false);
}

static void pack(void *ctx)
{
    const layer *l = ctx;
    fc_engine e = {.isa = l->isa};
    fc_right_into(l->packed, &e, true, l->n, l->d, l->x, l->d);
}

static void pack_bf16(void *ctx)
{
    const layer *l = ctx;
    fc_engine e = {.isa = l->isa, .bf16 = true};
    fc_right_into(l->packed, &e, true, l->n, l->d, l->x, l->d);
}

static void rows_bf16(void *ctx)
{
    const layer *l = ctx;
    fc_engine e = {
        .isa = l->isa, .bf16 = true, .work = l->packed, .left = layer_size(l) * sizeof *l->x};
    fc_left(&e, false, l->n, l->d, l->x, l->d);
}

static const struct {
    const char *name;
    void (*run)(void *ctx);
    bool panels, halves; /* for tables with kernels for products, in bf16 */
} kernels[] = {{"column_sums", column_sums, false, false},
               {"norm_forward", norm_forward, false, false},
               {"norm_backward_x", norm_backward_x, false, false},
               {"norm_backward_w", norm_backward_w, false, false},
               {"gelu_forward", gelu_forward, false, false},
               {"gelu_forward_derivative", gelu_forward_derivative, false, false},
               {"gelu_backward", gelu_backward, false, false},
               {"multiply_elements", multiply_elements, false, false},
               {"softmax", softmax, false, false},
               {"softmax_backward", softmax_backward, false, false},
               {"transpose", transpose, true, false},
               {"pack", pack, true, false},
               {"pack_bf16", pack_bf16, true, true},
               {"rows_bf16", rows_bf16, true, true}};

static fc_status run_layers(layer *l, const fc_bench_options *o, int shape, fc_error *err)
{
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
        if ((kernels[i].panels && !l->isa->panel) || (kernels[i].halves && !l->isa->panel_bf16))
            continue;
        double ns = 1e9 / (double)layer_size(l);
        fc_spread t = fc_bench_time(kernels[i].run, l, o->seconds);
        json_t *line = json_pack("{s:s, s:o, s:s, s:i, s:i, s:s}", "bench", "kernel", "shape",
                                 fc_bench_shape_name(shape), "kernel", kernels[i].name, "rows",
                                 l->n, "columns", l->d, "isa", l->isa->name);
        fc_bench_add(line, "ns_per_element", (fc_spread){ns * t.median, ns * t.p10, ns * t.p90});
        FC_TRY(fc_bench_print(line, err));
    }
    return FC_OK;
}

static fc_status bench_layers(const fc_bench_options *o, int shape, fc_arena *arena, fc_error *err)
{
    const fc_vit_shape *s = &fc_bench_shape[shape];
    layer l = {.n = FC_SLICE * fc_vit_tokens(s), .d = s->width};
    size_t n = (size_t)l.n, d = (size_t)l.d;
    fc_real *one = fc_arena_alloc(arena, n * d, sizeof *one, err);
    l.x = random_reals(n * d, arena, err);
    l.zero = fc_arena_alloc(arena, n * d, sizeof *l.zero, err);
    l.y = fc_arena_alloc(arena, n * d, sizeof *l.y, err);
    l.w = random_reals(d, arena, err);
    l.b = random_reals(d, arena, err);
    l.stat = random_reals(2 * n, arena, err);
    l.packed = fc_arena_alloc(arena, (n + FC_PANEL) * d, sizeof *l.x, err);
    if (!one || !l.x || !l.zero || !l.y || !l.w || !l.b || !l.stat || !l.packed)
        return FC_EFAIL;
    for (size_t i = 0; i < n * d; i++)
        one[i] = 8;
    l.one = one;
    for (int i = 0; i < fc_isa_count; i++) {
        l.isa = fc_isa_table[i];
        if (wants_isa(o, l.isa))
            FC_TRY(run_layers(&l, o, shape, err));
    }
    return FC_OK;
}

fc_status fc_bench_kernel(const fc_bench_options *o, fc_error *err)
{
    fc_status s = FC_OK;
    for (int i = 0; i < FC_BENCH_SHAPES && s == FC_OK; i++) {
        fc_arena arena = {0};
        if (fc_bench_wants(o, i))
            s = bench_layers(o, i, &arena, err);
        fc_arena_free(&arena);
    }
    return s;
}
