/* Every file of tests/bad/adapter_config is refused with FC_EDATA and the right sentence. */
#include "sim/models/adapter_config.h"
#include "tests/support/tmp.h"

static const struct {
    const char *file, *says;
} rows[] = {
    {"alpha_huge", "lora_alpha: expected a number from -1e6 to 1e6"},
    {"alpha_missing", "lora_alpha: expected a number from -1e6 to 1e6"},
    {"alpha_nan", ":1:47: not valid JSON"},
    {"alpha_overflows", "not valid JSON: real number overflow"},
    {"alpha_pattern_null", "alpha_pattern: the value of 'attn.qkv': expected a number"},
    {"alpha_pattern_text", "alpha_pattern: expected an object of numbers"},
    {"alpha_text", "lora_alpha: expected a number"},
    {"base_is_a_number", "base_model_name_or_path: expected a text"},
    {"deep", "maximum parsing depth"},
    {"dora", "use_dora: expected false"},
    {"empty", ":1:0: not valid JSON"},
    {"fan_in_text", "fan_in_fan_out: expected true or false"},
    {"key_twice", "duplicate object key"},
    {"not_json", "not valid JSON"},
    {"not_utf8", "unable to decode byte 0xff"},
    {"r_200_digits", "too big integer"},
    {"r_fraction", ": r: expected a whole number from 1 to 65536"},
    {"r_huge", ": r: expected a whole number from 1 to 65536"},
    {"r_missing", ": r: expected a whole number from 1 to 65536"},
    {"r_text", ": r: expected a whole number from 1 to 65536"},
    {"r_zero", ": r: expected a whole number from 1 to 65536"},
    {"rank_pattern_list", "rank_pattern: expected an object of numbers"},
    {"rank_pattern_no_name", "rank_pattern: '' is a regular expression"},
    {"rank_pattern_regex", "is a regular expression, expected the end of a layer's name"},
    {"rank_pattern_zero", "rank_pattern: the value of 'attn.qkv': expected a whole number"},
    {"root_is_a_list", "not an object, expected the config of an adapter"},
    {"rslora_number", "use_rslora: expected true or false"},
    {"type_ia3", "peft_type: expected \"LORA\""},
    {"type_missing", "peft_type: expected \"LORA\""},
    {"type_number", "peft_type: expected \"LORA\""},
};

static void test_each_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[128];
        void *text;
        size_t n;
        fc_error err = {0};
        fc_arena arena = {0};
        fc_adapter_config config;
        snprintf(name, sizeof name, "bad/adapter_config/%s.json", rows[i].file);
        const char *path = fc_tests_path(name);
        assert_int_equal(fc_file_map(&text, &n, path, FC_EDATA, &err), FC_OK);
        fc_status s = fc_adapter_config_parse(&config, text, n, path, &arena, &err);
        print_message("%s\n", err.msg);
        assert_says(s, &err, FC_EDATA, path, rows[i].says);
        fc_file_unmap(text, n);
        fc_arena_free(&arena);
    }
}

static void test_no_file_is_left_out(void **state)
{
    (void)state;
    assert_int_equal(fc_count_files(fc_tests_path("bad/adapter_config")),
                     sizeof rows / sizeof *rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_is_refused),
        cmocka_unit_test(test_no_file_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
