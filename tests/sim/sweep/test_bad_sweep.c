/* Every file of tests/bad/sweep is refused: FC_EUSAGE, the place, and what is wrong there. */
#include "sim/sweep/sweep_load.h"
#include "tests/support/bad_files.h"

static const fc_bad_file cases[] = {
    {"axis_empty", "4:13", "found an empty list, expected a list of values"},
    {"axis_is_a_value", "4:13",
     "found '1', expected a list of values; one value for all runs belongs to set"},
    {"axis_kind_unknown", "4:13", "expected a list of values, {log: [low, high], n: N}"},
    {"axis_of_many_options", "4:3", "more than 16 options in one axis"},
    {"baseline_config_is_list", "3:20", "baseline: no run has config = [base/tiny.yaml]"},
    {"baseline_key_of_many", "18:12", "unknown key 'zzz' of baseline, expected one of data."},
    {"baseline_key_unknown", "5:12",
     "unknown key 'method.nam' of baseline, did you mean method.name?"},
    {"baseline_not_run", "5:25", "baseline: no run has method.name = fedavg_lora"},
    {"config_missing", "1:1", "no config, expected config: FILE, relative to this one"},
    {"config_not_there", "2:9", "base/none.yaml: No such file"},
    {"drawn_without_draws", "4:19", "expected draws: {count: N, seed: S}"},
    {"draws_of_nothing", "3:8",
     "draws: no axis is drawn, expected one without n: {log: [low, high]}"},
    {"draws_without_count", "3:8", "draws: expected count: N, how many"},
    {"empty", "1:1", "the file is empty, expected keys with values"},
    {"halving_budget_is_axis", "5:49", "fed.rounds is set twice, first at"},
    {"halving_keeps_all", "3:62", "keep: found '1', expected a number above 0, at most 0.999999"},
    {"halving_key_unknown", "3:20", "unknown key 'budgets' of halving, did you mean budget?"},
    {"halving_metric_unknown", "3:64", "found 'acc', expected faa,"},
    {"halving_one_value", "3:48", "halving: expected values: [1, 2, 5], those of the budget"},
    {"key_unknown", "3:1", "unknown key 'axis' of a sweep, did you mean axes?"},
    {"linear_backwards", "4:22", "linear: found [2, 1], expected [low, high] with low <= high"},
    {"linear_n_broken", "4:33", "n: found '2.5', expected a whole number"},
    {"log_from_zero", "4:19", "log: found [0, 2], expected [low, high] with 0 < low <= high"},
    {"name_is_a_path", "1:7", "name: expected the name of a folder"},
    {"name_missing", "1:1", "no name, expected name: NAME, the folder of the runs"},
    {"option_of_unused_method", "3:7",
     "method.cl_merge is an option of fedavg_lora, but no run uses that"},
    {"option_twice", "5:3", "fed.beta is set twice, first at"},
    {"option_twice_in_axis", "4:3", "fed.beta is set twice, first at"},
    {"option_unknown", "4:3", "unknown key 'fed.bete', did you mean fed.beta?"},
    {"option_without_section", "4:3", "unknown key 'lr', did you mean train.lr?"},
    {"range_backwards", "4:21", "range: found [2, 1, 0.1], expected [low, high, step]"},
    {"range_step_zero", "4:21", "with low <= high, step > 0"},
    {"range_text", "4:25", "range: found 'x', expected a number"},
    {"range_too_long", "4:21", "at most 10000 values"},
    {"range_without_step", "4:21", "range: expected a list of 3 numbers"},
    {"root_is_text", "1:1", "a sweep: expected `key: value` below it"},
    {"run_name", "3:7", "run.name: expected name: at the top of the file instead"},
    {"run_out", "4:3", "run.out: expected --out DIR instead"},
    {"search_unknown", "3:10", "unknown key 'grid' of search, expected one of halving"},
    {"seed_as_axis", "4:3",
     "run.seed: expected seeds: [...] instead, so that results are grouped over it"},
    {"seeds_none", "3:8", "seeds: found '0', expected a whole number from 1 to 10000"},
    {"seeds_text", "3:12", "run.seed: found 'x', expected a whole number from 0 to 9e+15"},
    {"too_many_runs", "1:1", "40000 runs, expected at most 10000"},
    {"value_out_of_range", "6:7", "expected a number above 0"},
    {"value_unknown", "4:23", "did you mean fedavg?"},
    {"where_assignment", "3:8",
     "where: found '=' after 'train.lr ', expected ==, !=, <, <=, >, >= or in"},
    {"where_number_is_text", "3:8", "where: train.lr: found 'small', expected a number"},
    {"where_ends", "3:8", "where: found the end after 'train.lr <', expected an option or a value"},
    {"where_in_parentheses", "3:8", "where: found '(' after 'train.lr in ', expected ["},
    {"where_kinds", "3:8", "where: method.name and train.lr cannot be compared: one is a number"},
    {"where_leaves_none", "3:8", "where: no run is left of 1"},
    {"where_map", "3:8", "where: expected a condition such as \"train.lr <= 1e-3\""},
    {"where_name_unknown_first", "3:8", "did you mean lorm?"},
    {"where_nested", "3:8", "expected fewer parentheses"},
    {"where_word_long", "3:8", "where: a word of 201 bytes, expected at most 200"},
    {"where_name_unknown", "3:8", "did you mean lorm?"},
    {"where_no_order", "3:8", "where: method.name is no number, expected == or != behind it"},
    {"where_option_unknown", "3:8", "unknown key 'train.lrr', did you mean train.lr?"},
    {"where_parenthesis_open", "3:8",
     "where: found the end after '(train.lr < 1', expected and, or or )"},
    {"where_quote_open", "3:8", "where: \"cosine has no closing quote"},
    {"where_two_conditions", "3:9",
     "where: found 'train.lr' after 'train.lr < 1 ', expected and, or or the end"},
    {"where_values_only", "3:8",
     "where: '1' and '2' are both values, expected an option such as train.lr"},
    {"zip_of_range", "4:29", "of one option"},
    {"zip_too_short", "4:38",
     "train.lr_A, train.lr_B: expected a list of 2 values, one for each option"},
};

static fc_status load(const char *path, fc_error *err)
{
    fc_sweep s;
    const fc_sweep empty = {0};
    fc_status st = fc_sweep_load(&s, path, NULL, 0, err);
    assert_memory_equal(&s, &empty, sizeof s);
    return st;
}

static void test_each(void **state)
{
    (void)state;
    fc_bad_files("bad/sweep", cases, sizeof cases / sizeof *cases, load);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
