/* Files as task vectors, of networks that are no ViT: which tensors a set has, what is linear, what
 * an input lacks, layers that are stored the other way round, heads; and what does not fit. */
#include "core/base/threads.h"
#include "core/merge/merge.h"
#include "sim/models/merge_files.h"
#include "tests/support/tmp.h"

FC_TMP_FIXTURE

#define P "base_model.model."

static fc_arena arena;
static fc_error err;
static fc_merge_files files;

static int begin(void **state)
{
    err = (fc_error){0};
    return set_up(state);
}

static int end(void **state)
{
    fc_merge_files_close(&files);
    fc_arena_free(&arena);
    return tear_down(state);
}

#define ok(call) assert_ok((call), __LINE__)
static void assert_ok(fc_status s, int line)
{
    if (s != FC_OK)
        fail_msg("line %d: %s", line, err.msg);
}

static const char *inside(const char *name)
{
    return fc_arena_format(&arena, NULL, "%s/%s", tmp.dir, name);
}

static const char *put(const char *name, const fc_st_entry *e, int n, const char *classes)
{
    const char *const metadata[][2] = {{"classes", classes}, {"tasks", "[1]"}};
    ok(fc_st_write(inside(name), e, n, metadata, classes ? 2 : 0, &err));
    return inside(name);
}

/* An adapter with rank 1 and scale 2. */
static const char *put_adapter(const char *name, const char *more, const fc_st_entry *e, int n,
                               const char *classes)
{
    const char *config = fc_arena_format(
        &arena, NULL, "{\"peft_type\": \"LORA\", \"r\": 1, \"lora_alpha\": 2%s}", more);
    const char *path = fc_arena_format(&arena, NULL, "%s/adapter_config.json", name);
    ok(fc_mkdirs(inside(name), &err));
    ok(fc_file_write_atomic(inside(path), config, strlen(config), &err));
    put(fc_arena_format(&arena, NULL, "%s/adapter_model.safetensors", name), e, n, classes);
    return inside(name);
}

static fc_status open_files(const char *base, const char *a, const char *b)
{
    const char *path[] = {a, b};
    fc_status s = fc_merge_files_open(&files, base, path, b ? 2 : 1, &err);
    return s == FC_OK ? fc_merge_files_load(&files, &err) : s;
}

/* The mean of all inputs: (tensors); one by one it is the same. */
static double **mean(void)
{
    size_t tensors = (size_t)files.set.tensors;
    double **out = fc_arena_alloc(&files.arena, tensors, sizeof *out, &err);
    double **again = fc_arena_alloc(&files.arena, tensors, sizeof *again, &err);
    for (int t = 0; t < files.set.tensors; t++) {
        size_t n = fc_tv_size(&files.shape[t]);
        out[t] = fc_arena_alloc(&files.arena, n, sizeof **out, &err);
        again[t] = fc_arena_alloc(&files.arena, n, sizeof **again, &err);
        fc_tv_sum(out[t], 1.0 / files.n, &files.set, t);
    }
    ok(fc_merge_files_sum(again, &files, 1.0 / files.n, &err));
    for (int t = 0; t < files.set.tensors; t++)
        assert_memory_equal(out[t], again[t], fc_tv_size(&files.shape[t]) * sizeof **out);
    return out;
}

/* The numbers of a tensor of a file. */
static void assert_tensor(const char *path, const char *name, const double *want, int n)
{
    fc_st f;
    double found[16];
    ok(fc_st_open(&f, path, &err));
    const fc_tensor *t = fc_st_find(&f, name);
    if (!t)
        fail_msg("no tensor %s", name);
    assert_int_equal(t->count, n);
    ok(fc_st_read_double(found, &f, t, &err));
    for (int i = 0; i < n; i++)
        assert_close(found[i], want[i], 1e-6, 1e-6);
    fc_st_close(&f);
}

static const float A[] = {1, 2}, B[] = {3, 4, 5}, A2[] = {1, 1}, B2[] = {1, 0, 0};
static const fc_st_entry q[] = {{P "h.0.q.lora_A.weight", FC_F32, 2, {1, 2}, A},
                                {P "h.0.q.lora_B.weight", FC_F32, 2, {3, 1}, B}};
static const fc_st_entry q2[] = {{P "h.0.q.lora_A.weight", FC_F32, 2, {1, 2}, A2},
                                 {P "h.0.q.lora_B.weight", FC_F32, 2, {3, 1}, B2}};
static const fc_st_entry v[] = {{P "h.0.v.lora_A.weight", FC_F32, 2, {1, 2}, A2},
                                {P "h.0.v.lora_B.weight", FC_F32, 2, {3, 1}, B}};

/* GPT-2's layers are (n, m): W += (B A)^T. */
static void test_transposed(void **state)
{
    (void)state;
    static const float W[] = {10, 20, 30, 40, 50, 60};
    static const int64_t ids[] = {7, 8};
    const fc_st_entry base[] = {{"h.0.q.weight", FC_F32, 2, {2, 3}, W},
                                {"ids", FC_I64, 1, {2}, ids}};
    const char *more = ", \"fan_in_fan_out\": true";
    const char *a = put_adapter("a", more, q, 2, NULL), *b = put_adapter("b", more, q2, 2, NULL);
    ok(open_files(put("base", base, 2, NULL), a, b));
    assert_int_equal(files.set.tensors, 1);
    assert_true(files.shape[0].rows == 3 && files.shape[0].cols == 2 && files.shape[0].linear);
    ok(fc_merge_files_save_model(&files, mean(), inside("out"), &err));
    /* B A = 2 (3 4 5)^T (1 2) and 2 (1 0 0)^T (1 1): mean (4 7; 4 8; 5 10) */
    assert_tensor(inside("out"), "h.0.q.weight", (double[]){14, 24, 35, 47, 58, 70}, 6);
    assert_tensor(inside("out"), "ids", (double[]){7, 8}, 2);

    put_adapter("b", "", q2, 2, NULL);
    fc_merge_files_close(&files);
    assert_says(open_files(inside("base"), a, b), &err, FC_EDATA, b,
                "fan_in_fan_out is false, in an earlier input it is true");
}

/* Layers that only one input has; the result as an adapter of all ranks and of one. */
static void test_union(void **state)
{
    (void)state;
    const char *a = put_adapter("a", "", q, 2, NULL), *b = put_adapter("b", "", v, 2, NULL);
    ok(open_files(NULL, a, b));
    assert_int_equal(files.set.tensors, 2);
    double **out = mean();
    const double want_q[] = {3, 6, 4, 8, 5, 10}, want_v[] = {3, 3, 4, 4, 5, 5};
    for (int i = 0; i < 6; i++) {
        assert_close(out[0][i], want_q[i], 1e-12, 0);
        assert_close(out[1][i], want_v[i], 1e-12, 0);
    }
    fc_adapter again;
    int rank = 0;
    double error, product[6];
    ok(fc_merge_files_save_adapter(&files, out, &rank, &error, inside("out"), &err));
    assert_int_equal(rank, 1);
    assert_true(error < 1e-12);
    ok(fc_adapter_read(&again, inside("out"), &arena, &err));
    assert_string_equal(again.layer[1].name, "h.0.v");
    fc_adapter_product(product, &again.layer[1]);
    for (int i = 0; i < 6; i++)
        assert_close(product[i], want_v[i], 1e-6, 0);

    fc_merge_files_close(&files);
    b = put_adapter("b", "", q2, 2, NULL);
    ok(open_files(NULL, a, b));
    rank = 1;
    out = mean(); /* (4 7; 4 8; 5 10): S^2 = 269.39.., 0.6088.. */
    ok(fc_merge_files_save_adapter(&files, out, &rank, &error, inside("out"), &err));
    double trace = 16 + 49 + 16 + 64 + 25 + 100, det = 57.0 * 213 - 110.0 * 110;
    double small = (trace - sqrt(trace * trace - 4 * det)) / 2;
    assert_close(error, sqrt(small / trace), 1e-9, 0);

    out[0][2] = 1e60;
    rank = 0;
    assert_says(fc_merge_files_save_adapter(&files, out, &rank, &error, inside("inf"), &err), &err,
                FC_EFAIL, "h.0.q.weight", "expected a finite float");
    assert_int_equal(access(inside("inf"), F_OK), -1);
}

/* Whole models: vectors, embeddings and convolutions are not linear; an adapter beside them. */
static void test_models(void **state)
{
    (void)state;
    static const float zero[8], one[] = {1, 1, 1, 1, 1, 1, 1, 1};
    const fc_st_entry base[] = {{"h.0.q.weight", FC_F32, 2, {3, 2}, zero},
                                {"embed.weight", FC_F32, 2, {2, 2}, one},
                                {"norm.weight", FC_F32, 1, {3}, one},
                                {"conv.weight", FC_F32, 3, {2, 1, 2}, one},
                                {"none", FC_F32, 1, {0}, one}};
    static const float three[] = {3, 3, 3, 3, 3, 3, 3, 3};
    fc_st_entry model[5];
    memcpy(model, base, sizeof model);
    for (int i = 0; i < 5; i++)
        model[i].data = three;
    const char *w = put("base", base, 5, NULL), *m = put("model", model, 5, NULL);
    ok(open_files(w, m, put_adapter("a", "", q, 2, NULL)));
    assert_int_equal(files.set.tensors, 4);
    for (int t = 0; t < 4; t++)
        assert_true(files.shape[t].linear == (strcmp(files.shape[t].name, "h.0.q.weight") == 0));
    ok(fc_merge_files_save_model(&files, mean(), inside("out"), &err));
    assert_tensor(inside("out"), "h.0.q.weight", (double[]){4.5, 7.5, 5.5, 9.5, 6.5, 11.5}, 6);
    assert_tensor(inside("out"), "norm.weight", (double[]){2, 2, 2}, 3);
    assert_tensor(inside("out"), "conv.weight", (double[]){2, 2, 2, 2}, 4);
    assert_true(fc_merge_files_bytes(&files, false) == 8.0 * (17 + 17 + 5));
    assert_true(fc_merge_files_bytes(&files, true) == 8.0 * (17 + 5 + 2 * 6 * fc_threads()));
}

static void test_heads(void **state)
{
    (void)state;
    static const float w1[] = {1, 2}, w2[] = {3, 4}, b1[] = {5}, b2[] = {7};
    const fc_st_entry a[] = {
        q[0], q[1], {P "head.weight", FC_F32, 2, {1, 2}, w1}, {P "head.bias", FC_F32, 1, {1}, b1}};
    const fc_st_entry b[] = {
        q[0], q[1], {P "head.weight", FC_F32, 2, {1, 2}, w2}, {P "head.bias", FC_F32, 1, {1}, b2}};
    const char *pa = put_adapter("a", "", a, 4, "[4]"), *pb = put_adapter("b", "", b, 4, "[2]");
    ok(open_files(NULL, pa, pb)); /* classes of their own */
    assert_true(files.rows == 2 && files.width == 2 && files.set.tensors == 1);
    assert_true(files.head_w[1] == 2 && files.head_w[2] == 3 && files.head_b[1] == 7);
    assert_int_equal(files.n_metadata, 2);
    assert_string_equal(files.metadata[0][1], "[4, 2]");
    assert_string_equal(files.metadata[1][1], "[1, 1]");
    fc_merge_files_close(&files);

    put_adapter("b", "", b, 4, "[4]"); /* the same class */
    ok(open_files(NULL, pa, pb));
    assert_true(files.rows == 1 && files.head_w[0] == 2 && files.head_b[0] == 6);
    assert_string_equal(files.metadata[0][1], "[4]");
    fc_merge_files_close(&files);

    put_adapter("b", "", b, 4, NULL); /* one says nothing */
    assert_says(open_files(NULL, pa, pb), &err, FC_EDATA, pa, "neither for the same classes");
    err = (fc_error){0};
    put_adapter("b", "", q, 2, NULL);
    assert_says(open_files(NULL, pa, pb), &err, FC_EDATA, pa, "has a head, ");
}

static void test_refusals(void **state)
{
    (void)state;
    static const float x[] = {1, 1, 1, 1, 1, 1};
    const fc_st_entry base[] = {{"h.0.q.weight", FC_F32, 2, {3, 2}, x}};
    const fc_st_entry long_q[] = {q[0], {P "h.0.q.lora_B.weight", FC_F32, 2, {2, 1}, B}};
    const fc_st_entry with_norm[] = {q[0], q[1], {P "norm.weight", FC_F32, 1, {3}, x}};
    const char *w = put("base", base, 1, NULL), *a = put_adapter("a", "", q, 2, NULL);
    const char *b = put_adapter("b", "", long_q, 2, NULL);
    assert_says(open_files(NULL, a, b), &err, FC_EDATA, b,
                "h.0.q.weight is (2, 2), in an earlier input it is (3, 2)");
    err = (fc_error){0};
    assert_says(open_files(w, a, b), &err, FC_EDATA, b,
                "has shape (2, 2), in the base it is (3, 2)");
    err = (fc_error){0};
    put_adapter("b", "", v, 2, NULL);
    assert_says(open_files(w, a, b), &err, FC_EDATA, b, "h.0.v.weight: the base has none of that");
    err = (fc_error){0};
    put_adapter("b", "", with_norm, 3, NULL);
    assert_says(open_files(NULL, a, b), &err, FC_EUSAGE, b, "norm.weight is there as a whole");
    err = (fc_error){0};
    assert_says(open_files(NULL, a, inside("nothing")), &err, FC_EDATA, inside("nothing"), "");
    err = (fc_error){0};
    assert_says(open_files(inside("no base"), a, a), &err, FC_EDATA, inside("no base"), "");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_transposed), TEST(test_union),    TEST(test_models),
        TEST(test_heads),      TEST(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
