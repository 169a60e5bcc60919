/* SMILE, WEMoE and EMR as files: what is written is read again, number for number; damaged files
 * are refused by file and tensor. */
#define _GNU_SOURCE /* memmem */
#include "core/base/rng.h"
#include "sim/models/expert_file.h"
#include "sim/train/vit_merge.h"
#include "tests/support/tmp.h"

FC_TMP_FIXTURE

static const fc_vit_shape shape = {
    .image = 8, .patch = 4, .width = 4, .depth = 2, .heads = 2, .hidden = 6};
enum { N = 3, CLASSES = 6, TENSORS = 3 };

static fc_arena arena;
static fc_error err;
static char path[400];
static fc_params w;
static fc_model model;
static fc_tv_set set;
static fc_tv tv[N * TENSORS];
static fc_tv_shape shapes[TENSORS];
static int task_counts[N] = {1, 2, 1};

#define ok(call) assert_ok((call), __LINE__)
static void assert_ok(fc_status s, int line)
{
    if (s != FC_OK)
        fail_msg("line %d: %s", line, err.msg);
}

static double *normals(size_t n, uint32_t sample)
{
    fc_rng g = fc_rng_at((fc_key){.seed = 5, .stream = FC_STREAM_TEST, .sample = sample});
    double *x = fc_arena_alloc(&arena, n, sizeof *x, NULL);
    for (size_t i = 0; i < n; i++)
        x[i] = fc_rng_normal(&g);
    return x;
}

static fc_real *reals(size_t n)
{
    double *x = normals(n, 99);
    fc_real *y = fc_arena_alloc(&arena, n, sizeof *y, NULL);
    for (size_t i = 0; i < n; i++)
        y[i] = (fc_real)x[i];
    return y;
}

/* Updates of one weight in factors, of another as a whole, and of a bias. */
static int begin(void **state)
{
    static const char *const names[] = {"blocks.0.attn.qkv.weight", "blocks.1.mlp.fc2.weight",
                                        "blocks.1.mlp.fc2.bias"};
    int failed = set_up(state);
    fc_params layout;
    err = (fc_error){0};
    snprintf(path, sizeof path, "%s/x.safetensors", tmp.dir);
    ok(fc_vit_layout(&layout, &shape, &arena, &err));
    ok(fc_params_alloc(&w, &layout, &arena, &err));
    fc_vit_init(&w, 1);
    for (int t = 0; t < TENSORS; t++) {
        const fc_spec *s = fc_params_find(&w, names[t]);
        shapes[t] = (fc_tv_shape){names[t], s->rows, s->cols, t < 2};
    }
    set = (fc_tv_set){.n = N, .tensors = TENSORS, .shape = shapes, .tv = tv};
    for (int i = 0; i < N; i++)
        for (int t = 0; t < TENSORS; t++) {
            uint32_t sample = (uint32_t)(10 * i + 3 * t);
            size_t rows = (size_t)shapes[t].rows, cols = (size_t)shapes[t].cols;
            fc_tv *x = &tv[fc_tv_index(&set, i, t)];
            *x = t ? (fc_tv){.dense = normals(rows * cols, sample)}
                   : (fc_tv){.rank = 2,
                             .B = normals(2 * rows, sample),
                             .A = normals(2 * cols, sample + 1)};
        }
    model = (fc_model){.shape = &shape,
                       .classes = CLASSES,
                       .w = w.p,
                       .head_w = reals((size_t)CLASSES * 4),
                       .head_b = reals(CLASSES)};
    return failed;
}

static int end(void **state)
{
    fc_arena_free(&arena);
    return tear_down(state);
}

static void write_it(const fc_expert_file *x)
{
    static const char *const meta[][2] = {{"classes", "[5, 4, 3, 2, 1, 0]"}};
    ok(fc_expert_file_write(path, &model, x, meta, 1, &err));
}

static void assert_same_reals(const fc_real *a, const fc_real *b, int n)
{
    assert_true((a == NULL) == (b == NULL));
    if (a)
        assert_memory_equal(a, b, (size_t)n * sizeof *a);
}

static void assert_same_expert(const fc_expert *p, const fc_expert *q, int rows, int cols)
{
    assert_same_reals(p->dense, q->dense, rows * cols);
    assert_same_reals(p->bias, q->bias, rows);
    if (p->dense)
        return;
    assert_int_equal(p->rank, q->rank);
    assert_same_reals(p->B, q->B, rows * p->rank);
    assert_same_reals(p->A, q->A, p->rank * cols);
}

static void check_smile(const fc_smile_options *o)
{
    fc_smile *s = fc_arena_alloc(&arena, 8, sizeof *s, NULL);
    fc_expert_file x = {.n = N,
                        .tasks = {.v = task_counts, .n = N},
                        .merged = {.rule = fc_vit_rule_find("smile"), .smile = s}},
                   back;
    ok(fc_smile_backbone(s, w.p, &shape, &set, o, &arena, &err));
    write_it(&x);
    ok(fc_expert_file_read(&back, path, &shape, &arena, &err));
    assert_true(back.n == N && back.merged.smile && !back.merged.emr);
    assert_memory_equal(back.tasks.v, task_counts, sizeof task_counts);
    int gate_k = 1, layers = 0;
    for (int i = 0; i < fc_vit_slots(&shape); i++) {
        const fc_smile *a = &s[i], *b = &back.merged.smile[i];
        int all = 0;
        assert_int_equal(a->of.n, b->of.n);
        for (int e = 0; e < a->of.n; e++) {
            assert_same_expert(&a->of.expert[e], &b->of.expert[e], a->of.rows, a->of.cols);
            assert_int_equal(a->gate[e], b->gate[e]);
            all += a->gate[e];
            gate_k = a->gate[e] > gate_k ? a->gate[e] : gate_k;
        }
        if (a->of.n > 0) {
            assert_int_equal(a->top_k, b->top_k);
            assert_same_reals(a->G, b->G, all * a->of.cols);
        }
        layers += a->of.n > 0;
    }
    assert_int_equal(layers, 2);
    assert_int_equal(fc_expert_file_acts(&back, &shape).gate_k, gate_k);
}

static void test_smile(void **state)
{
    (void)state;
    check_smile(&(fc_smile_options){.gate_k = 1, .k = 1, .top_k = 1, .routing_use_diff = true});
    check_smile(&(fc_smile_options){.gate_k = 3, .k = -1, .top_k = 2, .routing_use_diff = true});
    check_smile(&(fc_smile_options){.gate_k = 2, .k = 2, .top_k = 3, .routing_use_diff = false});
}

static void write_emr(fc_emr *emr)
{
    fc_expert_file x = {.n = N,
                        .tasks = {.v = task_counts, .n = N},
                        .merged = {.rule = fc_vit_rule_find("emr"), .emr = emr}};
    ok(fc_emr_merge(emr, &set, &arena, &err));
    write_it(&x);
}

static void test_emr(void **state)
{
    (void)state;
    fc_emr emr;
    fc_expert_file back;
    write_emr(&emr);
    ok(fc_expert_file_read(&back, path, &shape, &arena, &err));
    assert_true(back.n == N && back.merged.emr && !back.merged.smile);
    for (int i = 0; i < N; i++) {
        fc_real *a = fc_arena_alloc(&arena, w.n, sizeof *a, NULL);
        fc_real *b = fc_arena_alloc(&arena, w.n, sizeof *b, NULL);
        ok(fc_emr_apply(a, &w, &emr, i, &err));
        ok(fc_vit_merge_expert(b, &back.merged, &w, i, &err));
        assert_memory_equal(a, b, w.n * sizeof *a);
    }
}

static void write_wemoe(fc_wemoe *m, const fc_wemoe_options *o)
{
    fc_expert_file x = {.n = N,
                        .tasks = {.v = task_counts, .n = N},
                        .merged = {.rule = fc_vit_rule_find("wemoe"), .wemoe = m}};
    fc_real *merged = fc_arena_alloc(&arena, w.n, sizeof *merged, NULL);
    memcpy(merged, w.p, w.n * sizeof *merged);
    ok(fc_wemoe_init(m, merged, &shape, &set, o, 7, &arena, &err));
    write_it(&x);
}

static void check_wemoe(const fc_wemoe_options *o)
{
    fc_wemoe m;
    fc_expert_file back;
    write_wemoe(&m, o);
    ok(fc_expert_file_read(&back, path, &shape, &arena, &err));
    assert_true(back.n == N && back.merged.wemoe && !back.merged.smile && !back.merged.emr);
    const fc_wemoe *b = back.merged.wemoe;
    assert_true(b->tasks == N && b->width == m.width && b->router_layers == o->router_layers &&
                b->batch_reduce == o->batch_reduce);
    assert_int_equal(b->gates.n, m.gates.n);
    assert_memory_equal(b->gates.p, m.gates.p, m.gates.n * sizeof *m.gates.p);
    int layers = 0;
    for (int i = 0; i < 2 * shape.depth; i++) {
        const fc_experts *p = &m.mlp[i], *q = &b->mlp[i];
        assert_true(p->n == q->n && p->rows == q->rows && p->cols == q->cols);
        for (int e = 0; e < p->n; e++)
            assert_same_expert(&p->expert[e], &q->expert[e], p->rows, p->cols);
        layers += p->n > 0;
    }
    assert_int_equal(layers, 1);
    const fc_acts_size acts = fc_expert_file_acts(&back, &shape);
    assert_true(acts.experts == N && acts.gates && acts.whole == o->batch_reduce);
}

static void test_wemoe(void **state)
{
    (void)state;
    for (int layers = 0; layers <= 2; layers++)
        check_wemoe(&(fc_wemoe_options){
            .lambda = 0.3, .router_layers = layers, .batch_reduce = layers == 1});
    tv[1] = (fc_tv){.rank = 1, .B = normals(4, 1), .A = normals(6, 2)}; /* of fc2 in factors */
    check_wemoe(&(fc_wemoe_options){.lambda = 0.3, .router_layers = 2});
}

/* A model without experts, and what a file with them is as a model. */
static void test_plain(void **state)
{
    (void)state;
    fc_emr emr;
    fc_expert_file back;
    fc_params again;
    fc_vit_shape s;
    write_emr(&emr);
    ok(fc_vit_load(&again, &s, path, 0, 0, &arena, &err));
    assert_memory_equal(again.p, w.p, w.n * sizeof *w.p);
    ok(fc_vit_save(path, &model, NULL, &err));
    ok(fc_expert_file_read(&back, path, &shape, &arena, &err));
    assert_true(back.n == 0 && !back.merged.rule);
}

/* Replaces a text of the file by another of the same length. */
static void damage(const char *from, const char *to)
{
    void *map;
    size_t n;
    assert_int_equal(strlen(from), strlen(to));
    ok(fc_file_map(&map, &n, path, FC_EDATA, &err));
    char *copy = memcpy(malloc(n), map, n), *at = memmem(copy, n, from, strlen(from));
    fc_file_unmap(map, n);
    assert_non_null(at);
    memcpy(at, to, strlen(to));
    ok(fc_file_write_atomic(path, copy, n, &err));
    free(copy);
}

static void refuses_damage(const char *from, const char *to, const char *says)
{
    fc_expert_file x;
    damage(from, to);
    fc_status s = fc_expert_file_read(&x, path, &shape, &arena, &err);
    print_message("%s\n", err.msg);
    assert_says(s, &err, FC_EDATA, path, says);
    err = (fc_error){0};
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *says;
    } smile[] =
        {
            {"\"experts\":\"smile\"", "\"experts\":\"smoke\"",
             "experts: 'smoke', expected smile, wemoe or emr"},
            {"[1, 2, 1]", "[1, x, 1]", "experts.tasks: expected a list"},
            {"[1, 2, 1]", "[1, 20  ]", "gate has shape (1, 3), which does not fit"},
            {"\"top_k\":\"2\"", "\"top_k\":\"4\"", "top_k: expected 1 to 3"},
            {"qkv.weight.1.A", "qkv.weight.1.C", "no tensor smile.blocks.0.attn.qkv.weight.1.A"},
            {"qkv.weight.router", "qkv.weight.rooter",
             "no tensor smile.blocks.0.attn.qkv.weight.router"},
            {"\"shape\":[2,4]", "\"shape\":[4,2]",
             "has shape (4, 2), which does not fit its network"},
        },
      wemoe[] =
          {
              {"\"batch_reduce\":\"false\"", "\"batch_reduce\":\"fakse\"", "batch_reduce: found"},
              {"\"router_layers\":\"2\"", "\"router_layers\":\"9\"", "router_layers: found"},
              {"\"router_layers\":\"2\"", "\"router_layers\":\"1\"",
               "no tensor wemoe.blocks.0.mlp.gate.fc.weight"},
              {"gate.fc1.bias", "gate.fc3.bias", "no tensor wemoe.blocks.0.mlp.gate.fc1.bias"},
              {"fc2.weight.1.W", "fc2.weight.1.V", "no tensor wemoe.blocks.1.mlp.fc2.weight.1.B"},
              {"fc2.weight.2.W", "fc2.weight.3.W", "no tensor wemoe.blocks.1.mlp.fc2.weight.2.B"},
              {"fc2.weight.0.W", "fc7.weight.0.W",
               "tensor wemoe.blocks.1.mlp.fc7.weight.0.W belongs to no layer"},
          },
      emr[] = {
          {"emr.rescaler", "emr.rescalar", "no tensor emr.rescaler"},
          {"fc2.bias.mask", "fc2.bias.task", "no tensor emr.blocks.1.mlp.fc2.bias.mask"},
          {"\"shape\":[1,3],\"data_offsets\"", "\"shape\":[3,1],\"data_offsets\"",
           "emr.rescaler has shape (3, 1), which does not fit"},
      };
    for (size_t i = 0; i < sizeof smile / sizeof *smile; i++) {
        check_smile(
            &(fc_smile_options){.gate_k = 1, .k = -1, .top_k = 2, .routing_use_diff = true});
        refuses_damage(smile[i].from, smile[i].to, smile[i].says);
    }
    for (size_t i = 0; i < sizeof wemoe / sizeof *wemoe; i++) {
        fc_wemoe m;
        write_wemoe(&m, &(fc_wemoe_options){.router_layers = 2});
        refuses_damage(wemoe[i].from, wemoe[i].to, wemoe[i].says);
    }
    for (size_t i = 0; i < sizeof emr / sizeof *emr; i++) {
        fc_emr e;
        write_emr(&e);
        refuses_damage(emr[i].from, emr[i].to, emr[i].says);
    }
}

/* The files that the fuzz target begins with. */
static void test_files(void **state)
{
    (void)state;
    static const fc_vit_shape block = {
        .image = 8, .patch = 4, .width = 4, .depth = 1, .heads = 2, .hidden = 6};
    static const struct {
        const char *name, *says; /* NULL: it is read */
    } files[] = {
        {"data/experts/smile", NULL},
        {"data/experts/wemoe", NULL},
        {"data/experts/wemoe-constant", NULL},
        {"data/experts/emr", NULL},
        {"data/experts/none", NULL},
        {"bad/experts/kind-unknown", "experts: 'tall', expected smile, wemoe or emr"},
        {"bad/experts/tasks-missing", "experts.tasks: expected a list"},
        {"bad/experts/tasks-zero", "experts.tasks: expected a list"},
        {"bad/experts/tasks-of-three", "mask has shape (2, 2)"},
        {"bad/experts/tensor-of-no-layer", "emr.blocks.7.norm1.bias.mask belongs to no layer"},
        {"bad/experts/smile-top-k-of-three", "top_k: expected 1 to 2"},
        {"bad/experts/smile-gate-nan", "weight.gate"},
        {"bad/experts/smile-gate-negative", "weight.gate: -1 vectors of a (12, 4) weight"},
        {"bad/experts/smile-rank-of-five", "weight.0.B: rank 5 of a (12, 4) weight"},
        {"bad/experts/smile-three-dims", "router has shape (3, 4, 1)"},
        {"bad/experts/wemoe-layers-of-three", "router_layers: found '3'"},
        {"bad/experts/wemoe-gate-wide", "gate.fc2.weight has shape (2, 5)"},
        {"bad/experts/wemoe-expert-missing", "no tensor wemoe.blocks.0.mlp.fc2.weight.1.A"},
        {"bad/experts/emr-mask-short", "mask has shape (2, 1)"},
        {"bad/experts/emr-mask-of-floats", "mask: expected dtype U8"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        fc_expert_file x;
        const char *file =
            fc_arena_format(&arena, NULL, "%s/%s", getenv("FCIL_TESTS"), files[i].name);
        fc_status s = fc_expert_file_read(&x, file, &block, &arena, &err);
        if (!files[i].says)
            ok(s);
        else
            assert_says(s, &err, FC_EDATA, files[i].name, files[i].says);
        err = (fc_error){0};
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_smile), TEST(test_wemoe),    TEST(test_emr),
        TEST(test_plain), TEST(test_refusals), TEST(test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
