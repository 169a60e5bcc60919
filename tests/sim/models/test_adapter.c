/* PEFT adapter folders: scales, patterns, names, whole tensors; what we write is read again; what
 * does not fit is refused by file and tensor. */
#include "core/base/safetensors.h"
#include "sim/models/adapter.h"
#include "tests/support/tmp.h"

#include <math.h>

FC_TMP_FIXTURE

#define P "base_model.model."

static fc_arena arena;
static fc_error err;

static int free_all(void **state)
{
    fc_arena_free(&arena);
    err = (fc_error){0};
    return tear_down(state);
}

static const char *inside(const char *name)
{
    return fc_arena_format(&arena, NULL, "%s/%s", tmp.dir, name);
}

static void put_config(const char *more)
{
    const char *text = fc_arena_format(&arena, NULL, "{\"peft_type\": \"LORA\", %s}", more);
    assert_int_equal(fc_file_write_atomic(inside("adapter_config.json"), text, strlen(text), &err),
                     FC_OK);
}

static void put_tensors(const fc_st_entry *e, int n)
{
    static const char *const metadata[][2] = {{"format", "pt"}};
    assert_int_equal(fc_st_write(inside("adapter_model.safetensors"), e, n, metadata, 1, &err),
                     FC_OK);
}

static fc_status read_it(fc_adapter *a)
{
    return fc_adapter_read(a, tmp.dir, &arena, &err);
}

static const float A1[] = {1, 2, 3, 4, 5, 6}, B1[] = {1, -1, 2, 0.5f}; /* (2, 3), (2, 2) */
static const float A2[] = {1, 1, 1}, B2[] = {3, 4};                    /* (1, 3), (2, 1) */
static const float head[] = {7, 8, 9, 10, 11, 12};

static void put_two_layers(void)
{
    const fc_st_entry e[] = {
        {P "blocks.0.attn.qkv.lora_A.weight", FC_F32, 2, {2, 3}, A1},
        {P "blocks.0.attn.qkv.lora_B.weight", FC_F32, 2, {2, 2}, B1},
        {P "x.q.lora_A.default.weight", FC_F32, 2, {1, 3}, A2},
        {P "x.q.lora_B.default.weight", FC_F32, 2, {2, 1}, B2},
        {P "head.weight", FC_F32, 2, {2, 3}, head},
        {P "x.q.base_layer.bias", FC_F32, 1, {2}, B2},
    };
    put_tensors(e, 6);
}

/* B of each layer is its factor of the file times a scale. */
static void assert_scales(const fc_adapter *a, double scale1, double scale2)
{
    assert_int_equal(a->n_layers, 2);
    for (int i = 0; i < 4; i++)
        assert_true(a->layer[0].B[i] == (double)B1[i] * scale1);
    for (int i = 0; i < 2; i++)
        assert_true(a->layer[1].B[i] == (double)B2[i] * scale2);
    for (int i = 0; i < 6; i++)
        assert_true(a->layer[0].A[i] == (double)A1[i]);
}

static void test_scales(void **state)
{
    (void)state;
    fc_adapter a;
    put_two_layers();
    put_config("\"r\": 2, \"lora_alpha\": 3, \"rank_pattern\": {\"q\": 1}");
    assert_int_equal(read_it(&a), FC_OK);
    assert_scales(&a, 1.5, 3);
    assert_string_equal(a.layer[0].name, "blocks.0.attn.qkv");
    assert_string_equal(a.layer[1].name, "x.q");
    assert_true(a.layer[0].rows == 2 && a.layer[0].cols == 3 && a.layer[0].rank == 2);

    put_config("\"r\": 2, \"lora_alpha\": 3, \"use_rslora\": true, \"rank_pattern\": {\"x.q\": 1}, "
               "\"alpha_pattern\": {\"v\": 5, \"kv\": 6, \"blocks.0.attn.qkv\": 7}");
    assert_int_equal(read_it(&a), FC_OK);
    assert_scales(&a, 7 / sqrt(2), 3);

    put_config("\"r\": 1, \"lora_alpha\": 1, \"rank_pattern\": {\"^attn.qkv\": 7, "
               "\"^blocks.0.attn.qkv\": 2}, \"alpha_pattern\": {\"attn.qkv\": -4}");
    assert_int_equal(read_it(&a), FC_OK);
    assert_scales(&a, -2, 1);
}

static void test_whole_tensors(void **state)
{
    (void)state;
    fc_adapter a;
    put_two_layers();
    put_config(
        "\"r\": 2, \"lora_alpha\": 2, \"rank_pattern\": {\"q\": 1}, \"fan_in_fan_out\": "
        "true, \"base_model_name_or_path\": \"some/model\", \"modules_to_save\": [\"head\"]");
    assert_int_equal(read_it(&a), FC_OK);
    assert_true(a.transposed);
    assert_string_equal(a.base, "some/model");
    assert_int_equal(a.n_whole, 2);
    assert_string_equal(a.whole[0].name, "head.weight");
    assert_true(a.whole[0].ndim == 2 && a.whole[0].dim[0] == 2 && a.whole[0].count == 6);
    assert_true(a.whole[0].v[5] == 12);
    assert_string_equal(a.whole[1].name, "x.q.bias");
}

static void assert_same_file(const char *a, const char *b)
{
    void *x, *y;
    size_t n, m;
    assert_int_equal(fc_file_map(&x, &n, a, FC_EDATA, &err), FC_OK);
    assert_int_equal(fc_file_map(&y, &m, b, FC_EDATA, &err), FC_OK);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    fc_file_unmap(x, n);
    fc_file_unmap(y, m);
}

/* PEFT's folder is written with scale 1; from then on nothing changes any more. */
static void test_round_trip(void **state)
{
    (void)state;
    fc_adapter a, b;
    put_two_layers();
    put_config("\"r\": 2, \"lora_alpha\": 8, \"rank_pattern\": {\"q\": 1}, \"modules_to_save\": "
               "[\"head\"]");
    assert_int_equal(read_it(&a), FC_OK);
    assert_false(fc_adapter_is(inside("one")));
    assert_int_equal(fc_adapter_write(inside("one"), &a, &err), FC_OK);
    assert_true(fc_adapter_is(inside("one")));
    assert_int_equal(fc_adapter_read(&b, inside("one"), &arena, &err), FC_OK);
    assert_scales(&b, 4, 8);
    assert_int_equal(b.n_whole, 2);
    assert_string_equal(b.whole[1].name, "x.q.bias");
    assert_int_equal(fc_adapter_write(inside("two"), &b, &err), FC_OK);
    assert_same_file(inside("one/adapter_config.json"), inside("two/adapter_config.json"));
    assert_same_file(inside("one/adapter_model.safetensors"),
                     inside("two/adapter_model.safetensors"));
}

/* One faulty tensor beside a good pair, or in its place. */
static void test_refusals(void **state)
{
    (void)state;
    static const float nan_B[] = {1, NAN, 2, 3};
    static const double huge[] = {1e305, 0, 0, 0};
    const fc_st_entry A = {P "l.lora_A.weight", FC_F32, 2, {2, 3}, A1};
    const fc_st_entry B = {P "l.lora_B.weight", FC_F32, 2, {2, 2}, B1};
    const struct {
        fc_st_entry e[3];
        int n;
        const char *says;
    } rows[] = {
        {{A}, 1, "tensor " P "l.lora_A.weight: there is no lora_B of layer l"},
        {{B}, 1, "tensor " P "l.lora_B.weight: there is no lora_A of layer l"},
        {{{P "head.weight", FC_F32, 2, {2, 3}, head}}, 1, "no tensor lora_A.weight"},
        {{{P "l.lora_A.weight", FC_F32, 2, {3, 2}, A1}, B},
         2,
         P "l.lora_A.weight has shape (3, 2), expected (2, n)"},
        {{{P "l.lora_A.weight", FC_F32, 4, {2, 3, 1, 1}, A1}, B},
         2,
         "has shape (2, 3, 1, 1), expected (2, n)"},
        {{{P "l.lora_A.weight", FC_F32, 2, {2, 0}, A1}, B}, 2, "has shape (2, 0), expected (2, n)"},
        {{A, {P "l.lora_B.weight", FC_F32, 2, {4, 1}, B1}},
         2,
         P "l.lora_B.weight has shape (4, 1), expected (m, 2)"},
        {{A, {P "l.lora_B.weight", FC_F32, 2, {2, 2}, nan_B}},
         2,
         P "l.lora_B.weight: element 1 is nan, expected a finite number"},
        {{A, {P "l.lora_B.weight", FC_F64, 2, {2, 2}, huge}},
         2,
         "element 0 times the scale 500000"},
        {{A, B, {"l.lora_A.weight", FC_F32, 2, {2, 3}, A1}}, 3, "the same factor as tensor " P},
        {{A, B, {P "l.lora_magnitude_vector", FC_F32, 1, {2}, B2}},
         3,
         P "l.lora_magnitude_vector: expected lora_A.weight or lora_B.weight"},
        {{A, B, {P "e.lora_embedding_A", FC_F32, 2, {1, 3}, A2}},
         3,
         "e.lora_embedding_A: expected"},
        {{A, B, {P "l.lora_B.bias", FC_F32, 1, {2}, B2}}, 3, "l.lora_B.bias: expected"},
        {{A, B, {".lora_A.weight", FC_F32, 2, {2, 3}, A1}}, 3, "tensor .lora_A.weight: expected"},
    };
    put_config("\"r\": 2, \"lora_alpha\": 1e6");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fc_adapter a;
        err = (fc_error){0};
        put_tensors(rows[i].e, rows[i].n);
        fc_status s = read_it(&a);
        print_message("%s\n", err.msg);
        assert_says(s, &err, FC_EDATA, inside("adapter_model.safetensors"), rows[i].says);
    }
}

static void test_missing_files(void **state)
{
    (void)state;
    fc_adapter a;
    assert_says(read_it(&a), &err, FC_EDATA, inside("adapter_config.json"), "No such file");
    err = (fc_error){0};
    put_config("\"r\": 2, \"lora_alpha\": 2");
    assert_says(read_it(&a), &err, FC_EDATA, inside("adapter_model.safetensors"), "No such file");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, free_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_scales),   TEST(test_whole_tensors), TEST(test_round_trip),
        TEST(test_refusals), TEST(test_missing_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
