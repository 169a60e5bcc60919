/* SMILE and EMR as files: what is written is read again, number for number; damaged files are
 * refused by file and tensor. */
#define _GNU_SOURCE /* memmem */
#include "core/rng.h"
#include "sim/expert_file.h"
#include "tests/tmp.h"

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

static void check_smile(const fc_smile_options *o)
{
    fc_smile *s = fc_arena_alloc(&arena, 8, sizeof *s, NULL);
    fc_expert_file x = {.n = N, .tasks = {.v = task_counts, .n = N}, .smile = s}, back;
    ok(fc_smile_backbone(s, w.p, &shape, &set, o, &arena, &err));
    write_it(&x);
    ok(fc_expert_file_read(&back, path, &shape, &arena, &err));
    assert_true(back.n == N && back.smile && !back.emr);
    assert_memory_equal(back.tasks.v, task_counts, sizeof task_counts);
    int gate_k = 1, layers = 0;
    for (int i = 0; i < fc_vit_slots(&shape); i++) {
        const fc_smile *a = &s[i], *b = &back.smile[i];
        int all = 0;
        assert_int_equal(a->of.n, b->of.n);
        for (int e = 0; e < a->of.n; e++) {
            const fc_expert *p = &a->of.expert[e], *q = &b->of.expert[e];
            assert_same_reals(p->dense, q->dense, a->of.rows * a->of.cols);
            assert_same_reals(p->bias, q->bias, a->of.rows);
            if (!p->dense) {
                assert_int_equal(p->rank, q->rank);
                assert_same_reals(p->B, q->B, a->of.rows * p->rank);
                assert_same_reals(p->A, q->A, p->rank * a->of.cols);
            }
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
    assert_int_equal(back.gate_k, gate_k);
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
    fc_expert_file x = {.n = N, .tasks = {.v = task_counts, .n = N}, .emr = emr};
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
    assert_true(back.n == N && back.emr && !back.smile);
    for (int i = 0; i < N; i++) {
        fc_real *a = fc_arena_alloc(&arena, w.n, sizeof *a, NULL);
        fc_real *b = fc_arena_alloc(&arena, w.n, sizeof *b, NULL);
        ok(fc_emr_apply(a, &w, &emr, i, &err));
        ok(fc_emr_apply(b, &w, back.emr, i, &err));
        assert_memory_equal(a, b, w.n * sizeof *a);
    }
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
    assert_true(back.n == 0 && !back.smile && !back.emr);
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

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *says;
    } smile[] =
        {
            {"\"experts\":\"smile\"", "\"experts\":\"smoke\"",
             "experts: 'smoke', expected smile or emr"},
            {"[1, 2, 1]", "[1, x, 1]", "experts.tasks: expected a list"},
            {"[1, 2, 1]", "[1, 20  ]", "gate has shape (1, 3), which does not fit"},
            {"\"top_k\":\"2\"", "\"top_k\":\"4\"", "top_k: expected 1 to 3"},
            {"qkv.weight.1.A", "qkv.weight.1.C", "no tensor smile.blocks.0.attn.qkv.weight.1.A"},
            {"qkv.weight.router", "qkv.weight.rooter",
             "no tensor smile.blocks.0.attn.qkv.weight.router"},
            {"\"shape\":[2,4]", "\"shape\":[4,2]",
             "has shape (4, 2), which does not fit its network"},
        },
      emr[] = {
          {"emr.rescaler", "emr.rescalar", "no tensor emr.rescaler"},
          {"fc2.bias.mask", "fc2.bias.task", "no tensor emr.blocks.1.mlp.fc2.bias.mask"},
          {"\"shape\":[1,3],\"data_offsets\"", "\"shape\":[3,1],\"data_offsets\"",
           "emr.rescaler has shape (3, 1), which does not fit"},
      };
    const fc_smile_options o = {.gate_k = 1, .k = -1, .top_k = 2, .routing_use_diff = true};
    for (size_t i = 0; i < sizeof smile / sizeof *smile; i++) {
        fc_expert_file x;
        check_smile(&o);
        damage(smile[i].from, smile[i].to);
        fc_status s = fc_expert_file_read(&x, path, &shape, &arena, &err);
        print_message("%s\n", err.msg);
        assert_says(s, &err, FC_EDATA, path, smile[i].says);
        err = (fc_error){0};
    }
    for (size_t i = 0; i < sizeof emr / sizeof *emr; i++) {
        fc_emr e;
        fc_expert_file x;
        write_emr(&e);
        damage(emr[i].from, emr[i].to);
        fc_status s = fc_expert_file_read(&x, path, &shape, &arena, &err);
        print_message("%s\n", err.msg);
        assert_says(s, &err, FC_EDATA, path, emr[i].says);
        err = (fc_error){0};
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_smile),
        TEST(test_emr),
        TEST(test_plain),
        TEST(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
