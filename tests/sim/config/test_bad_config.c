/* Every file of tests/bad/config is refused: FC_EUSAGE, the place, and what is wrong there. */
#include "sim/config/config.h"
#include "tests/support/bad_files.h"

static const fc_bad_file cases[] = {
    {"alias", "2:7", "alias"},
    {"anchor", "1:8", "anchor"},
    {"base_includes_itself", "1:7", "base_includes_itself.yaml includes itself"},
    {"base_is_a_device", "1:7", "found a device"},
    {"base_is_a_folder", "1:7", "found a folder"},
    {"base_is_a_mapping", "2:3", "found keys, expected a value or a flat list"},
    {"base_is_wrong", "typo.yaml:2:3", "did you mean fed.clients?"},
    {"base_loop", "loop.yaml:1:7", "base_loop.yaml includes itself through"},
    {"base_missing", "3:7", "no_such_file.yaml: No such file"},
    {"base_twice", "1:25", "is set twice, first at"},
    {"beta_negative", "2:9", "expected a number above 0"},
    {"beta_zero", "2:9", "expected a number above 0"},
    {"binary", "1:3", "not valid YAML"},
    {"bool_capital", "2:13", "expected true or false"},
    {"bool_number", "2:13", "expected true or false"},
    {"bool_yes", "2:13", "expected true or false"},
    {"choice_capital", "2:14", "did you mean adamw?"},
    {"choice_typo", "2:14", "found 'adamv', expected adamw, adam or sgd"},
    {"colon_missing", "3:8", "not valid YAML"},
    {"dataset_unknown", "2:9", "did you mean cifar100?"},
    {"dotted_key", "1:1", "expected `section:`"},
    {"empty", "1:1", "the file is empty"},
    {"key_in_wrong_section", "2:3", "unknown key 'fed.lr', did you mean train.lr?"},
    {"key_is_a_list", "2:3", "expected the name of a key"},
    {"key_twice", "4:3", "first at"},
    {"key_without_section", "1:1", "did you mean train.lr?"},
    {"list_element_missing", "2:16", "element 2: found ''"},
    {"list_element_text", "2:10", "element 2: found 'five'"},
    {"list_element_zero", "2:10", "element 2: found '0'"},
    {"list_for_number", "2:7", "found a list, expected a number"},
    {"list_for_text", "2:9", "found a list, expected a name"},
    {"list_nested", "2:14", "expected a flat list"},
    {"list_unclosed", "3:1", "not valid YAML"},
    {"merge_key", "2:7", "found keys, expected a value"},
    {"method_name_list", "2:9", "found a list, expected a name"},
    {"method_option_of_another", "3:3", "is an option of lorm, but the method is fedavg_lora"},
    {"method_option_out_of_range", "2:15", "from 0 to 1"},
    {"method_option_unknown", "3:3", "did you mean method.alpha_head?"},
    {"method_unknown", "2:9", "did you mean lorm?"},
    {"nested_three_deep", "3:5", "found keys, expected a value"},
    {"not_utf8", "4:10", "not valid YAML"},
    {"number_hexadecimal", "2:7", "expected a number"},
    {"number_infinite", "2:7", "expected a number"},
    {"number_nan", "2:7", "expected a number"},
    {"number_nan_c", "2:7", "expected a number"},
    {"number_of_200_digits", "2:7", "expected a number"},
    {"number_overflows", "2:7", "expected a number"},
    {"number_with_comma", "2:7", "expected a number"},
    {"number_with_unit", "2:7", "expected a number"},
    {"only_comments", "3:1", "the file is empty"},
    {"order_seed_without_number", "2:16", "expected natural, seed:N"},
    {"order_word_unknown", "2:16", "expected natural, seed:N"},
    {"partition_unknown", "2:14", "did you mean dir-class?"},
    {"path_lone_dollar", "2:9", "a dollar sign is $$"},
    {"path_of_another_user", "2:9", "expected ~ or ~/"},
    {"path_variable_unclosed", "2:9", "expected $NAME or ${NAME}"},
    {"path_variable_unset", "2:9", "FC_NO_SUCH_VARIABLE is not set"},
    {"quote_unclosed", "3:1", "not valid YAML"},
    {"root_is_a_list", "1:1", "expected `section:`"},
    {"root_is_text", "1:1", "expected `section:`"},
    {"rule_unknown", "2:9", "did you mean average?"},
    {"section_is_a_list", "3:1", "'train' is a section"},
    {"section_is_a_value", "1:1", "'train' is a section"},
    {"section_twice", "5:1", "train is set twice"},
    {"seed_negative", "2:9", "expected a whole number"},
    {"seed_of_200_digits", "2:9", "expected a whole number"},
    {"tab_indent", "2:1", "indent with spaces"},
    {"tag", "2:7", "tag"},
    {"text_with_control_character", "2:9", "byte 2 is 0x09"},
    {"text_with_zero", "2:9", "zero character"},
    {"two_documents", "3:1", "second document"},
    {"unknown_key", "3:3", "did you mean train.lr?"},
    {"unknown_section", "2:3", "did you mean train.lr?"},
    {"whole_number_missing", "2:10", "expected a whole number"},
    {"whole_number_negative", "2:11", "expected a whole number"},
    {"whole_number_too_big", "2:11", "expected a whole number"},
    {"whole_number_with_exponent", "2:11", "expected a whole number"},
    {"whole_number_with_point", "2:11", "expected a whole number"},
    {"whole_number_zero", "2:11", "from 1 to 1000000"},
};

static fc_status load(const char *path, fc_error *err)
{
    fc_config c;
    const fc_config empty = {0};
    fc_status st = fc_config_load(&c, path, NULL, 0, err);
    assert_memory_equal(&c, &empty, sizeof c);
    return st;
}

static void test_each(void **state)
{
    (void)state;
    unsetenv("FC_NO_SUCH_VARIABLE");
    fc_bad_files("bad/config", cases, sizeof cases / sizeof *cases, load);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
